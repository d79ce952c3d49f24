"""What a set of probabilities is worth: the figures of every epoch and of the end."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from cxr_edge import metrics
from cxr_edge_export.recipe import Recipe

if TYPE_CHECKING:
    from numpy.typing import NDArray


def set_figures(probabilities: "NDArray[np.float64]", labels: "NDArray[np.int64]", recipe: Recipe) -> dict[str, Any]:
    """The figures of one set, by the names that `SetFigures` has.

    Args:
        probabilities: float64 (N, labels).
        labels: int64 (N,), the truth.
        recipe: labels and positive labels.
    """
    given = probabilities.argmax(axis=1).astype(np.int64)
    columns = [recipe.labels.index(name) for name in recipe.positive_labels]
    positive = np.isin(labels, columns)
    right = np.maximum(probabilities[np.arange(labels.size), labels], 1e-7)
    auc = metrics.auc(positive, probabilities[:, columns].sum(axis=1))
    balanced = metrics.macro_recall(labels, given, len(recipe.labels))
    confusion = metrics.confusion_matrix(labels, given, len(recipe.labels))
    return {
        "cross_entropy": float(-np.log(right).mean()),
        "accuracy": float((given == labels).mean()),
        "balanced_accuracy": None if math.isnan(balanced) else balanced,
        "auc": None if math.isnan(auc) else auc,
        "confusion": tuple(tuple(int(n) for n in row) for row in confusion),
    }
