"""How far the exported graph is from the Keras original: on labelled images, with intervals, flips by direction."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cxr_edge.contract import Comparison, Flips, GivenLabels, Limits, broken_limits
from cxr_edge.errors import LimitBroken
from cxr_edge.metrics import auc_interval, confusion_matrix, wilson_interval
from cxr_edge.types import OperatingPoint, side_is_label

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
    labels = () if side_is_label(reference.probabilities[0]) else rules.labels(truth, scored)
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
        labels=labels,
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

    def labels(self, truth: "NDArray[np.int64]", scored: tuple[Scores, Scores]) -> tuple[GivenLabels, ...]:
        """Per operating point, the labels that Keras and this file give, against one another and the truth."""
        return tuple(
            self._given(point, truth, (scored[0], before), (scored[1], after))
            for point, before, after in zip(self.points, *map(self.decisions, scored), strict=True)
        )

    def _given(
        self,
        point: OperatingPoint,
        truth: "NDArray[np.int64]",
        *sides: "tuple[Scores, NDArray[np.bool_]]",
    ) -> GivenLabels:
        (_, before), (scored, after) = sides
        reference, exported = (labels_given(s.probabilities, self.positive_columns, d) for s, d in sides)
        matrix = confusion_matrix(truth, exported, scored.probabilities.shape[1])
        return GivenLabels(
            operating_point=point.name,
            changed=int(((before == after) & (reference != exported)).sum()),
            accuracy=wilson_interval(int(matrix.trace()), truth.size),
            confusion=tuple(tuple(row) for row in matrix.tolist()),
        )


def labels_given(
    probabilities: "NDArray[Any]", positive_columns: Sequence[int], decisions: "NDArray[np.bool_]"
) -> "NDArray[np.int64]":
    """What the runtime gives, int64 [N]: the most probable label of the side that the decision is for.

    Args:
        probabilities: float [N, labels].
        positive_columns: indices of the positive labels.
        decisions: bool [N], whether positive.
    """
    positive = np.isin(np.arange(probabilities.shape[1]), positive_columns)
    of_the_side = np.where(positive == decisions[:, np.newaxis], probabilities, -1.0)
    return np.asarray(of_the_side.argmax(axis=1), np.int64)


def check_limits(validation: Comparison, agreement: Comparison, limits: Limits) -> None:
    """Stop an export that changed what the model decides.

    Raises:
        LimitBroken: naming every figure that broke its limit.
    """
    if broken := broken_limits(validation, agreement, limits):
        message = "export limit broken: " + "; ".join(broken)
        raise LimitBroken(message)
