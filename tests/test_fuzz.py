"""A short run of the fuzzer: the same script as the long one, `benchmarks/fuzz.py`."""

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
SCRIPT = REPOSITORY / "benchmarks" / "fuzz.py"


def run(*options: str, program: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *(["-c", program] if program else [str(SCRIPT)]), *options]
    environment = {**os.environ, "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{SCRIPT.parent}"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=120)


def test_mutated_files_give_rejections_only() -> None:
    ran = run("--cases", "600", "--seed", "2024", "--data", "none")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "600 cases of seed 2024" in ran.stdout
    assert "prepared" in ran.stdout
    assert "decode_failed" in ran.stdout


def test_each_case_can_be_made_again(tmp_path: Path) -> None:
    for folder in ("first", "second"):
        assert run("--seed", "7", "--only", "33", "--data", "none", "--keep", str(tmp_path / folder)).returncode == 0
    first, second = (next((tmp_path / folder).iterdir()) for folder in ("first", "second"))
    assert first.name == second.name == "seed7-case33.bin"
    assert first.read_bytes() == second.read_bytes()


BROKEN = """
import os, sys, runpy
import cxr_edge.prepare as prepare
def broken(self, image):
    broken.calls = getattr(broken, "calls", 0) + 1
    if broken.calls == 3: os.abort()
    if broken.calls == 2: raise KeyError("x")
    return real(self, image)
real = prepare.Preparer.prepare
prepare.Preparer.prepare = broken
sys.argv = [SCRIPT, *sys.argv[1:]]
runpy.run_path(SCRIPT, run_name="__main__")
""".replace("SCRIPT", repr(str(SCRIPT)))


def test_exceptions_and_crashes_would_be_found() -> None:
    """The child alone, as the parent runs it: the second case raises, the third kills the process."""
    ran = run("--child", "--cases", "5", "--seed", "1", "--data", "none", program=BROKEN)
    assert ran.returncode != 0
    lines = ran.stdout.splitlines()
    assert any("KeyError" in line and '"exception"' in line for line in lines)
    assert [line for line in lines if '"case": 3' in line] == []
