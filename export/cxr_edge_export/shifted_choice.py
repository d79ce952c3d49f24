"""What a release may choose on shifted images: a temperature for the scores, and a threshold for the worst row."""

from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from cxr_edge.decide import calibrate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Row = tuple[NDArray[np.bool_], NDArray[np.float64]]  # positive (n,), scores (n,)

# a grid of 2 % steps is finer than any temperature is known
TEMPERATURES: Final = np.exp(np.arange(np.log(0.2), np.log(5), 0.02))


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """For a recipe: `temperature`, and an operating point of rule `fixed` at `threshold`.

    Attributes:
        temperature: with which the true labels of all changed images are the most probable; in the place of the file's.
        cross_entropy: mean of -log p of the true label, with that temperature; `cross_entropy_now` with the file's.
        threshold: of scores at that temperature, with which the lower of sensitivity and specificity is the highest in
            the row where it is the lowest; None where a side is absent from every row.
        lowest: that figure; `lowest_row` names the row.
    """

    temperature: float
    cross_entropy: float
    cross_entropy_now: float
    threshold: float | None
    lowest: float | None
    lowest_row: str | None


def choose(
    probabilities: "NDArray[np.float64]",
    truth: "NDArray[np.int64]",
    positive_labels: "NDArray[np.bool_]",
    rows: "Mapping[str, NDArray[Any]]",
    temperature: float | None,
) -> Choice:
    """Fit both.

    Args:
        probabilities: (n, labels), as the file gives them: at its own temperature.
        truth: (n,), index of the label.
        positive_labels: (labels,), whether each is.
        rows: which images, by index or mask, make a row.
        temperature: the file's.
    """
    entropies = [_cross_entropy(calibrate(probabilities, float(t)), truth) for t in TEMPERATURES]
    best = float(TEMPERATURES[int(np.argmin(entropies))])
    scores = calibrate(probabilities, best)[:, positive_labels].sum(axis=1)
    positive = positive_labels[truth]
    found = _best_of_the_worst({name: (positive[part], scores[part]) for name, part in rows.items()})
    threshold, lowest, row = found or (None, None, None)
    return Choice(
        temperature=round(best * (temperature or 1.0), 3),
        cross_entropy=min(entropies),
        cross_entropy_now=_cross_entropy(probabilities, truth),
        threshold=threshold,
        lowest=lowest,
        lowest_row=row,
    )


def _cross_entropy(probabilities: "NDArray[np.float64]", truth: "NDArray[np.int64]") -> float:
    likely = probabilities[np.arange(len(truth)), truth]
    return float(-np.log(np.maximum(likely, np.finfo(np.float64).tiny)).mean())


def _best_of_the_worst(rows: "Mapping[str, Row]") -> tuple[float, float, str] | None:
    """Threshold, the lowest figure at it, and its row; the middle of all thresholds that are as good.

    Thresholds stand half-way between scores, with as few digits as leave the figure what it is.
    """
    whole = {name: (p, s) for name, (p, s) in rows.items() if p.any() and not p.all()}
    if not whole:
        return None
    seen = np.unique(np.concatenate([scores for _, scores in whole.values()]))
    if len(seen) == 1:
        return None  # no threshold parts anything
    thresholds = (seen[1:] + seen[:-1]) / 2
    worst = _lowest(whole, thresholds).min(axis=0)
    as_good = thresholds[worst == worst.max()]
    threshold = _short(whole, float(as_good[len(as_good) // 2]))
    lower = _lowest(whole, np.array([threshold]))[:, 0]
    return threshold, float(lower.min()), list(whole)[int(lower.argmin())]


def _short(rows: "Mapping[str, Row]", threshold: float) -> float:
    """The threshold, rounded to four digits or more as long as the worst figure is not lower."""
    worst = _lowest(rows, np.array([threshold])).min()
    shorter = (round(threshold, digits) for digits in range(4, 17))
    return next((t for t in shorter if 0 < t < 1 and _lowest(rows, np.array([t])).min() >= worst), threshold)


def _lowest(rows: "Mapping[str, Row]", thresholds: "NDArray[np.float64]") -> "NDArray[np.float64]":
    """(rows, thresholds): the lower of sensitivity and specificity."""
    return np.stack([_lower_figures(positive, scores, thresholds) for positive, scores in rows.values()])


def _lower_figures(
    positive: "NDArray[np.bool_]", scores: "NDArray[np.float64]", thresholds: "NDArray[np.float64]"
) -> "NDArray[np.float64]":
    """The lower of sensitivity and specificity at each threshold; a score that reaches it is positive."""
    sick, well = np.sort(scores[positive]), np.sort(scores[~positive])
    sensitivity = 1 - np.searchsorted(sick, thresholds) / len(sick)
    specificity = np.searchsorted(well, thresholds) / len(well)
    lower: NDArray[np.float64] = np.minimum(sensitivity, specificity)
    return lower
