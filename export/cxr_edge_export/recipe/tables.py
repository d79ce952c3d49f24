"""What every table of a recipe is made of, and the tables that say how a trained network is read and exported."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from cxr_edge.contract import Contrast, Normalization, Resize
from cxr_edge.contract.image_gate import Name, Share
from cxr_edge.contract.schema import Size

Count = Annotated[int, Meta(ge=1)]
Seed = Annotated[int, Meta(ge=0, lt=1 << 32)]  # numpy's own range


class Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the recipe; a key nobody reads could be the one that mattered."""


class Model(Strict, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Identity of the model: name, semantic version, licence of the weights."""

    name: Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9._-]{0,99}$")]
    version: Annotated[str, Meta(pattern=r"^\d+\.\d+\.\d+([.-][0-9A-Za-z.-]+)?$")]
    licence: Name


class Input(Strict, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The input tensor: [N, height, width, channels]."""

    name: Name = "image"
    height: Size
    width: Size
    channels: Literal[1, 3]


class MemberPlan(Strict, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One network of an ensemble, whose probabilities are the weighted mean of its members'.

    Attributes:
        name: of the member; its nodes in the graph begin with `member/NAME/`.
        weight: of its probabilities; only the ratio of the weights counts.
        input: table `[members.input]`, as `[input]`; no two members share a name there.
        resize: table `[members.resize]`, as `[resize]`.
        normalization: table `[members.normalization]`, as `[normalization]`.
        contrast: table `[members.contrast]`, as `[contrast]`.
    """

    name: Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9._-]{0,99}$")]
    weight: Annotated[float, Meta(gt=0, le=1000)] = 1.0
    input: Input
    resize: Resize
    normalization: Normalization
    contrast: Contrast | None = None


class OperatingPointRule(Strict, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a threshold is found on the Keras scores of the validation images.

    Attributes:
        name: of the operating point.
        rule: `fixed` takes `value`; `youden` the threshold of the best Youden index; `sensitivity` the highest
            threshold whose sensitivity is at least `value`; `cost` the cheapest where a missed positive costs `value`
            times a false alarm, at equal numbers of both.
        value: a threshold, a sensitivity, or the ratio of costs; absent for `youden`.
        reason: why this one, in a few words.
    """

    name: Name
    rule: Literal["fixed", "youden", "sensitivity", "cost"]
    value: Annotated[float, Meta(gt=0, le=1000)] | None = None
    reason: str = ""


class QuantizationPlan(Strict, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the graph is quantized (see `cxr_edge.contract.Quantization`).

    Attributes:
        ranges: how activation ranges are taken from the quantization-calibration images.
        percentile: for ranges = "percentile".
        images: how many quantization-calibration images, balanced over the classes.
        seed: which images are drawn.
        reduce_range: 7-bit weights; without them, CPUs without VNNI saturate.
        bias_correction: each layer's mean shift is measured on those images and taken back: for networks whose features
            differ little from image to image.
        float_layers: names of nodes left in float.
    """

    ranges: Literal["minmax", "moving-average", "percentile", "entropy"]
    percentile: Annotated[float, Meta(gt=90, lt=100)] | None = None
    images: Count
    seed: Seed = 0
    reduce_range: bool = True
    bias_correction: bool = False
    float_layers: tuple[str, ...] = ()


class LabelledData(Strict, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Names of the labelled sets, and how many images agreement is measured on where no set is given for it."""

    validation: Name
    agreement: Name
    agreement_images: Count = 2500


class GoldenPlan(Strict, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """By how much a probability of a golden case may differ on another CPU.

    Attributes:
        tolerance: at most 0.1.
    """

    tolerance: Share


class OutOfDistributionPlan(Strict, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the distance from the training images is fitted (see `cxr_edge.contract.OutOfDistribution`).

    Attributes:
        layer: Keras name of the layer whose spatial mean is taken; that of one in `network.layers` tells its place and
            kind, as `layer_2_max_pool`.
        components: number of principal components.
        images: how many training images are drawn; a third of their patients give the threshold, the others the fit.
        false_alarm_rate: of the threshold, on that third.
    """

    layer: Name
    components: Annotated[int, Meta(ge=1, le=4096)]
    images: Annotated[int, Meta(ge=3)]
    false_alarm_rate: Annotated[float, Meta(gt=0, lt=0.5)]


class LayoutPlan(Strict, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When an image looks inverted or upside down (see `cxr_edge.contract.Layout`)."""

    minimum_correlation: Annotated[float, Meta(ge=-1, le=1)]
    upside_down_false_alarm_rate: Annotated[float, Meta(gt=0, lt=0.5)]


class ImageGatePlan(Strict, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the image itself has to fulfil: both parts come from the same training images."""

    out_of_distribution: OutOfDistributionPlan
    layout: LayoutPlan
