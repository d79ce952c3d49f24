"""The certificate: the exported file against Keras on the labelled sets, and the contract that says so."""

import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from cxr_edge.contract import Contract, GatePolicy, Golden, GoldenCase, Identity, Outputs, Parity, Quantization
from cxr_edge.decide import calibrate
from cxr_edge.engine import Engine, onnxruntime_module
from cxr_edge.types import OperatingPoint
from cxr_edge_export import dataset, graph, operating_points, parity
from cxr_edge_export.features import FEATURES
from cxr_edge_export.golden import golden_case, golden_tensors, spread
from cxr_edge_export.original import Original
from cxr_edge_export.recipe import Recipe, RecipeFile

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx
    from numpy.typing import NDArray


FLOAT = Quantization(
    scheme="none",
    ranges="none",
    percentile=None,
    seed=0,
    per_channel=False,
    reduce_range=False,
    bias_correction=False,
    first_layer="float",
    float_layers=(),
    images=0,
    sha256=None,
)


@dataclass(frozen=True, slots=True)
class Measured:
    """Keras and the exported file on one set: probabilities float32 [N, labels], truth and patients int64 [N]."""

    reference: "NDArray[np.float32]"
    exported: "NDArray[np.float32]"
    truth: "NDArray[np.int64]"
    patients: "NDArray[np.int64]"


def run(engine: Engine, tensors: "Mapping[str, NDArray[Any]]") -> "NDArray[np.float32]":
    """Probabilities float32 [N, labels] of the exported graph; `tensors` by input name, each [N, H, W, C]."""
    return engine.run(tensors, (graph.PROBABILITIES,))[0]


def certify(
    network: "onnx.ModelProto",
    original: Original,
    recipe_file: RecipeFile,
    sets: dataset.Sets,
    *,
    progress: dataset.Progress,
    as_float: bool,
) -> Contract:
    """Measure the file against Keras on the labelled sets, and write down what was decided and found, but for the gate.

    Args:
        network: the finished graph.
        original: what was trained.
        recipe_file: what was decided.
        sets: the labelled sets.
        progress: is told (stage, done, total).
        as_float: whether the graph was left in float32.

    Raises:
        LimitBroken: naming each figure that broke its limit.
    """
    recipe = recipe_file.recipe
    engine = Engine(network.SerializeToString(), provider="cpu")
    measured = _measure(engine, original, recipe, sets, progress)
    points = _operating_points(recipe, measured[0])
    proof = _prove(recipe, original, sets, measured, points)
    return Contract(
        schema_version=1,
        identity=_identity(recipe_file, original),
        rendering=recipe.rendering,
        members=original.members,
        outputs=_outputs(network, recipe),
        labels=recipe.labels,
        positive_labels=recipe.positive_labels,
        operating_points=points,
        default_operating_point=recipe.default_operating_point,
        intended_use=recipe.intended_use,
        gate=GatePolicy(out_of_distribution=None),
        quantization=_quantization(network, recipe, sets) if not as_float else FLOAT,
        parity=proof,
        golden=Golden(tolerance=recipe.golden.tolerance, cases=_golden_cases(engine, original, recipe)),
    )


def _measure(
    engine: Engine, original: Original, recipe: Recipe, sets: dataset.Sets, progress: dataset.Progress
) -> tuple[Measured, Measured]:
    """Validation and agreement, each image once even where the sets overlap; scores calibrated as the runtime does."""
    unique = {image.path: image for image in (*sets.validation, *sets.agreement)}
    order = {path: row for row, path in enumerate(unique)}
    reference, exported, done = [], [], 0
    for batch in dataset.tensors_by_input(tuple(unique.values()), recipe.rendering, original.members):
        reference.append(original.probabilities(batch))
        exported.append(run(engine, batch))
        done += len(exported[-1])
        progress("parity", done, len(unique))
    before, after = (
        calibrate(np.concatenate(parts).astype(np.float64), recipe.temperature).astype(np.float32)
        for parts in (reference, exported)
    )

    def part(images: tuple[dataset.LabelledImage, ...]) -> Measured:
        rows = [order[image.path] for image in images]
        truth = np.array([image.label for image in images], np.int64)
        patients = dataset.patient_groups(images)
        return Measured(reference=before[rows], exported=after[rows], truth=truth, patients=patients)

    return part(sets.validation), part(sets.agreement)


def _prove(
    recipe: Recipe,
    original: Original,
    sets: dataset.Sets,
    measured: tuple[Measured, Measured],
    points: tuple[OperatingPoint, ...],
) -> Parity:
    """The comparison on both sets, held against the recipe's limits.

    Raises:
        LimitBroken: naming each figure that broke its limit.
    """
    columns = tuple(recipe.labels.index(name) for name in recipe.positive_labels)
    rules = parity.Rules(points=points, default=recipe.default_operating_point, positive_columns=columns)
    names = (recipe.data.validation, recipe.data.agreement)
    validation, agreement = (
        parity.compare(
            (name, dataset.set_sha256(images)),
            part.truth,
            (
                parity.scores(part.reference, recipe.labels, recipe.positive_labels),
                parity.scores(part.exported, recipe.labels, recipe.positive_labels),
            ),
            rules,
            part.patients,
        )
        for name, images, part in zip(names, (sets.validation, sets.agreement), measured, strict=True)
    )
    parity.check_limits(validation, agreement, recipe.limits)
    return Parity(
        reference=original.framework,
        measured_on=f"onnxruntime {onnxruntime_module().__version__} CPUExecutionProvider, {platform.machine()}",
        validation=validation,
        agreement=agreement,
        limits=recipe.limits,
    )


def _operating_points(recipe: Recipe, validation: Measured) -> tuple[OperatingPoint, ...]:
    columns = [recipe.labels.index(name) for name in recipe.positive_labels]
    positive = np.isin(validation.truth, columns)
    reference, exported = (
        parity.scores(part, recipe.labels, recipe.positive_labels).positive
        for part in (validation.reference, validation.exported)
    )
    return tuple(
        operating_points.choose(rule, positive, (reference, exported), recipe.data.validation)
        for rule in recipe.operating_points
    )


def _golden_cases(engine: Engine, original: Original, recipe: Recipe) -> tuple[GoldenCase, ...]:
    candidates = []
    for drawing, tensors in golden_tensors(original.members):
        batch = {name: tensor[np.newaxis] for name, tensor in tensors.items()}
        candidates.append(golden_case((drawing, tensors), original.probabilities(batch)[0], run(engine, batch)[0]))
    return spread(candidates, [recipe.labels.index(name) for name in recipe.positive_labels])


def _identity(recipe_file: RecipeFile, original: Original) -> Identity:
    model = recipe_file.recipe.model
    return Identity(
        name=model.name,
        version=model.version,
        created=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        licence=model.licence,
        recipe_sha256=recipe_file.sha256,
        source_model_sha256=original.sha256,
        training_data=recipe_file.recipe.training_data,
    )


def _outputs(network: "onnx.ModelProto", recipe: Recipe) -> Outputs:
    names = {output.name for output in network.graph.output}
    return Outputs(
        probabilities=graph.PROBABILITIES,
        activation_map=graph.ACTIVATION_MAP if graph.ACTIVATION_MAP in names else None,
        features=FEATURES if FEATURES in names else None,
        temperature=recipe.temperature,
    )


def _quantization(network: "onnx.ModelProto", recipe: Recipe, sets: dataset.Sets) -> Quantization:
    plan = recipe.quantization
    first = {node.name for node in graph.first_convolutions(network.graph)}
    return Quantization(
        scheme="int8-u8s8-qdq",
        ranges=plan.ranges,
        percentile=plan.percentile,
        seed=plan.seed,
        per_channel=True,
        reduce_range=plan.reduce_range,
        bias_correction=plan.bias_correction,
        first_layer="float" if first <= set(plan.float_layers) else "sum-keeping",
        float_layers=plan.float_layers,
        images=len(sets.calibration),
        sha256=dataset.set_sha256(sets.calibration),
    )
