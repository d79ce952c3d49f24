"""Choosing a threshold by rule."""

from typing import TYPE_CHECKING, Literal

import numpy as np

from cxr_edge.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

ThresholdRule = Literal["sensitivity", "specificity", "youden", "cost"]


def choose_threshold(
    rule: ThresholdRule, positive: "NDArray[np.bool_]", score: "NDArray[np.float64]", value: float = 0.0
) -> float:
    """The threshold that a rule asks for, on labelled scores.

    It lies half way between the lowest score that it decides positive and the next lower one, so that rounding does not
    move an image across it.

    Args:
        rule: `sensitivity`: the highest threshold whose sensitivity is at least `value`; `specificity`: the lowest
            whose specificity is at least `value`; `youden`: best sensitivity + specificity - 1 (Youden, Cancer 1950),
            the highest such threshold; `cost`: the same where a missed positive costs `value` times a false alarm, at
            equal numbers of both classes: best value * sensitivity + specificity (Metz, Semin Nucl Med 1978).
        positive: bool [N], the truth.
        score: float64 [N], 0..1.
        value: a share; of `cost` a ratio above 0.

    Raises:
        UsageError: one of the classes is absent, or the threshold would not lie between 0 and 1.
    """
    if positive.all() or not positive.any():
        message = "the images are all of one class; a threshold can only be chosen on both"
        raise UsageError(message)
    candidates, place = np.unique(-score, return_inverse=True)  # highest score first
    candidates = np.append(1.0, -candidates)  # and a threshold above all of them, which decides nothing positive
    positives, negatives = int(positive.sum()), int((~positive).sum())
    found, alarms = _reached(place[positive], candidates.size), _reached(place[~positive], candidates.size)
    match rule:
        case "sensitivity":
            chosen = int(np.argmax(found / positives >= value))
        case "specificity":
            chosen = int(np.flatnonzero((negatives - alarms) / negatives >= value)[-1])
        case "youden":
            chosen = int(np.argmax(found * negatives - alarms * positives))  # whole numbers: ties are ties
        case "cost":
            chosen = int(np.argmax(value * found * negatives - alarms * positives))
    below = candidates[chosen + 1] if chosen + 1 < candidates.size else 0.0
    threshold = float((candidates[chosen] + below) / 2)
    if not 0 < threshold < 1:
        message = f"the rule would need the threshold {threshold}; it must lie between 0 and 1"
        raise UsageError(message)
    return threshold


def _reached(place: "NDArray[np.intp]", candidates: int) -> "NDArray[np.intp]":
    """How many scores lie at or above each candidate; the first candidate lies above all."""
    return np.cumsum(np.bincount(place + 1, minlength=candidates))
