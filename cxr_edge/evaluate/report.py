"""What an evaluation says: frozen values, written as they are into JSON (docs/reference/evaluation.md)."""

from dataclasses import dataclass
from typing import Literal

from cxr_edge.metrics import ClassFigures, Counts, ReliabilityBin
from cxr_edge.types import GateMode, GateStatus, Interval, ModelIdentity, OperatingPoint


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelCount:
    """How many images of one class there were."""

    label: str
    images: int
    classified: int
    rejected: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """Which images these were.

    Attributes:
        description: in the words of whoever evaluated.
        sha256: over the sorted SHA-256 of the files that could be read.
        images: how many were listed; each is either classified or rejected.
        classified: the images that the figures are about.
        rejected: not in the figures.
        refused_but_classified: outside the intended use by the gate, classified all the same (`gate` is `warn`).
        duplicates: classified images whose bytes occurred before.
        patients: of the classified images, where at least one is known; else None.
        images_without_patient: classified images whose patient is not known.
        by_label: the same counts, class by class.
    """

    description: str
    sha256: str
    images: int
    classified: int
    rejected: int
    refused_but_classified: int
    duplicates: int
    patients: int | None
    images_without_patient: int
    by_label: tuple[LabelCount, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BinaryFigures:
    """Positive against negative, at the operating point and over all thresholds. None: not defined.

    Attributes:
        unit: what was counted.
        counts: decisions at the operating point.
        sensitivity: Wilson interval, as all shares.
        balanced_accuracy: bootstrap interval, as all that follow.
        expected_calibration_error: without an interval; it is biased upwards in small sets.
    """

    unit: Literal["image", "patient"]
    counts: Counts
    sensitivity: Interval | None
    specificity: Interval | None
    positive_predictive_value: Interval | None
    negative_predictive_value: Interval | None
    accuracy: Interval | None
    balanced_accuracy: Interval | None
    auc: Interval | None
    average_precision: Interval | None
    brier_score: Interval | None
    expected_calibration_error: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelFigures:
    """Label by label.

    Attributes:
        confusion: rows are the truth, columns the label that was given, both in the order of the contract's labels.
        accuracy: share of images given their true label, Wilson interval.
        balanced_accuracy: mean recall of the labels, bootstrap interval; None where a label is absent.
    """

    confusion: tuple[tuple[int, ...], ...]
    classes: tuple[ClassFigures, ...]
    accuracy: Interval | None
    balanced_accuracy: Interval | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedAsErrors:
    """Every rejected image counted as a wrong decision: what an answer for all images would be worth at worst."""

    sensitivity: Interval | None
    specificity: Interval | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdRow:
    """One threshold, image by image; `name` of the operating point, None on the grid."""

    name: str | None
    threshold: float
    counts: Counts
    sensitivity: Interval | None
    specificity: Interval | None
    positive_predictive_value: Interval | None
    negative_predictive_value: Interval | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Points:
    """A curve, thinned to what a plot can show."""

    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One classified image.

    Attributes:
        path: None, as `patient`, when identifiers were not wanted.
        label: the true one.
        given: the one that the classifier gave.
        score: summed probability of the positive labels.
        probabilities: of each label; None where they were not kept.
    """

    path: str | None
    content_sha256: str | None
    patient: str | None
    label: str
    given: str
    score: float
    gate: GateStatus
    probabilities: dict[str, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedCase:
    """One image that was not classified."""

    path: str | None
    content_sha256: str | None
    label: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """An operating point that a rule chose on these very images, and what has to be known about it."""

    operating_point: OperatingPoint
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything one evaluation found.

    Attributes:
        created: ISO 8601 in UTC.
        software: version of cxr-edge.
        operating_point: the one in force, with the figures that came with it.
        patients: None where no patient is known.
        roc: x: false positive rate, y: sensitivity.
        precision_recall: x: recall, y: precision.
        reliability: bins of the score, all images.
        misread: classified images whose label is not the true one: missed, false alarms, then other labels.
        conflicting_patients: who have truly positive and truly negative images.
    """

    schema_version: Literal[1]
    kind: Literal["evaluation"]
    statement: str
    created: str
    software: str
    model: ModelIdentity
    execution_provider: str
    operating_point: OperatingPoint
    gate: GateMode
    labels: tuple[str, ...]
    positive_labels: tuple[str, ...]
    data: Data
    warnings: tuple[str, ...]
    images: BinaryFigures
    patients: BinaryFigures | None
    by_label: LabelFigures
    rejected_as_errors: RejectedAsErrors
    thresholds: tuple[ThresholdRow, ...]
    roc: Points | None
    precision_recall: Points | None
    reliability: tuple[ReliabilityBin, ...]
    misread: tuple[Case, ...]
    rejected: tuple[RejectedCase, ...]
    conflicting_patients: tuple[str, ...]
    proposal: Proposal | None
