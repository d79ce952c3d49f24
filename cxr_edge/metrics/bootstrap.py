"""Intervals of figures that have no formula for one."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from cxr_edge.types import Interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

BOOTSTRAP_SAMPLES = 2000
BOOTSTRAP_SEED = 0

Statistic = Callable[["NDArray[np.int64]"], float]


def bootstrap_interval(
    statistic: Statistic,
    positive: "NDArray[np.bool_]",
    groups: "NDArray[np.int64] | None" = None,
    *,
    of_both_sides: bool = True,
) -> Interval | None:
    """A statistic from 0 to 1 with its 95 % percentile-bootstrap interval (Efron and Tibshirani 1993, chapter 13).

    Whole groups are drawn with replacement, as many positive ones as there are and as many negative ones: images of one
    patient go together. The seed is fixed: the same data give the same interval. Where one group is all that there
    is of a side that the statistic needs, no other draw of it is possible: the interval is 0 to 1.

    Args:
        statistic: of int64 [N], how often each image counts; NaN where it is not defined.
        positive: bool [N], the truth; a group is positive if any of its images is.
        groups: int64 [N] in 0..G-1, the patient of each image; None: each image is a group of its own.
        of_both_sides: whether the statistic needs positive and negative images, as AUC does and a mean error does not.

    Returns:
        None where the statistic is not defined on the data themselves.
    """
    estimate = statistic(np.ones(positive.size, np.int64))
    if not np.isfinite(estimate):
        return None
    member_of = np.arange(positive.size) if groups is None else groups
    group_is_positive = np.bincount(member_of, weights=positive) > 0
    sides = np.flatnonzero(group_is_positive), np.flatnonzero(~group_is_positive)
    if any(side.size == 1 for side in sides) if of_both_sides else group_is_positive.size == 1:
        return Interval(estimate=estimate, low=0.0, high=1.0)
    drawn = np.array([statistic(weights) for weights in _draws(*sides, member_of)])
    low, high = np.percentile(drawn[np.isfinite(drawn)], [2.5, 97.5]) if np.isfinite(drawn).any() else (0.0, 1.0)
    return Interval(estimate=estimate, low=min(float(low), estimate), high=max(float(high), estimate))


def _draws(
    yes: "NDArray[np.int64]", no: "NDArray[np.int64]", member_of: "NDArray[np.int64]"
) -> "Iterator[NDArray[np.int64]]":
    """How often each image was drawn, int64 [N]."""
    rng = np.random.Generator(np.random.PCG64(BOOTSTRAP_SEED))
    for _ in range(BOOTSTRAP_SAMPLES):
        drawn = np.concatenate([rng.choice(yes, yes.size), rng.choice(no, no.size)])
        yield np.bincount(drawn, minlength=yes.size + no.size)[member_of]
