"""Temperature and threshold fitted on shifted rows."""

import numpy as np
import pytest

from cxr_edge.decide import calibrate
from cxr_edge_export.shifted_choice import choose

POSITIVE = np.array([False, True])


def binary(scores: np.ndarray) -> np.ndarray:
    return np.stack([1 - scores, scores], axis=1)


def overconfident(temperature: float, n: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from calibrated probabilities, and the same made so many times too sure."""
    draw = np.random.Generator(np.random.PCG64(3))
    true = draw.uniform(0.02, 0.98, n)
    truth = (draw.random(n) < true).astype(np.int64)
    return calibrate(binary(true), 1 / temperature), truth


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_a_temperature_that_was_wrong_is_found(temperature: float) -> None:
    probabilities, truth = overconfident(temperature)
    choice = choose(probabilities, truth, POSITIVE, {"all": np.arange(len(truth))}, None)
    assert choice.temperature == pytest.approx(temperature, rel=0.12)
    assert choice.cross_entropy <= choice.cross_entropy_now
    again = choose(calibrate(probabilities, 2.0), truth, POSITIVE, {"all": np.arange(len(truth))}, 2.0)
    assert again.temperature == pytest.approx(choice.temperature, rel=0.03)  # in the place of the file's, not on top


def test_the_threshold_serves_the_worst_row() -> None:
    """One row reads all images as sicker, one as healthier; only a threshold between their gaps holds for both."""
    truth = np.array([0, 0, 1, 1] * 2)
    scores = np.array([0.05, 0.2, 0.5, 0.6, 0.3, 0.4, 0.8, 0.9])
    rows = {"healthier": np.arange(4), "sicker": np.arange(4, 8), "one side": np.array([0, 1])}
    choice = choose(binary(scores), truth, POSITIVE, rows, None)
    at = calibrate(binary(scores), choice.temperature)[:, 1]
    assert choice.threshold is not None
    assert at[5] < choice.threshold <= at[2]
    assert choice.lowest == 1.0
    scores[2] = 0.1
    choice = choose(binary(scores), truth, POSITIVE, rows, None)
    assert (choice.lowest, choice.lowest_row) == (0.5, "healthier")


def test_labels_that_share_the_positive_side() -> None:
    probabilities = np.array([[0.8, 0.1, 0.1], [0.3, 0.4, 0.3], [0.2, 0.2, 0.6]])
    choice = choose(probabilities, np.array([0, 1, 2]), np.array([False, True, True]), {"all": np.arange(3)}, None)
    assert choice.lowest == 1.0


def test_no_row_with_two_sides() -> None:
    choice = choose(binary(np.array([0.7, 0.8])), np.array([1, 1]), POSITIVE, {"all": np.arange(2)}, None)
    assert (choice.threshold, choice.lowest, choice.lowest_row) == (None, None, None)


def test_scores_that_only_far_digits_tell_apart() -> None:
    """Such a temperature leaves scores of nearly 0 and nearly 1; a threshold of 1 would find nobody."""
    scores = np.concatenate([np.linspace(0.04, 0.06, 20), np.linspace(0.94, 0.96, 20)])
    truth = np.repeat([0, 1], 20)
    choice = choose(binary(scores), truth, POSITIVE, {"all": np.arange(40)}, None)
    assert choice.lowest == 1.0
    assert choice.threshold is not None
    assert 0 < choice.threshold < 1


def test_one_score_for_all_parts_nothing() -> None:
    choice = choose(binary(np.full(4, 0.5)), np.array([0, 0, 1, 1]), POSITIVE, {"all": np.arange(4)}, None)
    assert choice.threshold is None
