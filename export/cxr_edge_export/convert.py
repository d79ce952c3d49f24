"""The road from a trained Keras model to one certified file; each step is a function, most of a module of its own."""

import hashlib
import platform
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cxr_edge.contract import Contract, GoldenCase, Identity, Outputs, Parity, Quantization
from cxr_edge.contract.schema import GatePolicy, Golden
from cxr_edge.engine import Engine, onnxruntime_module
from cxr_edge.files import refuse_existing, write_atomically
from cxr_edge.types import OperatingPoint
from cxr_edge_export import dataset, graph, onnx_float, operating_points, parity
from cxr_edge_export.golden import golden_case, golden_tensors
from cxr_edge_export.islands import check_islands
from cxr_edge_export.keras_model import SourceModel, load_model
from cxr_edge_export.quantize import quantize, simplify
from cxr_edge_export.recipe import Recipe, RecipeFile, read_recipe
from cxr_edge_export.stamp import stamp

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

Progress = Callable[[str, int, int], None]
CHECK_IMAGES = 32  # on which the float graph is held against Keras before the long work starts


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to convert.

    Attributes:
        model: Keras file or SavedModel folder.
        recipe: TOML file.
        calibration: folder, one sub-folder per class, from which quantization-calibration images are drawn.
        validation: folder or list of labelled images for operating points and parity.
        agreement: folder or list for agreement; None: `validation` and further images of `calibration`.
        output: the `.onnx` file; `.sha256` is written beside it.
        as_float: leave the graph in float32.
        overwrite: whether existing outputs are replaced.
    """

    model: Path
    recipe: Path
    calibration: Path
    validation: Path
    agreement: Path | None
    output: Path
    as_float: bool
    overwrite: bool


@dataclass(frozen=True, slots=True)
class Sets:
    """Disjoint by patient and by content: `calibration` from the two others. `agreement` may hold `validation`."""

    calibration: tuple[dataset.LabelledImage, ...]
    validation: tuple[dataset.LabelledImage, ...]
    agreement: tuple[dataset.LabelledImage, ...]


@dataclass(frozen=True, slots=True)
class Measured:
    """Keras and the exported file on one set: probabilities float32 [N, labels], truth int64 [N]."""

    reference: "NDArray[np.float32]"
    exported: "NDArray[np.float32]"
    truth: "NDArray[np.int64]"


def convert(request: Request, progress: Progress = lambda *_: None) -> Contract:
    """Convert, quantize, prove parity, stamp and write. Nothing is written unless every limit holds.

    Args:
        request: what to convert, and where to.
        progress: is told (stage, done, total).

    Raises:
        UsageError: the recipe or a labelled set is unusable.
        ModelError: the model cannot be loaded or converted.
        LimitBroken: with the figure and the limit that it broke.
        OutputError: the output exists or cannot be written.
    """
    digest_file = request.output.with_name(request.output.name + ".sha256")
    for target in (request.output, digest_file):
        refuse_existing(target, overwrite=request.overwrite)
    recipe_file = read_recipe(request.recipe)
    recipe = recipe_file.recipe
    sets = gather_sets(request, recipe)
    source = load_model(request.model)
    calibration = calibration_tensors(sets, recipe, progress)
    network = build_float_graph(source, recipe, calibration[:CHECK_IMAGES])
    if not request.as_float:
        network = quantize(
            network, recipe.quantization, calibration, lambda done: progress("quantize", done, len(calibration))
        )
        check_islands(network, len(recipe.quantization.float_layers))
    contract = certify(network, source, recipe_file, sets, progress=progress, as_float=request.as_float)
    content = stamp(network, contract)
    write_atomically(request.output, content, overwrite=request.overwrite)
    line = f"{hashlib.sha256(content).hexdigest()}  {request.output.name}\n"
    write_atomically(digest_file, line.encode(), overwrite=request.overwrite)
    return contract


def gather_sets(request: Request, recipe: Recipe) -> Sets:
    """The three sets of images, calibration disjoint from the others by patient and by content.

    Raises:
        UsageError: a set is unusable or too small.
    """
    pool = dataset.read_images(request.calibration, recipe.labels)
    validation = dataset.read_images(request.validation, recipe.labels, root=request.calibration)
    plan, seed = recipe.quantization, recipe.quantization.seed
    if request.agreement is not None:
        agreement = dataset.read_images(request.agreement, recipe.labels, root=request.calibration)
        calibration = dataset.draw_balanced(dataset.without(pool, (*validation, *agreement)), plan.images, seed)
        return Sets(calibration=calibration, validation=validation, agreement=agreement)
    apart = dataset.without(pool, validation)
    calibration = dataset.draw_balanced(apart, plan.images, seed)
    others = dataset.without(apart, calibration)
    wanted = max(0, recipe.data.agreement_images - len(validation))
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(others))[:wanted]
    further = tuple(others[index] for index in np.sort(order))
    return Sets(calibration=calibration, validation=validation, agreement=(*validation, *further))


def calibration_tensors(sets: Sets, recipe: Recipe, progress: Progress) -> "list[NDArray[Any]]":
    """The quantization-calibration tensors, each [H, W, C]."""
    images: list[NDArray[Any]] = []
    for batch in dataset.tensors(sets.calibration, recipe.rendering, recipe.member):
        images.extend(batch)
        progress("read", len(images), len(sets.calibration))
    return images


def build_float_graph(source: SourceModel, recipe: Recipe, images: "list[NDArray[Any]]") -> "onnx.ModelProto":
    """The contract's graph in float32: tf2onnx, outputs, folded preprocessing, simplified, checked against Keras.

    Raises:
        ModelError: the network cannot be converted.
        LimitBroken: the float graph differs from Keras on `images`.
    """
    network = onnx_float.to_float_onnx(source, recipe.member)
    graph.name_outputs(network, len(recipe.labels))
    graph.add_activation_map(network, len(recipe.labels))
    graph.fold_preprocessing(network, recipe.member)
    network = simplify(network)
    tensors = np.stack(images)
    exported = _run(Engine(network.SerializeToString(), provider="cpu"), tensors, recipe)
    onnx_float.check_against_keras(exported, onnx_float.keras_probabilities(source, tensors, recipe.member))
    return network


def certify(
    network: "onnx.ModelProto",
    source: SourceModel,
    recipe_file: RecipeFile,
    sets: Sets,
    *,
    progress: Progress,
    as_float: bool,
) -> Contract:
    """Measure the file against Keras on the labelled sets, and write down everything that was decided and found.

    Raises:
        LimitBroken: naming each figure that broke its limit.
    """
    recipe = recipe_file.recipe
    engine = Engine(network.SerializeToString(), provider="cpu")
    measured = _measure(engine, source, recipe, sets, progress)
    points = _operating_points(recipe, measured[0])
    columns = tuple(recipe.labels.index(name) for name in recipe.positive_labels)
    rules = parity.Rules(points=points, default=recipe.default_operating_point, positive_columns=columns)
    names = (recipe.data.validation, recipe.data.agreement)
    validation, agreement = (
        parity.compare(
            (name, dataset.set_sha256(images)),
            part.truth,
            parity.scores(part.reference, recipe.labels, recipe.positive_labels),
            parity.scores(part.exported, recipe.labels, recipe.positive_labels),
            rules,
        )
        for name, images, part in zip(names, (sets.validation, sets.agreement), measured, strict=True)
    )
    parity.check_limits(validation, agreement, recipe.limits)
    return Contract(
        schema_version=1,
        identity=_identity(recipe_file, source),
        rendering=recipe.rendering,
        members=(recipe.member,),
        outputs=_outputs(network, recipe),
        labels=recipe.labels,
        positive_labels=recipe.positive_labels,
        operating_points=points,
        default_operating_point=recipe.default_operating_point,
        intended_use=recipe.intended_use,
        gate=GatePolicy(out_of_distribution=None),
        quantization=_quantization(recipe, sets, as_float=as_float),
        parity=Parity(
            reference=source.framework,
            measured_on=f"onnxruntime {onnxruntime_module().__version__} CPUExecutionProvider, {platform.machine()}",
            validation=validation,
            agreement=agreement,
            limits=recipe.limits,
        ),
        golden=Golden(tolerance=recipe.golden.tolerance, cases=_golden_cases(engine, source, recipe)),
    )


def _measure(
    engine: Engine, source: SourceModel, recipe: Recipe, sets: Sets, progress: Progress
) -> tuple[Measured, Measured]:
    """Validation and agreement, each image once even where the sets overlap."""
    unique = {image.path: image for image in (*sets.validation, *sets.agreement)}
    order = {path: row for row, path in enumerate(unique)}
    reference, exported, done = [], [], 0
    for batch in dataset.tensors(tuple(unique.values()), recipe.rendering, recipe.member):
        reference.append(onnx_float.keras_probabilities(source, batch, recipe.member))
        exported.append(_run(engine, batch, recipe))
        done += len(batch)
        progress("parity", done, len(unique))
    before, after = np.concatenate(reference), np.concatenate(exported)

    def part(images: tuple[dataset.LabelledImage, ...]) -> Measured:
        rows = [order[image.path] for image in images]
        truth = np.array([image.label for image in images], np.int64)
        return Measured(reference=before[rows], exported=after[rows], truth=truth)

    return part(sets.validation), part(sets.agreement)


def _operating_points(recipe: Recipe, validation: Measured) -> tuple[OperatingPoint, ...]:
    columns = [recipe.labels.index(name) for name in recipe.positive_labels]
    positive = np.isin(validation.truth, columns)
    score = parity.scores(validation.reference, recipe.labels, recipe.positive_labels).positive
    return tuple(
        operating_points.choose(rule, positive, score, recipe.data.validation) for rule in recipe.operating_points
    )


def _golden_cases(engine: Engine, source: SourceModel, recipe: Recipe) -> tuple[GoldenCase, ...]:
    drawn = golden_tensors(recipe.member)
    return tuple(
        golden_case(
            case,
            onnx_float.keras_probabilities(source, case[2][None], recipe.member)[0],
            _run(engine, case[2][None], recipe)[0],
        )
        for case in drawn
    )


def _run(engine: Engine, tensors: "NDArray[Any]", recipe: Recipe) -> "NDArray[np.float32]":
    return engine.run({recipe.input.name: tensors}, (graph.PROBABILITIES,))[0]


def _identity(recipe_file: RecipeFile, source: SourceModel) -> Identity:
    model = recipe_file.recipe.model
    return Identity(
        name=model.name,
        version=model.version,
        created=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        licence=model.licence,
        recipe_sha256=recipe_file.sha256,
        source_model_sha256=source.sha256,
        training_data=recipe_file.recipe.training_data,
    )


def _outputs(network: "onnx.ModelProto", recipe: Recipe) -> Outputs:
    names = {output.name for output in network.graph.output}
    return Outputs(
        probabilities=graph.PROBABILITIES,
        activation_map=graph.ACTIVATION_MAP if graph.ACTIVATION_MAP in names else None,
        features=None,
        temperature=recipe.temperature,
    )


def _quantization(recipe: Recipe, sets: Sets, *, as_float: bool) -> Quantization:
    plan = recipe.quantization
    return Quantization(
        scheme="none" if as_float else "int8-u8s8-qdq",
        ranges="none" if as_float else plan.ranges,
        per_channel=not as_float,
        reduce_range=plan.reduce_range and not as_float,
        bias_correction=False,
        float_layers=() if as_float else plan.float_layers,
        images=0 if as_float else len(sets.calibration),
        sha256=None if as_float else dataset.set_sha256(sets.calibration),
    )
