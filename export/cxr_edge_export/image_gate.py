"""Fitting the image part of the gate: the distance from the training images, and where those are bright and dark."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx

from cxr_edge.contract import LAYOUT_SIDE, GatePolicy, Layout, OutOfDistribution
from cxr_edge.engine import Engine
from cxr_edge.errors import UsageError
from cxr_edge.image_gate import layout_of
from cxr_edge_export import dataset, features
from cxr_edge_export.recipe import ImageGatePlan, Recipe

if TYPE_CHECKING:
    from numpy.typing import NDArray

THRESHOLD_SHARE = 1 / 3  # of the patients
RIDGE = 1.0  # of the mean variance: neighbouring pixels of so small an image say almost the same


@dataclass(frozen=True, slots=True)
class Training:
    """What the gate is fitted on: raw features [N, D], layouts [N, 256], and which images give the threshold."""

    features: "NDArray[np.float64]"
    layouts: "NDArray[np.float64]"
    for_threshold: "NDArray[np.bool_]"


def fit_image_gate(
    network: onnx.ModelProto,
    recipe: Recipe,
    images: Sequence[dataset.LabelledImage],
    framework: str,
    progress: dataset.Progress,
) -> GatePolicy:
    """Fit the gate and add its nodes to the graph.

    Args:
        network: the finished graph; gets the output `features`. In place.
        recipe: its `image_gate` says how; without one there is none.
        images: what the network was trained on, or part of it.
        framework: of the original network, as the certificate names it.
        progress: is told (stage, done, total).

    Raises:
        UsageError: too few images.
        ModelError: the graph has no such layer.
    """
    plan = recipe.image_gate
    if plan is None:
        return GatePolicy(out_of_distribution=None)
    drawn = _draw(images, plan.out_of_distribution.images, recipe.quantization.seed)
    features.add_pooled_layer(network, plan.out_of_distribution.layer, framework)
    training = _run(network, recipe, drawn, progress)
    space = features.fit(training.features[~training.for_threshold], plan.out_of_distribution.components)
    features.add_projection(network, space)
    distances = np.linalg.norm(space.project(training.features[training.for_threshold]), axis=1)
    rate = plan.out_of_distribution.false_alarm_rate
    return GatePolicy(
        out_of_distribution=OutOfDistribution(
            method="mahalanobis",
            layer=plan.out_of_distribution.layer,
            components=plan.out_of_distribution.components,
            threshold=float(np.quantile(distances, 1 - rate, method="higher")),
            false_alarm_rate=rate,
            fit_images=int((~training.for_threshold).sum()),
            threshold_images=int(training.for_threshold.sum()),
            data=recipe.training_data.description,
            families=(),
        ),
        layout=_layout(training, plan),
    )


def _draw(images: Sequence[dataset.LabelledImage], count: int, seed: int) -> tuple[dataset.LabelledImage, ...]:
    if len(images) < count:
        message = f"the image gate is to be fitted on {count} training images; there are {len(images)}"
        raise UsageError(message)
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(images))[:count]
    return tuple(images[index] for index in np.sort(order))


def _run(
    network: onnx.ModelProto, recipe: Recipe, images: Sequence[dataset.LabelledImage], progress: dataset.Progress
) -> Training:
    engine = Engine(network.SerializeToString(), provider="cpu")
    values, layouts, done = [], [], 0
    for batch in dataset.tensors(images, recipe.rendering, recipe.member):
        values.append(engine.run({recipe.member.input.name: batch}, (features.FEATURES,))[0].astype(np.float64))
        layouts += [layout_of(tensor[:, :, 0]).ravel() for tensor in batch]
        done += len(batch)
        progress("image gate", done, len(images))
    return Training(np.concatenate(values), np.stack(layouts), _for_threshold(images, recipe.quantization.seed))


def _for_threshold(images: Sequence[dataset.LabelledImage], seed: int) -> "NDArray[np.bool_]":
    """Which images give the threshold: those of a share of the patients, so that none is in both parts."""
    patients = sorted({image.patient for image in images})
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(patients))
    chosen = {patients[index] for index in order[: round(len(patients) * THRESHOLD_SHARE)]}
    return np.array([image.patient in chosen for image in images])


def _layout(training: Training, plan: ImageGatePlan) -> Layout:
    fitted, held_out = training.layouts[~training.for_threshold], training.layouts[training.for_threshold]
    template = training.layouts.mean(0)
    upright = _upright_direction(fitted)
    rate = plan.layout.upside_down_false_alarm_rate
    return Layout(
        template=_encoded(template / np.linalg.norm(template)),
        minimum_correlation=plan.layout.minimum_correlation,
        upright=_encoded(upright),
        minimum_upright=min(0.0, float(np.quantile(held_out @ upright, rate, method="lower"))),
        false_alarm_rate=rate,
        images=len(training.layouts),
    )


def _upright_direction(layouts: "NDArray[np.float64]") -> "NDArray[np.float64]":
    """Fisher's linear discriminant of layouts [N, 256] against their flipped selves, of unit norm."""
    difference = layouts - _flipped(layouts)
    within = np.cov(np.concatenate([layouts, _flipped(layouts) + difference.mean(0)]).T)
    ridge = RIDGE * np.trace(within) / len(within) * np.eye(len(within))
    direction = np.linalg.solve(within + ridge, difference.mean(0))
    unit: NDArray[np.float64] = direction / np.linalg.norm(direction)
    return unit


def _flipped(layouts: "NDArray[np.float64]") -> "NDArray[np.float64]":
    """Top to bottom."""
    return layouts.reshape(-1, LAYOUT_SIDE, LAYOUT_SIDE)[:, ::-1].reshape(len(layouts), -1)


def _encoded(values: "NDArray[np.float64]") -> str:
    return base64.b64encode(values.astype("<f4").tobytes()).decode()
