"""The values that flow through the package: frozen, without behaviour beyond what their own fields decide."""

from collections.abc import Mapping, Sized
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

from cxr_edge.errors import Reason

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

GateStatus = Literal["ok", "warn", "refused", "unknown"]
GateMode = Literal["strict", "warn", "off"]


@dataclass(frozen=True, slots=True)
class Note:
    """Something a reader of a result has to know: a stable code and one plain sentence."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Source:
    """Where an image came from.

    Attributes:
        path: the path as the caller gave it; None for bytes, file objects, arrays and whole studies.
        sop_instance_uid: (0008,0018), None where the image carries no tags.
        study_instance_uid: (0020,000D), None where the image carries no tags.
        content_sha256: of the bytes that were read, or of the pixels where an array or a Dataset was given.
    """

    path: str | None = None
    sop_instance_uid: str | None = None
    study_instance_uid: str | None = None
    content_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Tags:
    """The DICOM attributes that the gate reads or that are recorded; None where absent or empty.

    Nothing here identifies a patient, but all is free text: show only the terms that the standard defines.
    """

    modality: str | None = None
    view_position: str | None = None
    body_part_examined: str | None = None
    patient_age_years: float | None = None
    patient_species: str | None = None
    presentation_intent_type: str | None = None
    photometric_interpretation: str | None = None
    pixel_intensity_relationship: str | None = None


def side_is_label(labels: Sized) -> bool:
    """Whether positive or negative says which label it is: so with two labels, one on each side, never with more."""
    return len(labels) == 2  # noqa: PLR2004 - the two sides


class Part(NamedTuple):
    """A part of an image, in shares of its height and width: 0 is the top or left edge, 1 the bottom or right one."""

    top: float
    left: float
    bottom: float
    right: float


WHOLE = Part(0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True, eq=False)
class Radiograph:
    """One decoded image, rendered to 8-bit gray.

    Attributes:
        pixels: uint8 (rows, columns), 0 black .. 255 white, C-contiguous.
        rendering: the name of the road from the stored values to these pixels.
        source: where it came from.
        tags: DICOM attributes for the gate; None for a file that carries none.
        notes: what the decoder had to decide or saw on the way, as warnings.
    """

    pixels: "NDArray[np.uint8]"
    rendering: str
    source: Source = Source()
    tags: Tags | None = None
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with its 95 % confidence interval."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingPoint:
    """A threshold on the summed probability of the positive labels, and what it was measured to do.

    Attributes:
        name: what users pass as `--operating-point`.
        threshold: a score at or above it is positive.
        sensitivity: true positives among the positives, with its 95 % interval.
        specificity: true negatives among the negatives, with its 95 % interval.
        data: the labelled images these figures were measured on.
        how_chosen: the rule that gave the threshold.
    """

    name: str
    threshold: float
    sensitivity: Interval
    specificity: Interval
    data: str
    how_chosen: str

    def decides_positive(self, score: float) -> bool:
        """Whether a summed probability of the positive labels counts as positive here."""
        return score >= self.threshold


@dataclass(frozen=True, slots=True)
class Gate:
    """Whether the image is one the model may be asked about, and why (not).

    Attributes:
        status: the worst of all that was checked.
        reasons: what was not as needed, refusing notes first.
        distance: of the image's features from those of the training images, 1 at the limit; None where not measured.
    """

    status: GateStatus
    reasons: tuple[Note, ...] = ()
    distance: float | None = None


@dataclass(frozen=True, slots=True)
class Latency:
    """Wall-clock time by stage, in milliseconds. A stage that did not take place is 0."""

    read_ms: float = 0.0
    decode_ms: float = 0.0
    preprocess_ms: float = 0.0
    inference_ms: float = 0.0
    total_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Which model decided."""

    name: str
    version: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What the model says about one image.

    Attributes:
        source: where the image came from.
        label: the most probable label on the side of the operating point that `positive` names.
        probabilities: label -> probability, in the contract's order.
        positive: whether the summed probability of the positive labels reaches the operating point.
        operating_point: the threshold applied, with its sensitivity and specificity.
        gate: whether the image is one the model may be asked about.
        rendering: how the stored values became 8-bit gray.
        model: name, version and SHA-256 of the model file.
        execution_provider: onnxruntime's name of the provider that really ran.
        latency: milliseconds by stage.
        score: summed probability of the positive labels, which the operating point decides on.
        warnings: what else a reader has to know.
        tags: the DICOM attributes that the gate read or that are recorded; None for a file that carries none.
        activation_map: float32 (h, w, labels); class activation map, None where the model has none.
        radiograph: the image itself, only when it was asked to be kept.
        seen: the part of the image that was resized, which `activation_map` lies over; what `aspect` crops or pads is
            not taken into account.
    """

    source: Source
    label: str
    probabilities: Mapping[str, float]
    positive: bool
    score: float
    operating_point: OperatingPoint
    gate: Gate
    rendering: str
    model: ModelIdentity
    execution_provider: str
    latency: Latency
    warnings: tuple[Note, ...] = ()
    tags: Tags | None = None
    activation_map: "NDArray[np.float32] | None" = field(default=None, repr=False, compare=False)
    radiograph: Radiograph | None = field(default=None, repr=False, compare=False)
    seen: Part = WHOLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """An image that was not classified, and why."""

    source: Source
    reason: Reason
    message: str
    gate: Gate | None = None
    latency: Latency = Latency()
