"""From probabilities to a decision: a pure function of (probabilities, contract, operating point)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cxr_edge.contract import Contract
from cxr_edge.errors import ModelError
from cxr_edge.types import OperatingPoint

if TYPE_CHECKING:
    from numpy.typing import NDArray

SUM_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision: `score` is the summed probability of the positive labels."""

    label: str
    probabilities: dict[str, float]
    score: float
    positive: bool


def decide(probabilities: "NDArray[np.float32]", contract: Contract, point: OperatingPoint) -> Verdict:
    """Read the model's output at an operating point.

    The label is the most probable one on the side that the operating point decides for, so that label and decision
    never contradict each other.

    Args:
        probabilities: float32 (labels,), summing to 1.
        contract: labels, positive labels and score calibration.
        point: the threshold in force.

    Raises:
        ModelError: the numbers are not probabilities.
    """
    values = np.asarray(probabilities, np.float64)
    if not np.isfinite(values).all() or (values < 0).any() or abs(values.sum() - 1) > SUM_TOLERANCE:
        message = f"the model gave {values.tolist()}, which are no probabilities"
        raise ModelError(message)
    if contract.outputs.temperature is not None:
        logits = np.log(np.maximum(values, np.finfo(np.float64).tiny)) / contract.outputs.temperature
        values = np.exp(logits - logits.max())
        values /= values.sum()
    named = {label: float(value) for label, value in zip(contract.labels, values, strict=True)}
    score = min(1.0, sum(named[label] for label in contract.positive_labels))
    positive = point.decides_positive(score)
    side = [label for label in contract.labels if (label in contract.positive_labels) == positive]
    return Verdict(label=max(side, key=named.__getitem__), probabilities=named, score=score, positive=positive)
