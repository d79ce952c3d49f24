"""Training that begins with a network trained before."""

import hashlib
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="needs the workbench: pip install ./export")

from recipes import LAYERS
from training_runs import SHORT, Watching, recipe_file, request

from cxr_edge.errors import ModelError, UsageError
from cxr_edge_export.held_back import trained_with
from cxr_edge_export.training.judge import JudgeRequest, judge
from cxr_edge_export.training.metrics_file import Metrics
from cxr_edge_export.training.run_folder import Row
from cxr_edge_export.training.train import train


def first_rows(run: Path) -> Row:
    return msgspec.json.decode((run / "history.json").read_bytes(), type=list[Row])[0]


def test_it_starts_from_a_network_trained_before(
    tmp_path: Path, data: Path, finished: tuple[Path, Metrics, Watching], keras: Any
) -> None:
    """Its first epoch is better than the first from random weights, and the record says where they are from."""
    trained = finished[0] / "model.keras"
    found = train(request(recipe_file(tmp_path), data, tmp_path / "run", weights=str(trained)), Watching())
    assert first_rows(tmp_path / "run").validation_loss < first_rows(finished[0]).validation_loss - 0.1
    assert found.weights == "sha256:" + hashlib.sha256(trained.read_bytes()).hexdigest()
    assert finished[1].weights == "random"
    model = keras.saving.load_model(trained, compile=False)
    model.save_weights(tmp_path / "x.weights.h5")
    recipe = recipe_file(tmp_path, network={"layers": LAYERS, "weights": "x.weights.h5"})
    train(request(recipe, data, tmp_path / "other"), Watching(stop_after=None))
    rows = [msgspec.structs.asdict(first_rows(tmp_path / name)) for name in ("run", "other")]
    assert rows[0] == rows[1]


def test_what_another_run_trained_on_is_no_test_of_its_weights(
    tmp_path: Path, data: Path, finished: tuple[Path, Metrics, Watching]
) -> None:
    trained = finished[0] / "model.keras"
    recipe = recipe_file(tmp_path, selection={"validation": 0.25, "test": 0.2, "seed": 7})  # another split
    with pytest.raises(UsageError, match=r"\d+ of the \d+ validation images are .* that the run .* trained on"):
        train(request(recipe, data, tmp_path / "run", weights=str(trained)), Watching())
    assert not (tmp_path / "run").exists()


def test_nor_is_what_the_weights_of_its_weights_trained_on(
    tmp_path: Path, data: Path, finished: tuple[Path, Metrics, Watching]
) -> None:
    """A second training may see few images; its network still knows those of the first one."""
    first = finished[0]
    few = tmp_path / "few"
    for name in ("validation.txt", "test.txt"):
        for line in (first / name).read_text(encoding="utf-8").splitlines():
            (few / line).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(data / line, few / line)
    plan = {"selection": {"validation": 0.4, "test": 0.0, "seed": 1}}
    train(request(recipe_file(tmp_path, **plan), few, tmp_path / "b", weights=str(first / "model.keras")), Watching())
    other, second = tmp_path / "other", tmp_path / "b" / "model.keras"  # by other names, in other folders
    for number, line in enumerate(first_images := (first / "training.txt").read_text(encoding="utf-8").splitlines()):
        file = other / Path(line).parent / f"person{9000 + number}_virus_1{Path(line).suffix}"
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(data / line, file)
    told = f"{len(first_images)} of the {len(first_images)} .* of patients that the run .*b trained on"
    judged = request(recipe_file(tmp_path, **plan), few, tmp_path / "c", weights=str(second), validation=other)
    with pytest.raises(UsageError, match=told):
        train(judged, Watching())
    report = judge(JudgeRequest(run=tmp_path / "b", data=few, images=other, operating_point=None))
    assert any(re.search(told, warning) for warning in report.warnings)
    texts = [(tmp_path / "b" / "training.txt").read_text(encoding="utf-8").splitlines(), first_images]
    digests = {
        hashlib.sha256((root / line).read_bytes()).hexdigest()
        for root, lines in zip((few, data), texts, strict=True)
        for line in lines
    }
    assert trained_with(second) == digests


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_share_of_the_initial_weights_is_kept(
    tmp_path: Path, data: Path, finished: tuple[Path, Metrics, Watching], keras: Any, precision: str
) -> None:
    """Moving averages included; and the epochs are those of a training that keeps nothing."""
    initial = finished[0] / "model.keras"
    plan = {"stages": SHORT, "precision": precision}
    for name, share in (("all", 0.0), ("kept", 0.25)):
        recipe = recipe_file(tmp_path, training=plan | {"initial_share": share})
        train(request(recipe, data, tmp_path / name, weights=str(initial)), Watching())
    files = (initial, tmp_path / "all" / "model.keras", tmp_path / "kept" / "model.keras")
    before, trained, kept = (keras.saving.load_model(file, compile=False).get_weights() for file in files)
    assert any(not np.array_equal(one, other) for one, other in zip(before, trained, strict=True))
    for one, other, mixed in zip(before, trained, kept, strict=True):
        np.testing.assert_allclose(mixed, 0.25 * one + 0.75 * other, rtol=1e-5, atol=1e-7)
    histories = [(tmp_path / name / "history.json").read_bytes() for name in ("all", "kept")]
    assert histories[0] == histories[1]


def test_random_weights_are_not_worth_keeping(tmp_path: Path, data: Path) -> None:
    recipe = recipe_file(tmp_path, training={"stages": SHORT, "initial_share": 0.25})
    with pytest.raises(UsageError, match=r"initial_share, but begins with random weights"):
        train(request(recipe, data, tmp_path / "run"), Watching())


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda _, path: path.with_name("none.keras"), "cannot be read: No such file"),
        (lambda _, path: path.write_bytes(b"x") and path, "is not a Keras file"),
        (lambda keras, path: _saved(keras, path, keras.layers.Lambda(lambda x: x)), "holds a Lambda layer"),
        (lambda keras, path: _saved(keras, path, keras.layers.Conv2D(3, 3)), "do not fit layer layer_1_conv"),
    ],
)
def test_a_network_that_cannot_be_started_from(
    tmp_path: Path, data: Path, keras: Any, make: Callable[[Any, Path], Path], says: str
) -> None:
    file = make(keras, tmp_path / "other.keras")
    with pytest.raises(ModelError, match=says):
        train(request(recipe_file(tmp_path), data, tmp_path / "run", weights=str(file)), Watching())


def _saved(keras: Any, path: Path, layer: Any) -> Path:
    keras.Sequential([keras.Input((48, 48, 3)), layer]).save(path)
    return path
