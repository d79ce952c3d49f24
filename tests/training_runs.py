"""A small training on phantoms for tests: its recipe, its request, and somebody who watches it."""

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import tomlkit
from recipes import LAYERS, raw_recipe

from cxr_edge_export.training.metrics_file import Metrics, SetFigures
from cxr_edge_export.training.run_folder import Beginning, Row
from cxr_edge_export.training.train import TrainRequest

STAGES: list[dict[str, Any]] = [
    {"epochs": 4, "batch": 8, "learning_rate": 0.01, "side": 32},
    {"epochs": 10, "batch": 8, "learning_rate": 0.01, "schedule": "cosine", "warmup_epochs": 1},
]
SHORT: list[dict[str, Any]] = [{"epochs": 3, "batch": 8, "learning_rate": 0.01}]
TRAINING: dict[str, Any] = {
    "optimizer": "adamw",
    "weight_decay": 0.001,
    "averaging": 0.8,
    "stages": STAGES,
    "augmentation": {"rotation": 6.0, "shift": 0.05, "contrast": 0.1},
}

VALIDATION = SetFigures(
    images=20,
    patients=20,
    sha256="0" * 64,
    cross_entropy=0.1,
    accuracy=1.0,
    balanced_accuracy=1.0,
    auc=1.0,
    confusion=((10, 0), (0, 10)),
)
METRICS = Metrics(
    model="tiny",
    seed=1,
    weights="random",
    software="keras",
    training_images=96,
    epochs=3,
    seconds_per_epoch=(1.0,),
    parameters=100,
    trainable_parameters=90,
    validation=VALIDATION,
    test=None,
)


class Watching:
    """Counts steps and epochs, and stops the training when asked to, as Ctrl-C would."""

    def __init__(self, stop_after: int | None = None) -> None:
        """Never stop, or at this call."""
        self.rows: list[Row] = []
        self.notes: list[str] = []
        self.shares: list[float] = []
        self.calls = 0
        self._stop_after = stop_after

    def progress(self, stage: str, done: int, total: int) -> None:
        """One moment at which Ctrl-C may come."""
        assert stage
        assert 0 < done <= total
        self.calls += 1
        if self.calls == self._stop_after:
            raise KeyboardInterrupt

    def whole(self, share: float) -> None:
        """How much of everything is done."""
        self.shares.append(share)

    def note(self, text: str) -> None:
        """What is said of the images."""
        self.notes.append(text)

    def epoch(self, row: Row) -> None:
        """Another one, after the checkpoint."""
        self.rows.append(row)
        self.progress("epoch", 1, 1)


def recipe_file(folder: Path, **changes: Any) -> Path:
    """The recipe of a training of 14 epochs in two stages, with tables replaced."""
    given = {"network": {"layers": LAYERS}, "training": TRAINING, "selection": {"validation": 0.25, "test": 0.2}}
    path = folder / "recipe.toml"
    path.write_text(tomlkit.dumps(raw_recipe(**(given | changes))), encoding="utf-8")
    return path


def begun(folder: Path) -> None:
    """A record as that of a run which began with the folder's recipe."""
    recipe = hashlib.sha256((folder / "recipe.toml").read_bytes()).hexdigest()
    of_sets = dict.fromkeys(("training_sha256", "validation_sha256", "test_sha256"), "0" * 64)
    beginning = Beginning(recipe_sha256=recipe, seed=1, weights="random", software="keras", **of_sets)
    (folder / "run.json").write_bytes(msgspec.json.encode(beginning))


def request(recipe: Path, data: Path, output: Path, *, resume: bool = False, **changes: Any) -> TrainRequest:
    """What to train, where sets are drawn and nothing else is asked for."""
    given: dict[str, Any] = {"validation": None, "test": None, "backend": None, "seed": None}
    return TrainRequest(recipe=recipe, data=data, output=output, resume=resume, **(given | changes))
