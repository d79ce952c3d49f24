"""Which misread images come first: those on the wrong side of the threshold, the missed ones before all."""

from collections.abc import Sequence
from enum import IntEnum

from cxr_edge.evaluate.report import Case


class Kind(IntEnum):
    """What went wrong, the worst first."""

    MISSED = 0  # truly positive, decided negative
    FALSE_ALARM = 1  # truly negative, decided positive
    OTHER_LABEL = 2  # the right side of the threshold: one positive label for another, or one negative for another


def kind_of(case: Case, positive_labels: Sequence[str]) -> Kind:
    """What went wrong with a misread image."""
    truly, decided = case.label in positive_labels, case.given in positive_labels
    if truly == decided:
        return Kind.OTHER_LABEL
    return Kind.MISSED if truly else Kind.FALSE_ALARM


def misread(cases: Sequence[Case], positive_labels: Sequence[str], threshold: float) -> list[Case]:
    """Those given another label than the true one: missed, false alarms, other labels; each farthest from right first.

    On the wrong side of the threshold the score tells how far; on the right one the two labels' probabilities do.
    """

    def place(case: Case) -> tuple[Kind, float]:
        kind = kind_of(case, positive_labels)
        far = abs(case.score - threshold)
        if kind is Kind.OTHER_LABEL and case.probabilities is not None:
            far = case.probabilities[case.given] - case.probabilities[case.label]
        return kind, -far

    return sorted((case for case in cases if case.given != case.label), key=place)
