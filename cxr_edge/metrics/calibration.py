"""Whether scores can be read as probabilities. Score calibration, not quantization calibration."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cxr_edge.metrics.counts import share
from cxr_edge.types import Interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

BINS = 10  # of equal width: [0, 0.1), [0.1, 0.2) .. [0.9, 1]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReliabilityBin:
    """The images whose score lies in [low, high); the last bin holds 1 too.

    Attributes:
        low: of the scores.
        high: of the scores.
        count: how many images.
        mean_score: None in an empty bin.
        positives: share of truly positive images, with its 95 % Wilson interval; None in an empty bin.
    """

    low: float
    high: float
    count: int
    mean_score: float | None
    positives: Interval | None


def brier_score(
    positive: "NDArray[np.bool_]", score: "NDArray[np.float64]", weights: "NDArray[np.int64] | None" = None
) -> float:
    """Mean squared difference of score and truth (Brier, Monthly Weather Review 1950): 0 best, 1 worst; NaN of none."""
    counted = np.ones(score.size) if weights is None else weights
    total = counted.sum()
    return float((counted * (score - positive) ** 2).sum() / total) if total else float("nan")


def reliability(positive: "NDArray[np.bool_]", score: "NDArray[np.float64]") -> tuple[ReliabilityBin, ...]:
    """Mean score against the share of positives, in bins of equal width."""
    place = np.minimum((score * BINS).astype(np.int64), BINS - 1)
    bins = []
    for index in range(BINS):
        inside = place == index
        count = int(inside.sum())
        bins.append(
            ReliabilityBin(
                low=index / BINS,
                high=(index + 1) / BINS,
                count=count,
                mean_score=float(score[inside].mean()) if count else None,
                positives=share(int(positive[inside].sum()), count),
            )
        )
    return tuple(bins)


def expected_calibration_error(bins: tuple[ReliabilityBin, ...]) -> float:
    """Mean |mean score - share of positives| over the bins, weighted by count (Naeini et al., AAAI 2015); NaN of none.

    It never averages out to 0 on small sets, however well calibrated the scores are.
    """
    total = sum(part.count for part in bins)
    if not total:
        return float("nan")
    gaps = (
        part.count * abs(part.mean_score - part.positives.estimate)
        for part in bins
        if part.mean_score is not None and part.positives is not None
    )
    return sum(gaps) / total
