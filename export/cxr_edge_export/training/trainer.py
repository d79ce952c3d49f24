"""The stages of a recipe, epoch after epoch, each of which can be the last before a power cut."""

import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import numpy as np

from cxr_edge.contract import Member
from cxr_edge.errors import ModelError
from cxr_edge_export.recipe import Augmentation, Recipe, Stage, TrainingPlan
from cxr_edge_export.selection import Split
from cxr_edge_export.training import images as data
from cxr_edge_export.training.backend import reseed
from cxr_edge_export.training.extent import augmentation_of, keeps_features, share_done
from cxr_edge_export.training.images import Images
from cxr_edge_export.training.network import Built
from cxr_edge_export.training.run_folder import Checkpoint, Row, RunFolder, State
from cxr_edge_export.training.set_figures import set_figures
from cxr_edge_export.training.trainee import PREDICTED_TOGETHER, Trainee, training_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

AHEAD = 3  # batches made while the network computes


class TrainingDiverged(ModelError):  # noqa: N818 - named after what happened
    """The loss is no number any more."""


class Told(Protocol):
    """Who watches a training."""

    def progress(self, stage: str, done: int, total: int) -> None:
        """So much of something is done."""

    def whole(self, share: float) -> None:
        """That share of the whole training is done."""

    def note(self, text: str) -> None:
        """What somebody should know who reads nothing but this."""

    def epoch(self, row: Row) -> None:
        """An epoch is over, and its checkpoint is on the disk."""


@dataclass(frozen=True, slots=True)
class Training:
    """What is trained, on what, and where to.

    Attributes:
        recipe: with `network` and `training`.
        folder: that paths in the recipe are relative to.
        split: the images.
        seed: of everything that is drawn.
        run: the folder of the run.
        told: who watches.
        bordered: bool (N,), which training images have a border; None where it is not asked.
    """

    recipe: Recipe
    folder: Path
    split: Split
    seed: int
    run: RunFolder
    told: Told
    bordered: "NDArray[np.bool_] | None" = None

    @property
    def plan(self) -> TrainingPlan:
        """How the weights are found."""
        return training_of(self.recipe)


def train_stages(training: Training, checkpoint: Checkpoint | None) -> tuple[Built, State]:
    """Go through what is left of the stages.

    Args:
        training: what, on what, where to.
        checkpoint: from which to go on; None: from the start.

    Returns:
        The trained network and the state at the end.

    Raises:
        TrainingDiverged: in some epoch; the checkpoint of the one before stays.
    """
    plan = training.plan
    state, weights = State(), None
    if checkpoint is not None:
        state, weights = checkpoint.state, checkpoint.model
    trainee: Trainee | None = None
    while state.stage < len(plan.stages):
        given, checkpoint = checkpoint, None
        loaded = _load(training, plan.stages[state.stage])
        trainee = _trainee(training, state.stage, loaded)
        if weights is not None:
            trainee.take_weights(weights)
        optimizer = given.optimizer if given is not None else []
        if optimizer:
            trainee.take_optimizer_state(optimizer)
        state = _stage(training, _Course(trainee, loaded.cached_by(trainee, training.told)), state, given)
        weights = trainee.weights()
    if trainee is None:  # the kill came after the last checkpoint
        trainee = _trainee(training, len(plan.stages) - 1, None)
        trainee.take_weights(weights or [])
    return trainee.built, state


@dataclass(frozen=True, slots=True)
class _Loaded:
    """Training and validation images of one stage's size, or the feature maps of a backbone that stays as it is."""

    training: Images
    validation: Images
    member: Member
    augmentation: Augmentation
    cached: bool
    features: "tuple[NDArray[np.float32], NDArray[np.float32]] | None" = field(default=None)

    def cached_by(self, trainee: Trainee, told: Told) -> "_Loaded":
        """With the backbone's feature maps, where they do not change."""
        if not self.cached:
            return self
        both = []
        for name, images in (("training", self.training), ("validation", self.validation)):
            parts = []
            for start in range(0, len(images.gray), PREDICTED_TOGETHER):
                inputs = data.normalized(images.gray[start : start + PREDICTED_TOGETHER], self.member)
                parts.append(np.asarray(trainee.built.extractor.predict_on_batch(inputs), np.float32))
                told.progress(f"feature maps of {name} images", start + len(inputs), len(images.gray))
            both.append(np.concatenate(parts))
        return replace(self, features=(both[0], both[1]))


@dataclass(frozen=True, slots=True)
class _Course:
    """A stage at work."""

    trainee: Trainee
    loaded: _Loaded


def _load(training: Training, stage: Stage) -> _Loaded:
    augmentation = augmentation_of(training.plan, stage)
    sets = []
    for name, images in (("training", training.split.training), ("validation", training.split.validation)):
        told = _counted(training.told, f"{name} images", len(images))
        trained = name == "training"
        untrimmed = trained and augmentation.untrimmed > 0
        sets.append(data.load_images(images, training.recipe, stage.side, told, finer=trained, untrimmed=untrimmed))
    return _Loaded(
        training=replace(sets[0], bordered=training.bordered),
        validation=sets[1],
        member=data.member_of_size(training.recipe, stage.side),
        augmentation=augmentation,
        cached=keeps_features(training.recipe, training.plan, stage),
    )


def _counted(told: Told, what: str, total: int) -> Callable[[int], None]:
    return lambda done: told.progress(what, done, total)


def _trainee(training: Training, number: int, loaded: _Loaded | None) -> Trainee:
    stage = training.plan.stages[number]
    images = 1
    if loaded is not None:
        images = data.epoch_order(loaded.training, training.plan.balance, training.seed, 0).size
    cached = loaded is not None and loaded.cached
    steps = data.steps(images, stage.batch)
    return Trainee(training.recipe, training.folder, number, steps, training.seed, cached=cached)


def _stage(training: Training, course: _Course, state: State, given: Checkpoint | None) -> State:
    """The rest of one stage; the state at the start of the next."""
    plan = training.plan
    stage, stopping = plan.stages[state.stage], plan.early_stopping
    best = given.best if given is not None else []
    while state.epoch < stage.epochs and not (stopping and state.waited >= stopping.patience):
        started = time.monotonic()
        row = _epoch(training, course, state)
        seconds = time.monotonic() - started
        state = msgspec.structs.replace(
            state, epoch=state.epoch + 1, rows=(*state.rows, row), seconds=(*state.seconds, seconds)
        )
        if stopping is not None:
            figure = _watched(row, stopping.monitor)
            if state.best is None or figure > state.best:
                with course.trainee.averaged():
                    best = course.trainee.weights()
                state = msgspec.structs.replace(state, best=figure, waited=0)
            else:
                state = msgspec.structs.replace(state, waited=state.waited + 1)
        trainee = course.trainee
        training.run.save(Checkpoint(state, trainee.weights(), trainee.optimizer_state(), best))
        training.told.epoch(row)
    _leave(course.trainee, best)
    state = msgspec.structs.replace(state, stage=state.stage + 1, epoch=0, best=None, waited=0)
    training.run.save(Checkpoint(state, course.trainee.weights(), [], []))
    return state


def _leave(trainee: Trainee, best: "list[NDArray[Any]]") -> None:
    """What a stage hands on: the best weights, where they were watched for; else the last, averaged if asked for."""
    if best:
        trainee.take_weights(best)
        return
    with trainee.averaged():
        averaged = trainee.weights()
    trainee.take_weights(averaged)


def _watched(row: Row, monitor: str) -> float:
    """The figure that early stopping watches; more is better."""
    found = {"loss": -row.validation_loss, "auc": row.auc, "balanced_accuracy": row.balanced_accuracy}[monitor]
    return -math.inf if found is None else found


def _epoch(training: Training, course: _Course, state: State) -> Row:
    plan, loaded, trainee = training.plan, course.loaded, course.trainee
    stage, total = plan.stages[state.stage], len(state.rows)
    order = data.epoch_order(loaded.training, plan.balance, training.seed, total)
    rate, steps = trainee.learning_rate(), data.steps(order.size, stage.batch)
    weights = data.image_weights(loaded.training, plan.balance)
    reseed(training.seed, total)
    losses: list[float] = []
    label = f"stage {state.stage + 1} of {len(plan.stages)}, epoch {state.epoch + 1} of {stage.epochs}"
    for number, (indices, inputs) in enumerate(_ahead(training, loaded, order, stage.batch, total), 1):
        images = loaded.training
        truth = [images.labels[indices], *([] if images.finer is None else [images.finer[indices]])]
        losses.append(trainee.step(inputs, truth, None if weights is None else weights[indices]))
        training.told.progress(label, number, steps)
        training.told.whole(share_done(training.recipe, plan, state.stage, state.epoch + number / steps))
    with trainee.averaged():
        found = set_figures(_predicted(course), loaded.validation.labels, training.recipe)
    loss = sum(losses) / len(losses)
    if not math.isfinite(loss + found["cross_entropy"]):
        message = f"the training diverged in {label}: the loss is no number any more; a lower learning_rate may help"
        raise TrainingDiverged(message)
    return Row(
        stage=state.stage + 1,
        epoch=state.epoch + 1,
        side=loaded.member.input.height,
        learning_rate=rate,
        loss=loss,
        validation_loss=found["cross_entropy"],
        accuracy=found["accuracy"],
        balanced_accuracy=found["balanced_accuracy"],
        auc=found["auc"],
    )


def _ahead(
    training: Training, loaded: _Loaded, order: "NDArray[np.int64]", size: int, epoch: int
) -> "Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]":
    """(indices, inputs) of each batch, some made by a thread while the network computes."""

    def make(indices: "NDArray[np.int64]") -> "NDArray[np.float32]":
        if loaded.features is not None:
            return loaded.features[0][indices]
        gray = data.augmented(loaded.training, indices, loaded.augmentation, training.seed, epoch)
        return data.normalized(gray, loaded.member)

    parts = list(data.batches(order, size))
    with ThreadPoolExecutor(1, "cxr-edge-batches") as thread:
        coming = [thread.submit(make, part) for part in parts[:AHEAD]]
        for number, part in enumerate(parts):
            inputs = coming.pop(0).result()
            if number + AHEAD < len(parts):
                coming.append(thread.submit(make, parts[number + AHEAD]))
            yield part, inputs


def _predicted(course: _Course) -> "NDArray[np.float64]":
    loaded, found = course.loaded, []
    for start in range(0, len(loaded.validation.gray), PREDICTED_TOGETHER):
        some = slice(start, start + PREDICTED_TOGETHER)
        maps = loaded.features
        inputs = maps[1][some] if maps is not None else data.normalized(loaded.validation.gray[some], loaded.member)
        found.append(course.trainee.predict(inputs))
    return np.concatenate(found)
