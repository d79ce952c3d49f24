"""The part of the contract that proves it: how this file's answers compare with those of the Keras original."""

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from cxr_edge.contract.image_gate import Count, Name, Share
from cxr_edge.types import Interval

Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flips:
    """Decisions that changed between the Keras original and this file, at one operating point."""

    operating_point: Name
    positive_to_negative: Count
    negative_to_positive: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenLabels:
    """Which of several labels are given at one operating point, where positive or negative does not say all.

    Attributes:
        changed: images that this file decides as the Keras original does and gives another label.
        accuracy: share of images given their true label by this file, 95 % Wilson interval.
        confusion: of this file, images by [true label][given label], in the contract's order.
    """

    operating_point: Name
    changed: Count
    accuracy: Interval
    confusion: tuple[tuple[Count, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """This file against the Keras original on one set of images. AUC and accuracy where the set is labelled.

    Attributes:
        abs_delta_p50, abs_delta_p99, abs_delta_max: of the score, the positive labels' summed probability.
        agreement: share of images decided alike at the default operating point.
        accuracy_reference, accuracy_exported: share of images whose most probable label is the true one.
        labels: per operating point, of a model with more than two labels; otherwise empty.
    """

    data: str
    images: Count
    sha256: Sha256
    abs_delta_p50: Share
    abs_delta_p99: Share
    abs_delta_max: Share
    agreement: Share
    flips: tuple[Flips, ...]
    auc_reference: Interval | None
    auc_exported: Interval | None
    accuracy_reference: Share | None
    accuracy_exported: Share | None
    labels: tuple[GivenLabels, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What an export may not exceed.

    Attributes:
        positive_to_negative_share: of the agreement images, at each operating point: at most.
        changed_label_share: the same, of images decided alike and given another label.
        auc_drop: from Keras to this file, on the validation images: at most.
        accuracy_ratio: this file's accuracy over that of Keras: at least.
        agreement_images: at least so many.
    """

    positive_to_negative_share: Share = 0.002
    changed_label_share: Share = 0.02
    auc_drop: Share = 0.002
    accuracy_ratio: Share = 0.99
    agreement_images: Count = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """The certificate: how far the exported graph may be, and was, from the Keras original."""

    reference: str
    measured_on: str
    validation: Comparison
    agreement: Comparison
    limits: Limits
