"""Reading a recipe, strictly: an unknown key, an unknown value or a contradiction is refused."""

import hashlib
import math
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from cxr_edge.contract import check
from cxr_edge.contract.closed import unknown_fields
from cxr_edge.contract.words import unprintable
from cxr_edge.errors import UsageError
from cxr_edge.types import side_is_label
from cxr_edge_export.recipe.network import Flatten, NetworkPlan
from cxr_edge_export.recipe.schema import Recipe
from cxr_edge_export.recipe.training import MetadataColumns, TrainingPlan
from cxr_edge_export.recipe.words import allowed_at

OUTPUTS = ("probabilities", "activation_map", "features")  # of every exported graph


@dataclass(frozen=True, slots=True)
class RecipeFile:
    """A recipe, the SHA-256 of its text, line endings as on Unix and without a byte order mark, and the text itself."""

    recipe: Recipe
    sha256: str
    text: str


def read_recipe(path: Path) -> RecipeFile:
    """Read and check a recipe.

    Raises:
        UsageError: unreadable, not TOML, an unknown or missing key, an unknown value, a contradiction.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # PowerShell 5 writes a byte order mark
        raw = tomllib.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        message = f"the recipe {path} cannot be read: {error}"
        raise UsageError(message) from None
    recipe = parse_recipe(raw)
    return RecipeFile(recipe=recipe, sha256=hashlib.sha256(text.encode()).hexdigest(), text=text)


def parse_recipe(raw: dict[str, Any]) -> Recipe:
    """A recipe from its parsed TOML.

    Raises:
        UsageError: as `read_recipe`.
    """
    filled = _folded(raw)
    for name, default in (("training_data", {"sha256": None}), ("intended_use", {"age_years": None})):
        if isinstance(given := raw.get(name, {}), dict):
            filled[name] = default | given
    if isinstance(members := raw.get("members"), list):
        filled["members"] = [_folded(member) if isinstance(member, dict) else member for member in members]
    for place in _infinite(filled):
        message = f"the recipe is not valid: {place} is no finite number"
        raise UsageError(message)
    try:
        recipe = msgspec.convert(filled, Recipe)
    except msgspec.ValidationError as error:
        allowed = allowed_at(str(error))
        message = f"the recipe is not valid: {error}{f'; it has to be: {allowed}' if allowed else ''}"
        raise UsageError(message) from None
    if unknown := next(unknown_fields(filled, msgspec.to_builtins(recipe)), None):
        message = f"the recipe holds an unknown key: {unknown}"
        raise UsageError(message)
    for fault in _contradictions(recipe):
        message = f"the recipe contradicts itself: {fault}"
        raise UsageError(message)
    return recipe


def _infinite(table: dict[str, Any]) -> Iterator[str]:
    """Where inf or nan stand."""
    waiting: list[tuple[str, Any]] = list(table.items())
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, float) and not math.isfinite(value):
            yield name
        elif isinstance(value, dict | list):
            parts = value.items() if isinstance(value, dict) else enumerate(value)
            waiting += [(f"{name}.{key}", part) for key, part in parts]


def _folded(table: dict[str, Any]) -> dict[str, Any]:
    given = table.get("normalization")
    if not isinstance(given, dict):
        return dict(table)
    if given.get("folded", True) is not True:
        message = "the recipe is not valid: normalization.folded is what this tool does; a recipe cannot refuse it"
        raise UsageError(message)
    return table | {"normalization": given | {"folded": True}}


def _contradictions(recipe: Recipe) -> Iterator[str]:
    names = [rule.name for rule in recipe.operating_points]
    yield from _member_faults(recipe)
    yield from _contract_faults(recipe)
    if recipe.default_operating_point not in names:
        yield f"default_operating_point {recipe.default_operating_point!r} is not among {names}"
    yield from _rule_faults(recipe)
    plan = recipe.quantization
    if (plan.percentile is not None) != (plan.ranges == "percentile"):
        yield 'quantization.percentile goes with ranges = "percentile" and with nothing else'
    if {rule.label for rule in recipe.classes} != set(recipe.labels):
        yield f"selection.classes speak of {sorted({r.label for r in recipe.classes})}; labels are {recipe.labels}"
    selection = recipe.selection
    if selection.views and (selection.metadata_csv is None or selection.metadata_columns.view is None):
        yield "selection.views needs selection.metadata_csv, and the column for the view in selection.metadata_columns"
    if selection.metadata_csv is None and selection.metadata_columns != MetadataColumns():
        yield "selection.metadata_columns needs selection.metadata_csv"
    if (recipe.training is None) != (recipe.network is None):
        yield "network and training go together"
    if recipe.network is not None and recipe.training is not None:
        yield from _training_contradictions(recipe, recipe.network, recipe.training)


def _member_faults(recipe: Recipe) -> Iterator[str]:
    tables = ("input", "resize", "normalization")
    given = [name for name in tables if getattr(recipe, name) is not None]
    if not recipe.members:
        if missing := [name for name in tables if name not in given]:
            yield f"without members it needs input, resize and normalization; {', '.join(missing)} missing"
        return
    given += [name for name in ("contrast", "image_gate", "network", "training") if getattr(recipe, name) is not None]
    if given:
        yield f"with members it cannot have {', '.join(given)}"
    for what, names in (
        ("name", [member.name for member in recipe.members]),
        ("input name", [member.input.name for member in recipe.members]),
    ):
        if len(set(names)) != len(names):
            yield f"two members share their {what}: {', '.join(names)}"


def _contract_faults(recipe: Recipe) -> Iterator[str]:
    """What the contract would be refused for, hours later."""
    yield from unprintable(msgspec.to_builtins(recipe))
    yield from check.label_faults(recipe.labels, recipe.positive_labels)
    for member in recipe.contract_members:
        yield from check.member_faults(member)
        if member.input.name in OUTPUTS:
            yield f"input.name {member.input.name!r} is the name of an output of the exported graph"
    yield from check.use_faults(recipe.intended_use)
    if recipe.golden.tolerance > check.MAX_GOLDEN_TOLERANCE:
        yield f"golden.tolerance is {recipe.golden.tolerance}; at most {check.MAX_GOLDEN_TOLERANCE} proves anything"


def _rule_faults(recipe: Recipe) -> Iterator[str]:
    names = [rule.name for rule in recipe.operating_points]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        yield f"two operating points are called {', '.join(twice)}"
    for rule in recipe.operating_points:
        if (rule.value is None) != (rule.rule == "youden"):
            needed = "needs a" if rule.value is None else "takes no"
            yield f"operating point {rule.name}: rule {rule.rule} {needed} value"
        elif rule.rule in ("fixed", "sensitivity") and (rule.value or 0) >= 1:
            yield f"operating point {rule.name}: rule {rule.rule} needs a value below 1, not {rule.value}"


def _training_contradictions(recipe: Recipe, network: NetworkPlan, training: TrainingPlan) -> Iterator[str]:
    if network.backbone is None and not network.layers:
        yield "network has neither a backbone nor layers"
    if network.backbone is None and network.weights == "imagenet":
        yield 'network.weights = "imagenet" needs a backbone'
    if network.output == "sigmoid" and (
        not side_is_label(recipe.labels) or recipe.positive_labels != recipe.labels[1:]
    ):
        yield "network.output sigmoid needs two labels, of which the second is the positive one"
    yield from _stage_faults(network, training)
    if training.precision == "float16" and training.optimizer == "nadam":
        # Keras does not see one of Nadam's variables behind the loss scale: a resumed training would go another way
        yield "training.precision float16 does not go with training.optimizer nadam; take adam, or bfloat16"
    if training.auxiliary is not None and len({rule.label for rule in training.auxiliary.classes}) == 1:
        yield "training.auxiliary.classes are all of one label"
    yield from _side_faults(recipe, network, training)
    plans = (training.augmentation, *(stage.augmentation for stage in training.stages))
    if recipe.member.resize.trim is None and any(plan is not None and plan.untrimmed for plan in plans):
        yield "training.augmentation.untrimmed needs resize.trim: without it, every image keeps its edges"


def _side_faults(recipe: Recipe, network: NetworkPlan, training: TrainingPlan) -> Iterator[str]:
    given = recipe.member.input
    sides = {stage.side for stage in training.stages} - {None}
    if sides - {given.height} and given.height != given.width:
        yield "training.stages with a side of their own need a square input"
    if sides - {given.height} and any(isinstance(layer, Flatten) for layer in network.layers):
        yield "training.stages with a side of their own need a network without flatten"
    if training.stages[-1].side not in (None, given.height):
        yield f"the last of training.stages has side {training.stages[-1].side}; the input is {given.height}"


def _stage_faults(network: NetworkPlan, training: TrainingPlan) -> Iterator[str]:
    for stage in training.stages:
        if stage.backbone_layers != "all" and network.backbone is None:
            yield "training.stages.backbone_layers needs a backbone"
        if stage.warmup_epochs >= stage.epochs:
            yield f"a stage of {stage.epochs} epochs warms up for {stage.warmup_epochs}"
