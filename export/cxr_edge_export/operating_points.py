"""Choosing thresholds by rule on the scores of the Keras original, and measuring what they do in the exported file."""

from typing import TYPE_CHECKING

from cxr_edge.errors import UsageError
from cxr_edge.metrics import choose_threshold, count_at, wilson_interval
from cxr_edge.types import OperatingPoint
from cxr_edge_export.recipe import OperatingPointRule

if TYPE_CHECKING:
    import numpy as np
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
    if rule.rule == "fixed":
        threshold = rule.value or 0.0  # the recipe sees to it that there is one, between 0 and 1
    else:
        threshold = choose_threshold(rule.rule, positive, reference, rule.value or 0.0)
    counts = count_at(threshold, positive, exported)
    return OperatingPoint(
        name=rule.name,
        threshold=threshold,
        sensitivity=wilson_interval(counts.true_positive, int(positive.sum())),
        specificity=wilson_interval(counts.true_negative, int((~positive).sum())),
        data=data,
        how_chosen=describe(rule),
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
        case "cost":
            words = f"cheapest threshold on these images, a missed positive at {rule.value} times a false alarm's cost"
    return f"{words}: {rule.reason}" if rule.reason else words
