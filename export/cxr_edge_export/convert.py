"""The road from a trained Keras model to one certified file; each step is a function, most of a module of its own."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from cxr_edge.contract import Contract
from cxr_edge.engine import Engine
from cxr_edge.errors import LimitBroken
from cxr_edge.files import refuse_existing
from cxr_edge_export import dataset, graph, onnx_float
from cxr_edge_export.bias_correction import correct_biases, give_biases
from cxr_edge_export.certify import certify, run
from cxr_edge_export.dataset import Progress
from cxr_edge_export.doubts import describe_chance, doubts
from cxr_edge_export.fuse import fuse
from cxr_edge_export.gate_families import check_families, read_families, with_families
from cxr_edge_export.held_back import (
    note_on_tests,
    refuse_another_count,
    refuse_other_data,
    refuse_trained_on,
    without_tests,
)
from cxr_edge_export.image_gate import fit_image_gate
from cxr_edge_export.islands import check_islands
from cxr_edge_export.original import Original, load_original
from cxr_edge_export.quantize import quantize, simplify
from cxr_edge_export.reading import refuse_another_reading
from cxr_edge_export.recipe import Recipe, read_recipe
from cxr_edge_export.selection import read_selected
from cxr_edge_export.stamp import publish, stamp
from cxr_edge_export.strides import move_strides_up

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import onnx
    from numpy.typing import NDArray

CHECK_IMAGES = 32  # on which the float graph is held against Keras before the long work starts


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to convert.

    Attributes:
        models: Keras file or SavedModel folder; of an ensemble one per member, in the recipe's order.
        recipe: TOML file.
        calibration: folder, one sub-folder per class, from which quantization-calibration images are drawn.
        validation: folder or list of labelled images for operating points and parity.
        agreement: folder or list for agreement; None: `validation` and further images of `calibration`.
        families: folder on which the image gate is tested: `pass` and `refuse`, in each a sub-folder per family.
        output: the `.onnx` file; `.sha256` is written beside it.
        as_float: leave the graph in float32.
        overwrite: whether existing outputs are replaced.
    """

    models: tuple[Path, ...]
    recipe: Path
    calibration: Path
    validation: Path
    agreement: Path | None
    families: Path | None
    output: Path
    as_float: bool
    overwrite: bool


def convert(
    request: Request, progress: Progress = lambda *_: None, note: "Callable[[str], None]" = lambda _: None
) -> Contract:
    """Convert, quantize, prove parity, stamp and write. Nothing is written unless every limit holds.

    Args:
        request: what to convert, and where to.
        progress: is told (stage, done, total).
        note: is told what is to be known of the sets.

    Raises:
        UsageError: the recipe or a labelled set is unusable, or the networks were trained on images read otherwise.
        ModelError: the model cannot be loaded or converted.
        LimitBroken: with the figure and the limit that it broke.
        OutputError: the output exists or cannot be written.
    """
    digest_file = request.output.with_name(request.output.name + ".sha256")
    for target in (request.output, digest_file):
        refuse_existing(target, overwrite=request.overwrite)
    recipe_file = read_recipe(request.recipe)
    recipe = recipe_file.recipe
    refuse_another_reading(request.models, recipe)
    refuse_another_count(request.models, recipe)
    check_families(request.families, recipe)
    sets = gather_sets(request, recipe, request.models)
    _refuse_too_few(sets.agreement, recipe)
    for words in (note_on_tests(request.models, sets.validation, recipe, request.calibration), *doubts(sets, recipe)):
        if words:
            note(words)
    original = load_original(request.models, recipe)
    calibration = calibration_tensors(sets, recipe, progress)
    network = build_float_graph(original, recipe, calibration[:CHECK_IMAGES])
    if not request.as_float:
        network = _quantized(network, recipe, calibration, progress)
        check_islands(network, recipe.quantization.float_layers)
    policy = fit_image_gate(network, recipe, sets.training, original.framework, progress)
    policy = with_families(policy, network, recipe, read_families(request.families, sets, recipe), progress)
    contract = certify(network, original, recipe_file, sets, progress=progress, as_float=request.as_float)
    if words := describe_chance(contract.parity.validation.auc_reference):
        note(words)
    contract = replace(contract, gate=policy)
    content = stamp(network, contract)
    publish(content, request.output, overwrite=request.overwrite)
    return contract


def _quantized(
    network: "onnx.ModelProto", recipe: Recipe, images: "Sequence[Mapping[str, NDArray[Any]]]", progress: Progress
) -> "onnx.ModelProto":
    plan = recipe.quantization
    if plan.bias_correction:
        give_biases(network)
    quantized = quantize(network, plan, images, lambda done: progress("quantize", done, len(images)))
    if plan.bias_correction:
        correct_biases(network, quantized, images, lambda done, total: progress("correct biases", done, total))
    return quantized


class Sources(Protocol):
    """Where images come from, as `Request` names them."""

    @property
    def calibration(self) -> Path:
        """Folder, one sub-folder per class."""

    @property
    def validation(self) -> Path:
        """Folder or list."""

    @property
    def agreement(self) -> Path | None:
        """Folder or list; None: images of the others."""


def gather_sets(request: Sources, recipe: Recipe, models: "Sequence[Path]" = ()) -> dataset.Sets:
    """The sets of images, calibration disjoint from the others by patient and by content.

    Args:
        request: where the images are.
        recipe: which of them, and how many.
        models: networks whose runs, where they lie in any, keep their test images out of every set.

    Raises:
        UsageError: a set is unusable or too small, or a run trained on patients of the validation images.
    """
    data = request.calibration
    everything = read_selected(recipe, data, data)
    validation = read_selected(recipe, request.validation, data)
    refuse_other_data(models, data)
    refuse_trained_on(models, validation, everything, recipe, data)
    pool = without_tests(models, everything, recipe, data)
    apart = dataset.without(pool, validation)
    plan, seed = recipe.quantization, recipe.quantization.seed
    if request.agreement is not None:
        agreement = dataset.distinct(read_selected(recipe, request.agreement, data))
        calibration = dataset.draw_balanced(dataset.without(pool, (*validation, *agreement)), plan.images, seed)
        return dataset.Sets(training=apart, calibration=calibration, validation=validation, agreement=agreement)
    calibration = dataset.draw_balanced(apart, plan.images, seed)
    others, known = dataset.distinct(dataset.without(apart, calibration)), dataset.distinct(validation)
    wanted = max(0, recipe.data.agreement_images - len(known))
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(others))[:wanted]
    further = tuple(others[index] for index in np.sort(order))
    agreement = (*known, *further)
    return dataset.Sets(training=apart, calibration=calibration, validation=validation, agreement=agreement)


def _refuse_too_few(agreement: "Sequence[dataset.LabelledImage]", recipe: Recipe) -> None:
    """Now, and not after all the work. The same bytes under two names are one image."""
    if (count := len(agreement)) < recipe.limits.agreement_images:
        message = (
            f"export limit broken: agreement would be measured on {count} images; limits.agreement_images of "
            f"the recipe needs {recipe.limits.agreement_images} (data.agreement_images asks for "
            f"{recipe.data.agreement_images})"
        )
        raise LimitBroken(message)


def calibration_tensors(sets: dataset.Sets, recipe: Recipe, progress: Progress) -> "list[dict[str, NDArray[Any]]]":
    """The tensors of each quantization-calibration image, by input name, each [H, W, C]."""
    images: list[dict[str, NDArray[Any]]] = []
    for batch in dataset.tensors_by_input(sets.calibration, recipe.rendering, recipe.contract_members):
        images += [dict(zip(batch, rows, strict=True)) for rows in zip(*batch.values(), strict=True)]
        progress("read", len(images), len(sets.calibration))
    return images


def build_float_graph(
    original: Original, recipe: Recipe, images: "Sequence[Mapping[str, NDArray[Any]]]"
) -> "onnx.ModelProto":
    """The contract's graph in float32: tf2onnx, outputs, folded preprocessing, simplified, checked against Keras.

    Strides are moved up (`strides`), which changes no value that the outputs are made of.

    Raises:
        ModelError: a network cannot be converted.
        LimitBroken: the float graph differs from Keras on `images`.
    """
    members, labels = original.members, len(recipe.labels)
    networks = [onnx_float.to_float_onnx(*pair) for pair in zip(original.networks, members, strict=True)]
    for network in networks:
        graph.name_outputs(network, labels)
    if len(networks) == 1:
        graph.add_activation_map(network, labels)
    else:
        network = fuse(networks, members, original.weights, labels)
    graph.fold_preprocessing(network, members)
    network = simplify(network)
    move_strides_up(network)
    tensors = {member.input.name: np.stack([image[member.input.name] for image in images]) for member in members}
    exported = run(Engine(network.SerializeToString(), provider="cpu"), tensors)
    onnx_float.check_against_keras(exported, original.probabilities(tensors))
    return network
