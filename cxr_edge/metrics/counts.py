"""What a threshold does to a set: four counts, and the shares that follow from them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cxr_edge.types import Interval

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Z95 = 1.959963984540054  # 97.5 % quantile of the normal distribution


def wilson_interval(successes: int, trials: int) -> Interval:
    """A share with its 95 % Wilson score interval (Wilson, JASA 1927); the whole range where nothing was tried."""
    if trials == 0:
        return Interval(estimate=0.0, low=0.0, high=1.0)
    share, z2 = successes / trials, Z95 * Z95
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = Z95 / (1 + z2 / trials) * (share * (1 - share) / trials + z2 / (4 * trials * trials)) ** 0.5
    return Interval(estimate=share, low=min(max(0.0, centre - half), share), high=max(min(1.0, centre + half), share))


def share(successes: int, trials: int) -> Interval | None:
    """A share with its 95 % Wilson interval; None, not defined, where nothing was tried."""
    return wilson_interval(successes, trials) if trials else None


@dataclass(frozen=True, slots=True)
class Counts:
    """Decisions against the truth."""

    true_positive: int
    false_negative: int
    true_negative: int
    false_positive: int

    @property
    def sensitivity(self) -> Interval | None:
        """True positives among the positives; None without positives."""
        return share(self.true_positive, self.true_positive + self.false_negative)

    @property
    def specificity(self) -> Interval | None:
        """True negatives among the negatives; None without negatives."""
        return share(self.true_negative, self.true_negative + self.false_positive)

    @property
    def positive_predictive_value(self) -> Interval | None:
        """Positives among those decided positive; None where nothing was."""
        return share(self.true_positive, self.true_positive + self.false_positive)

    @property
    def negative_predictive_value(self) -> Interval | None:
        """Negatives among those decided negative; None where nothing was."""
        return share(self.true_negative, self.true_negative + self.false_negative)

    @property
    def accuracy(self) -> Interval | None:
        """Right decisions among all; None without any."""
        return share(self.true_positive + self.true_negative, self.total)

    @property
    def total(self) -> int:
        """How many were decided."""
        return self.true_positive + self.false_negative + self.true_negative + self.false_positive


def count_at(threshold: float, positive: "NDArray[np.bool_]", score: "NDArray[np.float64]") -> Counts:
    """The counts at a threshold: a score at or above it is decided positive.

    Args:
        threshold: as of an operating point.
        positive: bool [N], the truth.
        score: float64 [N].
    """
    decided = score >= threshold
    return Counts(
        true_positive=int((decided & positive).sum()),
        false_negative=int((~decided & positive).sum()),
        true_negative=int((~decided & ~positive).sum()),
        false_positive=int((decided & ~positive).sum()),
    )
