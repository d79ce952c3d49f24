"""The command opens no inet socket and writes nothing but what it was told to. Linux, with strace."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cxr_edge.phantom import phantom_dicom

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")

WRITING = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|\b(?:mkdir|mkdirat|rename|renameat2?|link|linkat|symlink|creat)\(")


def _trace(arguments: list[str], calls: str, tmp_path: Path) -> str:
    log = tmp_path / "strace.log"
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("XDG_", "CXR_EDGE_"))}
    done = subprocess.run(
        ["strace", "-f", "-qq", "-e", f"trace={calls}", "-o", log, sys.executable, "-B", "-m", "cxr_edge", *arguments],
        env={**environment, "HOME": str(home), "CXR_EDGE_STATE": str(tmp_path / "out" / "state")},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    if "PTRACE" in done.stderr or not log.exists():
        pytest.skip("strace may not trace here")
    assert done.returncode == 0, done.stderr
    assert list(home.rglob("*")) == []
    return log.read_text(encoding="utf-8", errors="replace")


@pytest.mark.parametrize("command", ["classify", "demo", "doctor", "info"])
def test_no_inet_socket(command: str, tmp_path: Path) -> None:
    image = tmp_path / "image.dcm"
    image.write_bytes(phantom_dicom())
    arguments = [command, str(image), str(image), "--heatmap", str(tmp_path)] if command == "classify" else [command]
    calls = _trace(arguments, "network", tmp_path)
    assert "AF_INET" not in calls, calls


def test_no_file_but_the_named_outputs(tmp_path: Path) -> None:
    image = tmp_path / "in" / "image.dcm"
    image.parent.mkdir()
    image.write_bytes(phantom_dicom())
    out = tmp_path / "out"
    out.mkdir()  # holds the state folder, too
    arguments = ["classify", str(image), "--output", str(out / "rows.jsonl"), "--heatmap", str(out / "maps")]
    calls = _trace(arguments, "file", tmp_path)
    written = [line for line in calls.splitlines() if WRITING.search(line) and " = -1 " not in line]
    strangers = [line for line in written if str(out) not in line and '"/dev/' not in line]
    assert strangers == []
    assert written, "the outputs themselves must show up, else the trace is blind"
