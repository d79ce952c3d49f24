"""New words for an old file: the contract's text changes, the graph and everything measured on it stay."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cxr_edge.contract import Comparison, Contract, Golden, Member
from cxr_edge.errors import UsageError
from cxr_edge.files import refuse_existing
from cxr_edge.modelfile import read_model
from cxr_edge_export.fuse import weights_in
from cxr_edge_export.operating_points import describe
from cxr_edge_export.parity import check_limits
from cxr_edge_export.recipe import Recipe, RecipeFile, read_recipe
from cxr_edge_export.stamp import load_onnx, publish, read_contract, stamp

if TYPE_CHECKING:
    import onnx

QUANTIZED = ("ranges", "percentile", "seed", "reduce_range", "bias_correction", "float_layers", "images")


def restamp(model: Path, recipe: Path, output: Path, *, overwrite: bool) -> Contract:
    """Write a recipe's words into an existing file.

    Args:
        model: a file made by `convert`.
        recipe: may differ from the file's own in identity, data descriptions, intended use, golden tolerance, default
            operating point and limits.
        output: may be `model` itself.
        overwrite: whether `output` is replaced.

    Raises:
        UsageError: the recipe differs in what was built into the graph or measured with it.
        LimitBroken: the file's figures break the recipe's limits.
        ModelError: `model` is no certified file.
        OutputError: `output` exists or cannot be written.
    """
    refuse_existing(output, overwrite=overwrite)
    recipe_file = read_recipe(recipe)
    network = load_onnx(read_model(model).content)
    old = read_contract(network)
    refuse_measured_changes(network, recipe_file.recipe)
    new = with_words_of(recipe_file, old)
    check_limits(new.parity.validation, new.parity.agreement, new.parity.limits)
    content = stamp(network, new)
    publish(content, output, overwrite=overwrite)
    return new


def refuse_measured_changes(network: "onnx.ModelProto", recipe: Recipe, *, but_the_gate: bool = False) -> None:
    """Refuse a recipe that differs from a file in what was built into the graph or measured with it.

    Args:
        network: the file's graph, with its contract.
        recipe: what is wanted.
        but_the_gate: the image gate may differ, because it is fitted anew.

    Raises:
        UsageError: naming all that differs.
    """
    old = read_contract(network)
    plan, quantized = recipe.quantization, old.quantization
    pairs = {
        "labels": (recipe.labels, old.labels),
        "positive_labels": (recipe.positive_labels, old.positive_labels),
        "rendering": (recipe.rendering, old.rendering),
        "temperature": (recipe.temperature, old.outputs.temperature),
        "input, resize, contrast or normalization": (_built_in(recipe.contract_members), _built_in(old.members)),
        "weights": (tuple(float(np.float32(w)) for w in recipe.weights), weights_in(network, old.members)),
        "operating_points": (
            [(rule.name, describe(rule)) for rule in recipe.operating_points],
            [(point.name, point.how_chosen) for point in old.operating_points],
        ),
    }
    if not but_the_gate:
        pairs["image_gate"] = (_planned_gate(recipe), _found_gate(old))
    if quantized.scheme != "none":
        pairs["quantization"] = (
            tuple(getattr(plan, name) for name in QUANTIZED),
            tuple(getattr(quantized, name) for name in QUANTIZED),
        )
    changed = [name for name, (wanted, found) in pairs.items() if wanted != found]
    if changed:
        message = f"the recipe changes {', '.join(changed)}, which was measured or built in: convert the model again"
        raise UsageError(message)


def _built_in(members: tuple[Member, ...]) -> tuple[Member, ...]:
    """What the graph knows of them: a single network's name is the model's, an ensemble's are in its nodes."""
    return members if len(members) > 1 else (replace(members[0], name=""),)


def _planned_gate(recipe: Recipe) -> tuple[object, ...] | None:
    if recipe.image_gate is None:
        return None
    plan, layout = recipe.image_gate.out_of_distribution, recipe.image_gate.layout
    limits = (layout.minimum_correlation, layout.upside_down_false_alarm_rate)
    return plan.layer, plan.components, plan.images, plan.false_alarm_rate, *limits


def _found_gate(old: Contract) -> tuple[object, ...] | None:
    found, layout = old.gate.out_of_distribution, old.gate.layout
    if found is None or layout is None:
        return None
    limits = (layout.minimum_correlation, layout.false_alarm_rate)
    return found.layer, found.components, found.fit_images + found.threshold_images, found.false_alarm_rate, *limits


def with_words_of(recipe_file: RecipeFile, old: Contract) -> Contract:
    """The contract with a recipe's identity, descriptions, intended use and limits."""
    recipe = recipe_file.recipe
    identity = replace(
        old.identity,
        name=recipe.model.name,
        version=recipe.model.version,
        licence=recipe.model.licence,
        recipe_sha256=recipe_file.sha256,
        training_data=recipe.training_data,
    )
    return replace(
        old,
        identity=identity,
        members=recipe.contract_members,
        operating_points=tuple(replace(point, data=recipe.data.validation) for point in old.operating_points),
        default_operating_point=recipe.default_operating_point,
        intended_use=recipe.intended_use,
        parity=replace(
            old.parity,
            limits=recipe.limits,
            validation=_reread(old.parity.validation, recipe.data.validation, recipe.default_operating_point),
            agreement=_reread(old.parity.agreement, recipe.data.agreement, recipe.default_operating_point),
        ),
        golden=Golden(tolerance=recipe.golden.tolerance, cases=old.golden.cases),
    )


def _reread(part: Comparison, data: str, default: str) -> Comparison:
    """The same comparison; `agreement` is about the default operating point, which may be another now."""
    flips = next(flips for flips in part.flips if flips.operating_point == default)
    flipped = flips.positive_to_negative + flips.negative_to_positive
    return replace(part, data=data, agreement=1 - flipped / part.images)
