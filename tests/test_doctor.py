"""Doctor: what it finds, and that it never raises for it."""

import importlib.metadata
from pathlib import Path

import pytest

from cxr_edge import doctor, extras, modelfile, processors
from cxr_edge.engine import onnxruntime_module


def test_a_sound_installation_has_no_problem() -> None:
    report = doctor.examine()
    assert report.problems == ()
    assert "missing" not in report.facts["packages"].values()
    assert "CPUExecutionProvider" in report.facts["providers"]["in this onnxruntime"]
    assert "resnet50-binary" in report.facts["models"]


def test_clashing_wheels(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("onnxruntime-1.31.1", "onnxruntime_gpu-1.31.1", "onnxruntime_extensions-0.15", "numpy-2.4.6"):
        (tmp_path / f"{name}.dist-info").mkdir()
    monkeypatch.setattr(onnxruntime_module(), "__file__", str(tmp_path / "onnxruntime" / "__init__.py"))
    monkeypatch.setattr(importlib.metadata, "version", lambda _name: "1.0")
    report = doctor.examine()
    assert any("onnxruntime-1.31.1, onnxruntime_gpu-1.31.1;" in problem for problem in report.problems)
    assert any("OpenCV" in warning for warning in report.warnings)
    (tmp_path / "onnxruntime_gpu-1.31.1.dist-info").rmdir()
    assert doctor.examine().problems == ()


def test_an_onnxruntime_that_does_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    assert any("onnxruntime does not load" in problem for problem in doctor.examine().problems)


def test_an_altered_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "net"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"altered")
    (folder / "SHA256SUMS").write_text(f"{'0' * 64}  model.onnx\n", encoding="utf-8")
    monkeypatch.setattr(modelfile, "_model_folders", lambda: [tmp_path])
    report = doctor.examine()
    assert any("altered" in problem for problem in report.problems)
    assert any("no usable model" in problem for problem in report.problems)


def test_another_pillow_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "pillow_arithmetic_matches", lambda: False)
    report = doctor.examine()
    assert any("Pillow" in warning for warning in report.warnings)
    assert report.facts["resize"]["arithmetic"] == "own"


def test_cpu_flags_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows and macOS have no /proc/cpuinfo; numpy's own detection stands in."""
    by_file = processors.cpu_flags()
    monkeypatch.setattr(processors, "CPU_LISTING", Path("no such file"))
    assert set(processors.cpu_flags()) <= set(processors.CPU_FLAGS)
    if {"avx2", "fma"} <= set(by_file):
        assert {"avx2", "fma"} <= set(processors.cpu_flags())


def test_extras_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(extras.MODULES, "report", ("json", "no_such_module"))
    found = doctor.examine().facts["extras"]
    assert found["report"].startswith("not installed (no_such_module missing): pip install ")
    assert "[report]" in found["report"]
    assert set(found) == {"report", "serve"}
    monkeypatch.setitem(extras.MODULES, "report", ("json",))
    assert doctor.examine().facts["extras"]["report"] == "installed"
