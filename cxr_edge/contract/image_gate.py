"""The part of the contract that lets the image itself say whether the model may be asked about it."""

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from cxr_edge.types import Interval

Name = Annotated[str, Meta(min_length=1, max_length=200)]
Count = Annotated[int, Meta(ge=0, le=10**9)]
Share = Annotated[float, Meta(ge=0, le=1)]
LAYOUT_SIDE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedFamily:
    """How many images of one kind the image gate refuses, with the 95 % Wilson interval of their share.

    The interval takes the images for independent; several of one patient or examination are not.

    Attributes:
        name: what the images show, and whether they are real or synthetic.
        role: `chosen_on`: layer and number of components were chosen so that these are refused; `tested_on`: others,
            which that rule did not use; `in_distribution`: images that should pass.
        images: how many.
        refused: their share.
    """

    name: Name
    role: Literal["chosen_on", "tested_on", "in_distribution"]
    images: Annotated[int, Meta(ge=1, le=10**9)]
    refused: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class OutOfDistribution:
    """Distance of the network's own features from those of the training images.

    The graph's output `Outputs.features`, float32 [N, components], is the spatial mean of a layer, standardized,
    projected on the leading principal components of the training images and whitened there: its Euclidean norm is the
    Mahalanobis distance in that subspace (Lee et al., NeurIPS 2018).

    Attributes:
        method: `mahalanobis`.
        layer: whose spatial mean is taken.
        components: number of principal components.
        threshold: a larger distance is out of distribution.
        false_alarm_rate: of the threshold, on `threshold_images` training images of patients not in `fit_images`.
        fit_images: training images that mean and components come from.
        threshold_images: training images that the threshold comes from.
        data: which images these are.
        families: what the whole image gate, `Layout` included, refuses.
    """

    method: Literal["mahalanobis"]
    layer: Name
    components: Annotated[int, Meta(ge=1, le=4096)]
    threshold: Annotated[float, Meta(gt=0)]
    false_alarm_rate: Annotated[float, Meta(gt=0, lt=1)]
    fit_images: Count
    threshold_images: Count
    data: str
    families: tuple[RefusedFamily, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where a frontal chest radiograph is bright and dark, coarsely: tells inverted and upside-down images.

    Attributes:
        template: base64 of little-endian float32 [16, 16], the mean training image: zero mean, unit norm.
        minimum_correlation: a Pearson correlation with the template below it looks inverted.
        upright: base64 of little-endian float32 [16, 16], unit norm: Fisher's linear discriminant, with a ridge, of
            training images against the same images flipped top to bottom.
        minimum_upright: an inner product with `upright` below it looks upside down.
        false_alarm_rate: of `minimum_upright`, on training images of patients that `upright` does not come from.
        images: number of training images in the templates.
    """

    template: str
    minimum_correlation: Annotated[float, Meta(ge=-1, le=1)]
    upright: str
    minimum_upright: Annotated[float, Meta(ge=-1, le=0)]
    false_alarm_rate: Share
    images: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class GatePolicy:
    """What, beyond the tags, decides whether an image may be asked about."""

    out_of_distribution: OutOfDistribution | None
    layout: Layout | None = None
