"""From truth and scores to the report's figures."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np

from cxr_edge import metrics
from cxr_edge.evaluate.report import BinaryFigures, Case, LabelFigures, Points, RejectedAsErrors, RejectedCase
from cxr_edge.evaluate.report import ThresholdRow as Row
from cxr_edge.types import OperatingPoint

if TYPE_CHECKING:
    from numpy.typing import NDArray

GRID = tuple(step / 20 for step in range(1, 20))  # 0.05 .. 0.95
MAX_POINTS = 500  # of a curve: more than a plot can show


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """Images or patients.

    Attributes:
        unit: which of the two.
        positive: bool [N], the truth.
        score: float64 [N], summed probability of the positive labels.
        groups: int64 [N], the patient of each image; None where each counts for itself.
    """

    unit: Literal["image", "patient"]
    positive: "NDArray[np.bool_]"
    score: "NDArray[np.float64]"
    groups: "NDArray[np.int64] | None" = None


def binary_figures(scored: Scored, threshold: float) -> BinaryFigures:
    """Positive against negative at a threshold, and over all of them."""
    positive, score = scored.positive, scored.score
    counts = metrics.count_at(threshold, positive, score)
    interval = partial(metrics.bootstrap_interval, positive=positive, groups=scored.groups)
    truth, decided = positive.astype(np.int64), (score >= threshold).astype(np.int64)
    error = metrics.expected_calibration_error(metrics.reliability(positive, score))
    return BinaryFigures(
        unit=scored.unit,
        counts=counts,
        sensitivity=counts.sensitivity,
        specificity=counts.specificity,
        positive_predictive_value=counts.positive_predictive_value,
        negative_predictive_value=counts.negative_predictive_value,
        accuracy=counts.accuracy,
        balanced_accuracy=interval(lambda weights: metrics.macro_recall(truth, decided, 2, weights)),
        auc=interval(lambda weights: metrics.auc(positive, score, weights)),
        average_precision=interval(lambda weights: metrics.average_precision(positive, score, weights)),
        brier_score=interval(lambda weights: metrics.brier_score(positive, score, weights), of_both_sides=False),
        expected_calibration_error=error if np.isfinite(error) else None,
    )


def label_figures(cases: Sequence[Case], labels: Sequence[str], scored: Scored) -> LabelFigures:
    """Given labels against true ones."""
    truth = np.array([labels.index(case.label) for case in cases], np.int64)
    given = np.array([labels.index(case.given) for case in cases], np.int64)
    matrix = metrics.confusion_matrix(truth, given, len(labels))
    return LabelFigures(
        confusion=tuple(tuple(int(count) for count in row) for row in matrix),
        classes=metrics.class_figures(matrix, labels),
        accuracy=metrics.share(int(np.trace(matrix)), int(matrix.sum())),
        balanced_accuracy=metrics.bootstrap_interval(
            lambda weights: metrics.macro_recall(truth, given, len(labels), weights), scored.positive, scored.groups
        ),
    )


def threshold_rows(scored: Scored, points: Sequence[OperatingPoint]) -> tuple[Row, ...]:
    """The named operating points, then the grid."""
    wanted = [(point.name, point.threshold) for point in points] + [(None, threshold) for threshold in GRID]
    rows = []
    for name, threshold in wanted:
        counts = metrics.count_at(threshold, scored.positive, scored.score)
        rows.append(
            Row(
                name=name,
                threshold=threshold,
                counts=counts,
                sensitivity=counts.sensitivity,
                specificity=counts.specificity,
                positive_predictive_value=counts.positive_predictive_value,
                negative_predictive_value=counts.negative_predictive_value,
            )
        )
    return tuple(rows)


def rejected_as_errors(
    figures: BinaryFigures, rejected: Sequence[RejectedCase], positive_labels: Sequence[str]
) -> RejectedAsErrors:
    """Sensitivity and specificity if each rejected image were decided wrongly."""
    counts = figures.counts
    missed = sum(case.label in positive_labels for case in rejected)
    alarms = len(rejected) - missed
    positives = counts.true_positive + counts.false_negative + missed
    negatives = counts.true_negative + counts.false_positive + alarms
    return RejectedAsErrors(
        sensitivity=metrics.share(counts.true_positive, positives),
        specificity=metrics.share(counts.true_negative, negatives),
    )


def points(curve: metrics.Curve | None) -> Points | None:
    """A curve for JSON and plots; first and last point always stay."""
    if curve is None:
        return None
    kept = np.unique(np.linspace(0, curve.x.size - 1, min(curve.x.size, MAX_POINTS)).round().astype(np.int64))
    return Points(x=tuple(curve.x[kept].tolist()), y=tuple(curve.y[kept].tolist()))
