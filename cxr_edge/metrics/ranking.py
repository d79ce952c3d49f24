"""How well scores rank positives above negatives, whatever the threshold."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cxr_edge.metrics.bootstrap import bootstrap_interval
from cxr_edge.types import Interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

NAN = float("nan")


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """A curve over falling thresholds: float64 [T] each, x and y in 0..1.

    Attributes:
        x: the false positive rate, or the recall.
        y: the true positive rate, or the precision.
    """

    x: "NDArray[np.float64]"
    y: "NDArray[np.float64]"


def auc(
    positive: "NDArray[np.bool_]", score: "NDArray[np.float64]", weights: "NDArray[np.int64] | None" = None
) -> float:
    """Area under the ROC curve, exact, ties counted half (the Mann-Whitney statistic).

    Args:
        positive: bool [N], the truth.
        score: float64 [N].
        weights: int64 [N], how often each image counts; None: once.

    Returns:
        0..1; NaN where one of the classes is absent.
    """
    yes, no = _tallies(positive, score, weights)
    pairs = yes.sum() * no.sum()
    if pairs == 0:
        return NAN
    lower = np.cumsum(no[::-1])[::-1] - no / 2  # negatives ranked below, ties half
    return float(yes @ lower / pairs)


def auc_interval(
    positive: "NDArray[np.bool_]", score: "NDArray[np.float64]", groups: "NDArray[np.int64] | None" = None
) -> Interval | None:
    """AUC with its 95 % bootstrap interval (`bootstrap_interval`); None where one of the classes is absent."""
    return bootstrap_interval(lambda weights: auc(positive, score, weights), positive, groups)


def average_precision(
    positive: "NDArray[np.bool_]", score: "NDArray[np.float64]", weights: "NDArray[np.int64] | None" = None
) -> float:
    """Area under the precision-recall curve as a sum of steps, without interpolation (Davis and Goadrich 2006).

    Returns:
        0..1; NaN where one of the classes is absent.
    """
    yes, no = _tallies(positive, score, weights)
    if yes.sum() == 0 or no.sum() == 0:
        return NAN
    found, taken = np.cumsum(yes), np.cumsum(yes + no)
    drawn = taken > 0
    return float((yes[drawn] * found[drawn] / taken[drawn]).sum() / yes.sum())


def roc_curve(positive: "NDArray[np.bool_]", score: "NDArray[np.float64]") -> Curve | None:
    """From (0, 0) to (1, 1), corners only; None where one of the classes is absent."""
    yes, no = _tallies(positive, score, None)
    if yes.sum() == 0 or no.sum() == 0:
        return None
    x, y = np.append(0.0, np.cumsum(no)), np.append(0.0, np.cumsum(yes))  # whole numbers: the comparison is exact
    turns = np.diff(x)[:-1] * np.diff(y)[1:] != np.diff(x)[1:] * np.diff(y)[:-1]
    corners = np.concatenate([[True], turns, [True]])
    return Curve(x=x[corners] / no.sum(), y=y[corners] / yes.sum())


def precision_recall_curve(positive: "NDArray[np.bool_]", score: "NDArray[np.float64]") -> Curve | None:
    """Precision over recall, one point for each score found; None where one of the classes is absent."""
    yes, no = _tallies(positive, score, None)
    if yes.sum() == 0 or no.sum() == 0:
        return None
    found, taken = np.cumsum(yes), np.cumsum(yes + no)
    return Curve(x=found / yes.sum(), y=found / taken)


def _tallies(
    positive: "NDArray[np.bool_]", score: "NDArray[np.float64]", weights: "NDArray[np.int64] | None"
) -> "tuple[NDArray[np.float64], NDArray[np.float64]]":
    """Positives and negatives at each distinct score, highest score first."""
    counted = np.ones(score.size) if weights is None else weights.astype(np.float64)
    _, place = np.unique(-score, return_inverse=True)
    if not place.size:
        return np.zeros(0), np.zeros(0)
    yes, no = np.bincount(place, weights=counted * positive), np.bincount(place, weights=counted * ~positive)
    return yes.astype(np.float64), no.astype(np.float64)
