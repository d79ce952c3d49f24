"""From probabilities to a decision."""

import numpy as np
import pytest
from contracts import POINT, make_contract
from hypothesis import given
from hypothesis import strategies as st

from cxr_edge.contract import Outputs
from cxr_edge.decide import decide, more_probable
from cxr_edge.errors import ModelError
from cxr_edge.info import describe


def _values(*probabilities: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.array(probabilities, np.float32)


def test_label_follows_the_operating_point_not_the_larger_probability() -> None:
    contract = make_contract()
    screening = contract.operating_points[1]
    verdict = decide(_values(0.8, 0.2), contract, screening)
    assert (verdict.positive, verdict.label) == (True, "PNEUMONIA")
    verdict = decide(_values(0.8, 0.2), contract, POINT)
    assert (verdict.positive, verdict.label) == (False, "NORMAL")


def test_score_sums_all_positive_labels() -> None:
    contract = make_contract(labels=("normal", "bacterial", "viral"), positive_labels=("bacterial", "viral"))
    verdict = decide(_values(0.4, 0.25, 0.35), contract, POINT)
    assert verdict.score == pytest.approx(0.6)
    assert (verdict.positive, verdict.label) == (True, "viral")


@given(st.floats(0, 1))
def test_label_and_decision_never_contradict(p: float) -> None:
    contract = make_contract()
    for point in contract.operating_points:
        verdict = decide(_values(1 - p, p), contract, point)
        assert (verdict.label in contract.positive_labels) == verdict.positive == (verdict.score >= point.threshold)


def test_the_label_given_need_not_be_the_most_probable_one() -> None:
    labels = ("NORMAL", "BACTERIAL", "VIRAL")
    contract = make_contract(labels=labels, positive_labels=labels[1:])
    for values, given_, most in (
        ((0.45, 0.3, 0.25), "BACTERIAL", "NORMAL"),
        ((0.33, 0.34, 0.33), "BACTERIAL", None),
        ((0.6, 0.25, 0.15), "NORMAL", None),
        ((0.5, 0.5, 0.0), "BACTERIAL", None),  # a tie: none is more probable
    ):
        verdict = decide(np.array(values, np.float32), contract, POINT)
        assert (verdict.label, more_probable(verdict.label, verdict.probabilities)) == (given_, most)


def test_temperature_softens_without_changing_the_order() -> None:
    outputs = Outputs(probabilities="probabilities", activation_map=None, features=None, temperature=2.0)
    contract = make_contract(outputs=outputs)
    verdict = decide(_values(0.1, 0.9), contract, POINT)
    assert verdict.score == pytest.approx(3 / (3 + 1), abs=1e-6)  # odds 9 become sqrt(9)


@pytest.mark.parametrize(("temperature", "told"), [(None, "none"), (0.97, "temperature 0.97")])
def test_info_says_whether_scores_are_calibrated(temperature: float | None, told: str) -> None:
    outputs = Outputs(probabilities="probabilities", activation_map=None, features=None, temperature=temperature)
    sections = dict(describe(make_contract(outputs=outputs), "0" * 64))
    assert dict(sections["labels"])["score calibration"] == told


@pytest.mark.parametrize("values", [(np.nan, 0.5), (np.inf, 0.0), (0.7, 0.7), (-0.1, 1.1), (0.0, 0.0)])
def test_refuses_what_is_no_distribution(values: tuple[float, ...]) -> None:
    with pytest.raises(ModelError, match="no probabilities"):
        decide(_values(*values), make_contract(), POINT)
