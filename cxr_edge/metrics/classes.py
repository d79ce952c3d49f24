"""Predicted labels against true ones, for any number of labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cxr_edge.metrics.counts import share
from cxr_edge.types import Interval

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassFigures:
    """One label against all others.

    Attributes:
        label: its name.
        support: how many images truly have it.
        precision: right among those given this label, 95 % Wilson interval; None where none was.
        recall: found among those that truly have it, 95 % Wilson interval; None where none does.
        f1: harmonic mean of the two; None where the label neither occurs nor was given.
    """

    label: str
    support: int
    precision: Interval | None
    recall: Interval | None
    f1: float | None


def confusion_matrix(truth: "NDArray[np.int64]", predicted: "NDArray[np.int64]", labels: int) -> "NDArray[np.int64]":
    """Counts int64 (labels, labels): rows are the truth, columns what was predicted.

    Args:
        truth: int64 [N], indices of labels.
        predicted: int64 [N], the same.
        labels: how many there are.
    """
    return np.bincount(truth * labels + predicted, minlength=labels * labels).reshape(labels, labels)


def class_figures(matrix: "NDArray[np.int64]", labels: Sequence[str]) -> tuple[ClassFigures, ...]:
    """Precision, recall and F1 of each label, from a confusion matrix."""
    figures = []
    for index, label in enumerate(labels):
        right, support, given = (int(n) for n in (matrix[index, index], matrix[index].sum(), matrix[:, index].sum()))
        figures.append(
            ClassFigures(
                label=label,
                support=support,
                precision=share(right, given),
                recall=share(right, support),
                f1=2 * right / (support + given) if support + given else None,
            )
        )
    return tuple(figures)


def macro_recall(
    truth: "NDArray[np.int64]",
    predicted: "NDArray[np.int64]",
    labels: int,
    weights: "NDArray[np.int64] | None" = None,
) -> float:
    """Balanced accuracy: the mean of the labels' recalls (Brodersen et al., ICPR 2010); NaN where a label is absent."""
    counted = np.ones(truth.size) if weights is None else weights
    support = np.bincount(truth, weights=counted, minlength=labels)
    if not support.all():
        return float("nan")
    found = np.bincount(truth, weights=counted * (truth == predicted), minlength=labels)
    return float((found / support).mean())
