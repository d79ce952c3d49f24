"""From probabilities to a decision: a pure function of (probabilities, contract, operating point)."""

from collections.abc import Mapping, Sequence
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
    values = calibrate(values, contract.outputs.temperature)
    named = {label: float(value) for label, value in zip(contract.labels, values, strict=True)}
    return read_at(point, named, contract.positive_labels)


def read_at(point: OperatingPoint, probabilities: dict[str, float], positive_labels: Sequence[str]) -> Verdict:
    """The verdict on calibrated probabilities, by label, at an operating point."""
    score = min(1.0, sum(probabilities[label] for label in positive_labels))
    positive = point.decides_positive(score)
    side = [label for label in probabilities if (label in positive_labels) == positive]
    label = max(side, key=probabilities.__getitem__)
    return Verdict(label=label, probabilities=probabilities, score=score, positive=positive)


def more_probable(label: str, probabilities: Mapping[str, float]) -> str | None:
    """The most probable label of all where that is another than the one given: the positive labels decide together."""
    best = max(probabilities, key=probabilities.__getitem__)
    return best if probabilities[best] > probabilities[label] else None


def calibrate(probabilities: "NDArray[np.float64]", temperature: float | None) -> "NDArray[np.float64]":
    """Score calibration by temperature: softmax(log p / temperature); None leaves the probabilities as they are.

    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017. The export measures operating points and parity
    on what this gives, as the runtime decides on it.

    Args:
        probabilities: (..., labels).
        temperature: above 1 softens.
    """
    if temperature is None:
        return probabilities
    logits = np.log(np.maximum(probabilities, np.finfo(np.float64).tiny)) / temperature
    values = np.exp(logits - logits.max(axis=-1, keepdims=True))
    calibrated: NDArray[np.float64] = values / values.sum(axis=-1, keepdims=True)
    return calibrated
