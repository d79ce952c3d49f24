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


@dataclass(frozen=True, slots=True)
class Training:
    """What the gate is fitted on: raw features [N, D], layouts [N, 256], and which images give the threshold."""

    features: "NDArray[np.float64]"
    layouts: "NDArray[np.float64]"
    for_threshold: "NDArray[np.bool_]"


def fit_image_gate(
    network: onnx.ModelProto, recipe: Recipe, images: Sequence[dataset.LabelledImage], progress: dataset.Progress
) -> GatePolicy:
    """Fit the gate and add its nodes to the graph.

    Args:
        network: the finished graph; gets the output `features`. In place.
        recipe: its `image_gate` says how; without one there is none.
        images: what the network was trained on, or part of it.
        progress: is told (stage, done, total).

    Raises:
        UsageError: too few images.
        ModelError: the graph has no such layer.
    """
    plan = recipe.image_gate
    if plan is None:
        return GatePolicy(out_of_distribution=None)
    drawn = _draw(images, plan.out_of_distribution.images, recipe.quantization.seed)
    features.add_pooled_layer(network, plan.out_of_distribution.layer)
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
        layout=_layout(training.layouts, plan),
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
        values.append(engine.run({recipe.input.name: batch}, (features.FEATURES,))[0].astype(np.float64))
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


def _layout(layouts: "NDArray[np.float64]", plan: ImageGatePlan) -> Layout:
    template = layouts.mean(0)
    template /= np.linalg.norm(template)
    flipped = template.reshape(LAYOUT_SIDE, LAYOUT_SIDE)[::-1].ravel()
    upright, turned = layouts @ template, layouts @ flipped
    limits = plan.layout
    refused = (upright < limits.minimum_correlation) | (turned - upright > limits.upside_down_margin)
    return Layout(
        template=base64.b64encode(template.astype("<f4").tobytes()).decode(),
        minimum_correlation=limits.minimum_correlation,
        upside_down_margin=limits.upside_down_margin,
        images=len(layouts),
        training_refused=float(refused.mean()),
    )
