"""How far the exported graph is from the Keras original: on labelled images, with intervals, flips by direction."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cxr_edge.contract import Comparison, Flips, Limits, broken_limits
from cxr_edge.errors import LimitBroken
from cxr_edge.metrics import auc_interval
from cxr_edge.types import OperatingPoint

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Scores:
    """One model on one set of images.

    Attributes:
        probabilities: float32 [N, labels].
        positive: the score, float64 [N]: summed probability of the positive labels.
    """

    probabilities: "NDArray[np.float32]"
    positive: "NDArray[np.float64]"


def scores(probabilities: "NDArray[np.float32]", labels: Sequence[str], positive_labels: Sequence[str]) -> Scores:
    """Add the score that operating points decide on."""
    columns = [labels.index(name) for name in positive_labels]
    summed = probabilities[:, columns].astype(np.float64).sum(axis=1)
    return Scores(probabilities=probabilities, positive=np.minimum(summed, 1.0))


def compare(
    data: tuple[str, str],
    truth: "NDArray[np.int64]",
    scored: tuple[Scores, Scores],
    rules: "Rules",
    patients: "NDArray[np.int64] | None" = None,
) -> Comparison:
    """The comparison on one set.

    Args:
        data: description and SHA-256 of the set.
        truth: int64 [N], the index of each image's label.
        scored: of the Keras original; of the file, on the same images.
        rules: what a decision is.
        patients: int64 [N], `patient_groups`: intervals draw patients, not images; None: every image is another one's.
    """
    reference, exported = scored
    delta = np.abs(exported.positive - reference.positive)
    before, after = rules.decisions(reference), rules.decisions(exported)
    flips = tuple(
        Flips(
            operating_point=point.name,
            positive_to_negative=int((b & ~a).sum()),
            negative_to_positive=int((~b & a).sum()),
        )
        for point, b, a in zip(rules.points, before, after, strict=True)
    )
    positive = np.isin(truth, rules.positive_columns)
    p50, p99 = (float(v) for v in np.percentile(delta, [50, 99]))
    default = [point.name for point in rules.points].index(rules.default)
    return Comparison(
        data=data[0],
        images=truth.size,
        sha256=data[1],
        abs_delta_p50=p50,
        abs_delta_p99=p99,
        abs_delta_max=float(delta.max()),
        agreement=float((before[default] == after[default]).mean()),
        flips=flips,
        auc_reference=auc_interval(positive, reference.positive, patients),
        auc_exported=auc_interval(positive, exported.positive, patients),
        accuracy_reference=rules.accuracy(truth, reference),
        accuracy_exported=rules.accuracy(truth, exported),
    )


@dataclass(frozen=True, slots=True)
class Rules:
    """How scores become decisions.

    Attributes:
        points: the operating points.
        default: name of the one that `agreement` is about.
        positive_columns: indices of the positive labels.
    """

    points: tuple[OperatingPoint, ...]
    default: str
    positive_columns: tuple[int, ...]

    def decisions(self, scored: Scores) -> "list[NDArray[np.bool_]]":
        """Per operating point, bool [N]."""
        return [np.array([point.decides_positive(s) for s in scored.positive]) for point in self.points]

    def accuracy(self, truth: "NDArray[np.int64]", scored: Scores) -> float:
        """Share of images whose most probable label is the true one."""
        return float((scored.probabilities.argmax(axis=1) == truth).mean())


def check_limits(validation: Comparison, agreement: Comparison, limits: Limits) -> None:
    """Stop an export that changed what the model decides.

    Raises:
        LimitBroken: naming every figure that broke its limit.
    """
    if broken := broken_limits(validation, agreement, limits):
        message = "export limit broken: " + "; ".join(broken)
        raise LimitBroken(message)
