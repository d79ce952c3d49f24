"""Choosing thresholds by rule on the scores of the Keras original, and measuring what they do in the exported file."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from cxr_edge.errors import UsageError
from cxr_edge.types import Interval, OperatingPoint
from cxr_edge_export.parity import wilson_interval
from cxr_edge_export.recipe import OperatingPointRule

if TYPE_CHECKING:
    from numpy.typing import NDArray


def choose(
    rule: OperatingPointRule,
    positive: "NDArray[np.bool_]",
    scores: "tuple[NDArray[np.float64], NDArray[np.float64]]",
    data: str,
) -> OperatingPoint:
    """One operating point with its sensitivity and specificity, 95 % Wilson intervals.

    The threshold is chosen on the Keras original; what it does is measured on the file that users run.

    Args:
        rule: of the recipe.
        positive: bool [N], the truth.
        scores: of the Keras original and of the exported file, float64 [N] each.
        data: which images these are.

    Raises:
        UsageError: one of the classes is absent, or the threshold found is not between 0 and 1.
    """
    if positive.all() or not positive.any():
        message = "the validation images are all of one class; operating points need both"
        raise UsageError(message)
    reference, exported = scores
    threshold = _threshold(rule, positive, reference)
    if not 0 < threshold < 1:
        message = f"operating point {rule.name} would need the threshold {threshold}; it must lie between 0 and 1"
        raise UsageError(message)
    nothing = Interval(0, 0, 1)
    point = OperatingPoint(
        name=rule.name,
        threshold=threshold,
        sensitivity=nothing,
        specificity=nothing,
        data=data,
        how_chosen=describe(rule),
    )
    decided = np.array([point.decides_positive(s) for s in exported])
    return replace(
        point,
        sensitivity=wilson_interval(int((decided & positive).sum()), int(positive.sum())),
        specificity=wilson_interval(int((~decided & ~positive).sum()), int((~positive).sum())),
    )


def describe(rule: OperatingPointRule) -> str:
    """The rule in words, as the contract keeps it."""
    match rule.rule:
        case "fixed":
            words = f"fixed at {rule.value}"
        case "youden":
            words = "best Youden index (sensitivity + specificity - 1) on these images"
        case "sensitivity":
            words = f"highest threshold with sensitivity >= {rule.value} on these images"
    return f"{words}: {rule.reason}" if rule.reason else words


def _threshold(rule: OperatingPointRule, positive: "NDArray[np.bool_]", score: "NDArray[np.float64]") -> float:
    """The threshold itself; half way to the next lower score, so that rounding does not move an image across it."""
    if rule.rule == "fixed" and rule.value is not None:
        return rule.value
    candidates = np.unique(score)[::-1]  # highest first
    sensitivity = np.array([(score[positive] >= t).mean() for t in candidates])
    if rule.rule == "sensitivity" and rule.value is not None:
        chosen = int(np.argmax(sensitivity >= rule.value))
    else:
        false_alarms = np.array([(score[~positive] >= t).mean() for t in candidates])
        chosen = int(np.argmax(sensitivity - false_alarms))
    below = candidates[chosen + 1] if chosen + 1 < candidates.size else 0.0
    return float((candidates[chosen] + below) / 2)
