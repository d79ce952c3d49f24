"""The recipe: what a person decides about a model before it is converted, as one TOML file, read strictly."""

import hashlib
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from cxr_edge.contract import Input as ContractInput
from cxr_edge.contract import (
    IntendedUse,
    Limits,
    Member,
    Normalization,
    Rendering,
    Resize,
    TrainingData,
)
from cxr_edge.contract.image_gate import Name, Share
from cxr_edge.contract.schema import Size
from cxr_edge.errors import UsageError


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the recipe; a key nobody reads could be the one that mattered."""


class Model(_Strict, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Identity of the model: name, semantic version, licence of the weights."""

    name: Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9._-]{0,99}$")]
    version: Annotated[str, Meta(pattern=r"^\d+\.\d+\.\d+([.-][0-9A-Za-z.-]+)?$")]
    licence: Name


class Input(_Strict, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The input tensor: [N, height, width, channels]."""

    name: Name = "image"
    height: Size
    width: Size
    channels: Literal[1, 3]


class OperatingPointRule(_Strict, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a threshold is found on the Keras scores of the validation images.

    Attributes:
        name: of the operating point.
        rule: `fixed` takes `value`; `youden` the threshold of the best Youden index; `sensitivity` the highest
            threshold whose sensitivity is at least `value`.
        value: a threshold or a sensitivity; absent for `youden`.
        reason: why this one, in a few words.
    """

    name: Name
    rule: Literal["fixed", "youden", "sensitivity"]
    value: Annotated[float, Meta(gt=0, lt=1)] | None = None
    reason: str = ""


class QuantizationPlan(_Strict, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the graph is quantized (see `cxr_edge.contract.Quantization`).

    Attributes:
        ranges: how activation ranges are taken from the quantization-calibration images.
        percentile: for ranges = "percentile".
        images: how many quantization-calibration images, balanced over the classes.
        seed: which images are drawn.
        reduce_range: 7-bit weights; without them, CPUs without VNNI saturate.
        float_layers: names of nodes left in float.
    """

    ranges: Literal["minmax", "moving-average", "percentile", "entropy"]
    percentile: Annotated[float, Meta(gt=90, lt=100)] | None = None
    images: Annotated[int, Meta(ge=1)]
    seed: int = 0
    reduce_range: bool = True
    float_layers: tuple[str, ...] = ()


class LabelledData(_Strict, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Names of the labelled sets, and how many images agreement is measured on where no set is given for it."""

    validation: Name
    agreement: Name
    agreement_images: Annotated[int, Meta(ge=1)] = 2500


class GoldenPlan(_Strict, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """By how much a probability of a golden case may differ on another CPU."""

    tolerance: Share


class OutOfDistributionPlan(_Strict, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the distance from the training images is fitted (see `cxr_edge.contract.OutOfDistribution`).

    Attributes:
        layer: Keras name of the layer whose spatial mean is taken.
        components: number of principal components.
        images: how many training images are drawn; a third of their patients give the threshold, the others the fit.
        false_alarm_rate: of the threshold, on that third.
    """

    layer: Name
    components: Annotated[int, Meta(ge=1, le=4096)]
    images: Annotated[int, Meta(ge=3)]
    false_alarm_rate: Annotated[float, Meta(gt=0, lt=0.5)]


class LayoutPlan(_Strict, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When an image looks inverted or upside down (see `cxr_edge.contract.Layout`)."""

    minimum_correlation: Annotated[float, Meta(ge=-1, le=1)]
    upside_down_false_alarm_rate: Annotated[float, Meta(gt=0, lt=0.5)]


class ImageGatePlan(_Strict, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the image itself has to fulfil: both parts come from the same training images."""

    out_of_distribution: OutOfDistributionPlan
    layout: LayoutPlan


class Recipe(_Strict, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole recipe. `labels` in the order of the network's outputs."""

    recipe_version: Literal[1]
    labels: Annotated[tuple[Name, ...], Meta(min_length=2)]
    positive_labels: Annotated[tuple[Name, ...], Meta(min_length=1)]
    default_operating_point: Name
    temperature: Annotated[float, Meta(ge=0.01, le=100)] | None = None
    model: Model
    training_data: TrainingData
    data: LabelledData
    rendering: Rendering
    input: Input
    resize: Resize
    normalization: Normalization
    operating_points: Annotated[tuple[OperatingPointRule, ...], Meta(min_length=1)]
    intended_use: IntendedUse
    quantization: QuantizationPlan
    golden: GoldenPlan
    image_gate: ImageGatePlan | None = None
    limits: Limits = Limits()

    @property
    def member(self) -> Member:
        """The one network of the model, as the contract describes it."""
        # tf-bilinear gives fractions of gray levels; every other kernel gives whole ones
        dtype: Literal["uint8", "float32"] = "float32" if self.resize.kernel == "tf-bilinear" else "uint8"
        given = self.input
        return Member(
            name=self.model.name,
            input=ContractInput(
                name=given.name, dtype=dtype, height=given.height, width=given.width, channels=given.channels
            ),
            resize=self.resize,
            normalization=self.normalization,
        )


@dataclass(frozen=True, slots=True)
class RecipeFile:
    """A recipe and the SHA-256 of its text, line endings as on Unix."""

    recipe: Recipe
    sha256: str


def read_recipe(path: Path) -> RecipeFile:
    """Read and check a recipe.

    Raises:
        UsageError: unreadable, not TOML, an unknown or missing key, an unknown value, a contradiction.
    """
    try:
        text = path.read_text(encoding="utf-8")
        raw = tomllib.loads(text)
    except (OSError, ValueError) as error:
        message = f"the recipe {path} cannot be read: {error}"
        raise UsageError(message) from None
    recipe = parse_recipe(raw)
    return RecipeFile(recipe=recipe, sha256=hashlib.sha256(text.encode()).hexdigest())


def parse_recipe(raw: dict[str, Any]) -> Recipe:
    """A recipe from its parsed TOML.

    Raises:
        UsageError: as `read_recipe`.
    """
    # folding is what this tool does; the recipe neither asks for it nor can refuse it
    filled = raw | {
        "normalization": raw.get("normalization", {}) | {"folded": True},
        "training_data": {"sha256": None} | raw.get("training_data", {}),
        "intended_use": {"age_years": None} | raw.get("intended_use", {}),
    }
    try:
        recipe = msgspec.convert(filled, Recipe)
    except msgspec.ValidationError as error:
        message = f"the recipe is not valid: {error}"
        raise UsageError(message) from None
    _refuse_unknown(filled, msgspec.to_builtins(recipe), "$")
    _refuse_contradictions(recipe)
    return recipe


def _refuse_unknown(raw: object, known: object, where: str) -> None:
    # tables that are contract dataclasses: msgspec ignores unknown fields of those
    if isinstance(raw, dict) and isinstance(known, dict):
        for key, value in raw.items():
            if key not in known:
                message = f"the recipe holds an unknown key: {where}.{key}"
                raise UsageError(message)
            _refuse_unknown(value, known[key], f"{where}.{key}")


def _refuse_contradictions(recipe: Recipe) -> None:
    names = [rule.name for rule in recipe.operating_points]
    fault = None
    if recipe.default_operating_point not in names:
        fault = f"default_operating_point {recipe.default_operating_point!r} is not among {names}"
    for rule in recipe.operating_points:
        if (rule.value is None) != (rule.rule == "youden"):
            needed = "needs a" if rule.value is None else "takes no"
            fault = f"operating point {rule.name}: rule {rule.rule} {needed} value"
    plan = recipe.quantization
    if (plan.percentile is not None) != (plan.ranges == "percentile"):
        fault = 'quantization.percentile goes with ranges = "percentile" and with nothing else'
    if not set(recipe.positive_labels) < set(recipe.labels):
        fault = f"positive_labels {recipe.positive_labels} are not a proper part of labels {recipe.labels}"
    if fault:
        message = f"the recipe contradicts itself: {fault}"
        raise UsageError(message)
