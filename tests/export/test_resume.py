"""A training that is killed goes on as if nothing had happened: history, weights and figures come out the same."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="needs the workbench: pip install ./export")

from training_runs import Watching, recipe_file, request

from cxr_edge_export.training.metrics_file import Metrics
from cxr_edge_export.training.train import train


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, data: Path) -> tuple[Path, Metrics, Watching]:
    """A run that nothing disturbed: its folder, figures, and what its watcher saw. Read only."""
    folder = tmp_path_factory.mktemp("run")
    watching = Watching()
    found = train(request(recipe_file(folder), data, folder / "run"), watching)
    return folder / "run", found, watching


MORE = (pytest.param(share, marks=pytest.mark.slow) for share in (0.02, 0.45, 0.8))


@pytest.mark.parametrize("share", [0.3, 1.0, *MORE])
def test_interrupted_anywhere_it_goes_on_as_if_nothing_had_happened(
    tmp_path: Path, data: Path, finished: tuple[Path, Metrics, Watching], keras: Any, share: float
) -> None:
    run, _, watching = finished
    recipe = recipe_file(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        train(request(recipe, data, tmp_path / "run"), Watching(stop_after=max(1, round(share * watching.calls))))
    train(request(recipe, data, tmp_path / "run", resume=True), Watching())
    assert_the_same(tmp_path / "run", run, keras)


def assert_the_same(run: Path, other: Path, keras: Any) -> None:
    """History, weights, and figures but for the seconds."""
    assert (run / "history.json").read_bytes() == (other / "history.json").read_bytes()
    models = [keras.saving.load_model(folder / "model.keras", compile=False) for folder in (run, other)]
    for one, two in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_array_equal(one, two)
    texts = [(folder / "metrics.json").read_bytes() for folder in (run, other)]
    figures = [msgspec.structs.replace(msgspec.json.decode(text, type=Metrics), seconds_per_epoch=()) for text in texts]
    assert figures[0] == figures[1]


BACKBONE: dict[str, Any] = {"backbone": "MobileNet", "layers": [{"kind": "global-average-pool"}]}
STAGE: dict[str, Any] = {"batch": 8, "learning_rate": 0.01}
HEAD_FIRST = [STAGE | {"epochs": 3, "backbone_layers": 0}, STAGE | {"epochs": 1, "backbone_layers": 3}]
AUXILIARY = {"weight": 0.5, "classes": [{"label": "healthy", "folder": "NORMAL"}, {"label": "PNEUMONIA"}]}


@pytest.mark.parametrize(
    ("plan", "changes"),
    [
        ({"early_stopping": {"patience": 1}, "stages": [{"epochs": 6, "batch": 8, "learning_rate": 0.1}] * 2}, {}),
        ({"auxiliary": AUXILIARY, "averaging": 0.8, "stages": [{"epochs": 4, "batch": 8, "learning_rate": 0.01}]}, {}),
        pytest.param({"stages": HEAD_FIRST}, {"network": BACKBONE}, marks=pytest.mark.slow),
        ({"initial_share": 0.25, "stages": [{"epochs": 3, "batch": 8, "learning_rate": 0.01}]}, {"weights": True}),
    ],
    ids=["early stopping", "auxiliary", "feature maps", "initial share"],
)
def test_so_it_does_whatever_the_plan(
    tmp_path: Path,
    data: Path,
    finished: tuple[Path, Metrics, Watching],
    keras: Any,
    plan: dict[str, Any],
    changes: dict[str, Any],
) -> None:
    given: dict[str, Any] = {"weights": str(finished[0] / "model.keras")} if "weights" in changes else {}
    tables = {name: table for name, table in changes.items() if name == "network"}
    recipe, whole = recipe_file(tmp_path, training=plan, **tables), Watching()
    train(request(recipe, data, tmp_path / "whole", **given), whole)
    with pytest.raises(KeyboardInterrupt):
        train(request(recipe, data, tmp_path / "run", **given), Watching(stop_after=whole.calls * 3 // 5))
    train(request(recipe, data, tmp_path / "run", resume=True, **given), Watching())
    assert_the_same(tmp_path / "run", tmp_path / "whole", keras)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_so_it_does_on_another_backend(backend: str) -> None:
    pytest.importorskip(backend, reason=f"needs the Keras backend {backend}")
    chosen = f"{Path(__file__).as_posix()}::{test_interrupted_anywhere_it_goes_on_as_if_nothing_had_happened.__name__}"
    environment = os.environ | {"KERAS_BACKEND": backend}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", chosen]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout[-4000:]
    assert "5 passed" in found.stdout


def resumed(run: Path) -> list[str]:
    return ["--resume"] if (run / "run.json").exists() else []


def rows_in(run: Path) -> int:
    history = run / "history.json"
    return len(msgspec.json.decode(history.read_bytes())) if history.exists() else 0


def test_killed_at_random_it_goes_on_as_if_nothing_had_happened(
    tmp_path: Path, data: Path, finished: tuple[Path, Metrics, Watching], keras: Any
) -> None:
    recipe, run = recipe_file(tmp_path), tmp_path / "run"
    command = [sys.executable, "-m", "cxr_edge_export", "train", str(recipe), "--data", str(data), "-o", str(run)]
    chance = random.Random(1)  # noqa: S311 - when to kill, no secret
    for epochs in (1, 6):
        process = subprocess.Popen([*command, *resumed(run)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        while process.poll() is None and rows_in(run) < epochs:
            time.sleep(0.02)
        assert process.poll() is None, process.communicate()[0]
        time.sleep(chance.uniform(0, 0.1))
        process.kill()
        process.communicate()
        assert epochs <= rows_in(run) < 14
    subprocess.run([*command, *resumed(run)], check=True, capture_output=True)
    assert_the_same(run, finished[0], keras)
