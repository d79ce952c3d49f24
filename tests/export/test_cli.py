"""The command line: what it prints, and how it ends."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tensorflow", reason="needs the workbench: pip install ./export")

from cxr_edge_export import cli


def arguments(workbench: Any, output: Path) -> list[str]:
    folders = ["--calibration", str(workbench.calibration), "--validation", str(workbench.validation)]
    return ["convert", str(workbench.model), "--recipe", str(workbench.recipe), *folders, "-o", str(output)]


def test_convert_prints_the_certificate(workbench: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(arguments(workbench, tmp_path / "tiny.onnx")) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"{tmp_path / 'tiny.onnx'}\n")
    for words in ("operating point screening: threshold", "agreement, flips at standard", "validation, AUC"):
        assert words in out
    assert "parity:" not in err  # no progress bar off a terminal
    assert sorted(path.name for path in tmp_path.iterdir()) == ["SHA256SUMS", "tiny.onnx", "tiny.onnx.sha256"]


def test_interrupted(workbench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cxr_edge_export.original.load_model", interrupt)
    assert cli.run(arguments(workbench, tmp_path / "tiny.onnx")) == 130
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_signals_end_it_as_documented(name: str) -> None:
    script = "import os, signal, sys, cxr_edge_export.cli; app = sys.modules['cxr_edge_export.cli.app']\n"
    script += f"app.run = lambda arguments: os.kill(os.getpid(), signal.{name})\n"
    script += "try: app.main()\nexcept KeyboardInterrupt: print('interrupted')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout == "interrupted\n"


def test_a_reader_that_goes_away_is_no_defect() -> None:
    command = [sys.executable, "-m", "cxr_edge_export", "--version"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()  # long before Python has started
    assert (process.wait(), process.stderr.read()) == (141, b"")
    process.stderr.close()


def test_help_needs_no_tensorflow() -> None:
    script = "import sys; from cxr_edge_export import cli; cli.run(['--help']); print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "restamp" in done.stdout
    assert done.stdout.rstrip().endswith("False")


@pytest.mark.parametrize("wrong", [[], ["convert"], ["nothing"], ["card", "x.onnx"]])
def test_usage(wrong: list[str]) -> None:
    assert cli.run(wrong) == 2


def test_out_of_memory_is_one_line(
    workbench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("cxr_edge_export.original.load_model", fail)
    assert cli.run(arguments(workbench, tmp_path / "tiny.onnx")) == 5
    assert "out of memory" in capsys.readouterr().err


@pytest.mark.parametrize(
    "case",
    [
        (type("ResourceExhaustedError", (Exception,), {})("OOM\nwhen allocating"), 5, "out of memory: fewer"),
        (UnicodeEncodeError("utf-8", "\udce9", 0, 1, "surrogates not allowed"), 2, "is no UTF-8"),
    ],
    ids=["TensorFlow's own", "name"],
)
def test_what_others_raise_is_one_line(
    workbench: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    case: tuple[Exception, int, str],
) -> None:
    error, code, words = case

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("cxr_edge_export.original.load_model", fail)
    assert cli.run(arguments(workbench, tmp_path / "tiny.onnx")) == code
    said = capsys.readouterr().err
    assert words in said
    assert sum("note: small sample" not in line for line in said.splitlines()) == 1
