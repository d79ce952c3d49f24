"""A network while one stage trains it: its optimizer, a step, its averaged weights, and all of its state as arrays."""

import contextlib
import functools
import gc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cxr_edge.errors import ModelError
from cxr_edge_export.recipe import Recipe, Stage, TrainingPlan
from cxr_edge_export.training.backend import keras_module
from cxr_edge_export.training.batch_norm import fuse_batch_norms
from cxr_edge_export.training.network import build

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = list[NDArray[Any]]

PREDICTED_TOGETHER = 64  # images
FOCUS = 2.0  # exponent of the focal loss, as in its paper


class Trainee:
    """One stage's network. `cached`: the backbone stays as it is, and what is trained takes its feature maps."""

    def __init__(self, recipe: Recipe, folder: Path, number: int, steps: int, seed: int, *, cached: bool) -> None:
        """Build it with weights drawn from `seed` and the stage's `number`; `steps` batches make an epoch."""
        keras = keras_module()
        self._plan = training_of(recipe)
        stage = self._plan.stages[number]
        seed_stage(seed, number)  # the same, whichever stages ran in this process before
        keras.mixed_precision.set_global_policy(_policy(self._plan.precision))
        try:
            self.built = build(recipe, folder, stage.side)
        finally:
            keras.mixed_precision.set_global_policy("float32")
        self.built.train_last(stage.backbone_layers)
        fuse_batch_norms(self.built.model.layers)
        frozen = stage.backbone_layers == 0 and self.built.head is not None
        self._taught = self.built.head if frozen else self.built.model
        # what is not trained still drops out in a training step, however it was called
        self._first = self.built.extractor if frozen and not cached else None
        self._sigmoid = recipe.network is not None and recipe.network.output == "sigmoid"
        self._widths = [output.shape[-1] for output in self._taught.outputs]
        self._taught.compile(
            optimizer=_optimizer(self._plan, stage, steps),
            loss=self._losses(),
            loss_weights=[1.0] if self._plan.auxiliary is None else [1.0, self._plan.auxiliary.weight],
            jit_compile=keras.backend.backend() == "jax",  # which else computes operation by operation
        )
        self.optimizer = self._taught.optimizer  # Keras wraps it where float16 needs its loss scaled
        self.optimizer.build(self._taught.trainable_variables)
        # makes the trackers of several losses: where the first step makes them, TensorFlow traces that step twice
        nothing = [keras.ops.zeros((1, width)) for width in self._widths]
        self._taught.compute_loss(y=nothing, y_pred=nothing)

    def step(
        self, inputs: "NDArray[np.float32]", truth: "Sequence[NDArray[np.int64]]", weights: "NDArray[np.float32] | None"
    ) -> float:
        """One step of the optimizer; its loss.

        Args:
            inputs: (n, rows, columns, channels), normalized; feature maps where the backbone is cached.
            truth: one int64 (n,) for each output.
            weights: float32 (n,), of the images; None: all the same.
        """
        targets = [self._targets(labels, width) for labels, width in zip(truth, self._widths, strict=True)]
        weighed = None if weights is None else [weights] * len(targets)
        logs = self._taught.train_on_batch(self._seen(inputs), targets, sample_weight=weighed, return_dict=True)
        # Keras on torch leaves a step's activations in a cycle (keras#23110): gigabytes, until Python looks for them
        gc.collect(1)
        return float(logs["loss"])

    def predict(self, inputs: "NDArray[np.float32]") -> "NDArray[np.float64]":
        """Probabilities float64 (n, labels) of the weights as they are; a sigmoid p becomes (1 - p, p)."""
        found = self._taught.predict_on_batch(self._seen(inputs))
        first = np.asarray(found[0] if isinstance(found, list | tuple) else found, np.float64)
        return np.concatenate([1 - first, first], axis=1) if self._sigmoid else first

    def _seen(self, inputs: "NDArray[np.float32]") -> "NDArray[np.float32]":
        return inputs if self._first is None else np.asarray(self._first.predict_on_batch(inputs), np.float32)

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """The averaged weights in the place of the last ones, where the recipe asks for an average."""
        if self._plan.averaging is None:
            yield
            return
        variables = self._taught.trainable_variables
        last = _values(variables)
        self.optimizer.finalize_variable_values(variables)
        try:
            yield
        finally:
            _assign(variables, last)

    def weights(self) -> "Arrays":
        """All of the network's state, random seeds included."""
        return _values(self.built.model.variables)

    def take_weights(self, values: "Arrays") -> None:
        """Set what `weights` gave."""
        _assign(self.built.model.variables, values)

    def optimizer_state(self) -> "Arrays":
        """Moments, averages and the number of steps."""
        return _values(self.optimizer.variables)

    def take_optimizer_state(self, values: "Arrays") -> None:
        """Set what `optimizer_state` gave."""
        _assign(self.optimizer.variables, values)

    def learning_rate(self) -> float:
        """That of the next step."""
        return float(keras_module().ops.convert_to_numpy(self.optimizer.learning_rate))

    def _losses(self) -> list[Any]:
        losses, smoothing = keras_module().losses, self._plan.label_smoothing
        if self._plan.loss == "focal":
            binary = functools.partial(losses.BinaryFocalCrossentropy, gamma=FOCUS)
            several = functools.partial(losses.CategoricalFocalCrossentropy, gamma=FOCUS, alpha=1.0)
        else:
            binary, several = losses.BinaryCrossentropy, losses.CategoricalCrossentropy
        makers = [binary if self._sigmoid else several, *(several for _ in self._widths[1:])]
        return [make(label_smoothing=smoothing) for make in makers]

    def _targets(self, labels: "NDArray[np.int64]", width: int) -> "NDArray[np.float32]":
        if width == 1:
            return labels[:, np.newaxis].astype(np.float32)
        return np.eye(width, dtype=np.float32)[labels]


def seed_stage(seed: int, number: int) -> None:
    """Have a stage's network draw the weights that no file gives it as in every other run with this seed."""
    keras_module().utils.set_random_seed((seed * 1000 + number) % (1 << 32))


def training_of(recipe: Recipe) -> TrainingPlan:
    """How a recipe's weights are found."""
    if recipe.training is None:
        raise AssertionError  # the command refuses such a recipe before
    return recipe.training


def _policy(precision: str) -> str:
    return "float32" if precision == "float32" else f"mixed_{precision}"


def _optimizer(plan: TrainingPlan, stage: Stage, steps: int) -> Any:  # noqa: ANN401 - a keras.Optimizer
    optimizers = keras_module().optimizers
    options: dict[str, Any] = {"learning_rate": _schedule(stage, steps), "global_clipnorm": plan.gradient_clip}
    if plan.averaging is not None:
        options |= {"use_ema": True, "ema_momentum": plan.averaging, "ema_overwrite_frequency": None}
    if plan.weight_decay or plan.optimizer == "adamw":  # whose own default is 0.004
        options["weight_decay"] = plan.weight_decay
    makers = {
        "adam": optimizers.Adam,
        "adamw": optimizers.AdamW,
        "nadam": optimizers.Nadam,
        "rmsprop": optimizers.RMSprop,
        "sgd": optimizers.SGD,
    }
    if plan.optimizer == "sgd":
        options["momentum"] = plan.momentum
    return makers[plan.optimizer](**options)


def _schedule(stage: Stage, steps: int) -> Any:  # noqa: ANN401 - a number or a keras LearningRateSchedule
    schedules = keras_module().optimizers.schedules
    warmup = stage.warmup_epochs * steps
    if stage.schedule == "cosine":
        return schedules.CosineDecay(
            initial_learning_rate=0.0 if warmup else stage.learning_rate,
            decay_steps=max(1, stage.epochs * steps - warmup),
            warmup_target=stage.learning_rate if warmup else None,
            warmup_steps=warmup,
        )
    if warmup:
        return schedules.PolynomialDecay(stage.learning_rate / warmup, warmup, stage.learning_rate)
    return stage.learning_rate


def _values(variables: Sequence[Any]) -> "Arrays":
    convert = keras_module().ops.convert_to_numpy
    return [np.array(convert(variable)) for variable in variables]


def _assign(variables: Sequence[Any], values: "Arrays") -> None:
    shapes = [tuple(variable.shape) for variable in variables]
    if shapes != [value.shape for value in values]:
        message = "the checkpoint holds other arrays than this network and its optimizer have; begin in another folder"
        raise ModelError(message)
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
