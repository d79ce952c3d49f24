"""Training and judging on another backend of Keras, where there is no TensorFlow."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tensorflow", reason="needs the workbench: pip install ./export")

from training_runs import recipe_file

from cxr_edge.errors import UsageError

BACKENDS = pytest.mark.parametrize("backend", ["torch", "jax"])
_WITHOUT_TENSORFLOW = (
    "import sys; sys.modules['tensorflow'] = None; from cxr_edge_export import cli; sys.exit(cli.run(sys.argv[1:]))"
)


def _without_tensorflow(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", _WITHOUT_TENSORFLOW, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@BACKENDS
def test_a_network_is_trained_and_judged_without_tensorflow(tmp_path: Path, data: Path, backend: str) -> None:
    pytest.importorskip(backend, reason=f"needs the Keras backend {backend}")
    run, figures = tmp_path / "run", tmp_path / "figures.json"
    recipe, on = str(recipe_file(tmp_path)), ("--data", str(data), "--backend", backend)
    trained = _without_tensorflow("train", recipe, *on, "-o", str(run))
    assert trained.returncode == 0, trained.stderr
    judged = _without_tensorflow("evaluate", str(run), *on, "--operating-point", "standard", "--json", str(figures))
    assert judged.returncode == 0, judged.stderr
    told = json.loads(figures.read_bytes())
    assert backend in told["execution_provider"].replace("PyTorch", "torch").lower()
    metrics = json.loads((run / "metrics.json").read_bytes())
    assert told["images"]["accuracy"]["estimate"] == pytest.approx(metrics["test"]["accuracy"])


def test_where_a_backend_is_missing_that_is_said(data: Path, finished: Any) -> None:
    """Here TensorFlow, which is the default."""
    found = _without_tensorflow("evaluate", str(finished[0]), "--data", str(data))
    assert found.returncode == 5
    assert "tensorflow" in found.stderr.lower()
    assert found.stderr.count("\n") == 1


def test_keras_runs_on_one_backend_in_a_process(data: Path, finished: Any) -> None:
    from cxr_edge_export.training.judge import JudgeRequest, judge

    with pytest.raises(UsageError, match="runs on tensorflow in this process; jax was asked for"):
        judge(JudgeRequest(run=finished[0], data=data, images=None, operating_point=None, backend="jax"))
