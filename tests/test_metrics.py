"""Figures of merit, against scikit-learn, against values worked out by hand, and where they are not defined."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cxr_edge import metrics
from cxr_edge.errors import UsageError
from cxr_edge.types import Interval


@pytest.fixture(scope="module")
def sklearn() -> Any:
    return pytest.importorskip("sklearn.metrics", reason="needs scikit-learn, of the test extra")


Rows = list[tuple[bool, int]]
ROWS = st.lists(st.tuples(st.booleans(), st.integers(0, 20)), min_size=1, max_size=60)


def _arrays(rows: Rows) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    return np.array([row[0] for row in rows]), np.array([row[1] / 20 for row in rows])


def _has_both(positive: NDArray[np.bool_]) -> bool:
    return bool(positive.any()) and not bool(positive.all())


@given(ROWS)
def test_ranking_figures_agree_with_scikit_learn(sklearn: Any, rows: Rows) -> None:
    positive, score = _arrays(rows)
    if not _has_both(positive):
        assert math.isnan(metrics.auc(positive, score))
        assert math.isnan(metrics.average_precision(positive, score))
        assert metrics.roc_curve(positive, score) is None
        assert metrics.precision_recall_curve(positive, score) is None
        return
    assert metrics.auc(positive, score) == pytest.approx(sklearn.roc_auc_score(positive, score))
    assert metrics.average_precision(positive, score) == pytest.approx(sklearn.average_precision_score(positive, score))
    roc, (x, y, _) = metrics.roc_curve(positive, score), sklearn.roc_curve(positive, score, drop_intermediate=False)
    assert roc is not None
    corners, all_points = (
        {tuple(point) for point in np.column_stack(axes).round(9).tolist()} for axes in ((roc.x, roc.y), (x, y))
    )
    assert corners <= all_points
    assert sklearn.auc(roc.x, roc.y) == pytest.approx(sklearn.auc(x, y))
    curve, (precision, recall, _) = (
        metrics.precision_recall_curve(positive, score),
        sklearn.precision_recall_curve(positive, score),
    )
    assert curve is not None
    assert np.allclose(curve.x, recall[:-1][::-1])
    assert np.allclose(curve.y, precision[:-1][::-1])


@given(ROWS)
def test_calibration_figures_agree_with_scikit_learn(sklearn: Any, rows: Rows) -> None:
    positive, score = _arrays(rows)
    expected = sklearn.brier_score_loss(positive, score, labels=[False, True])
    assert metrics.brier_score(positive, score) == pytest.approx(expected)
    bins = metrics.reliability(positive, score)
    assert sum(part.count for part in bins) == score.size
    by_hand = 0.0
    for part in bins:
        inside = (score >= part.low) & ((score < part.high) | (part.high == 1))
        assert part.count == inside.sum()
        if part.count:
            assert part.mean_score == pytest.approx(score[inside].mean())
            by_hand += part.count / score.size * abs(score[inside].mean() - positive[inside].mean())
        else:
            assert (part.mean_score, part.positives) == (None, None)
    assert metrics.expected_calibration_error(bins) == pytest.approx(by_hand)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=50))
def test_label_figures_agree_with_scikit_learn(sklearn: Any, rows: list[tuple[int, int]]) -> None:
    truth, given_ = (np.array(column) for column in zip(*rows, strict=True))
    matrix = metrics.confusion_matrix(truth, given_, 3)
    assert (matrix == sklearn.confusion_matrix(truth, given_, labels=[0, 1, 2])).all()
    expected = sklearn.precision_recall_fscore_support(truth, given_, labels=[0, 1, 2], zero_division=np.nan)
    for figures, precision, recall, f1, support in zip(metrics.class_figures(matrix, "abc"), *expected, strict=True):
        assert figures.support == support
        for interval, value in ((figures.precision, precision), (figures.recall, recall)):
            assert (interval is None) == np.isnan(value)
            assert interval is None or interval.estimate == pytest.approx(value)
        assert (figures.f1 is None) == np.isnan(f1)
        assert figures.f1 is None or figures.f1 == pytest.approx(f1)
    balanced = metrics.macro_recall(truth, given_, 3)
    if len(set(truth.tolist())) == 3:
        assert balanced == pytest.approx(sklearn.balanced_accuracy_score(truth, given_))
    else:
        assert math.isnan(balanced)


@given(ROWS, st.integers(0, 20))
def test_counts_agree_with_scikit_learn(sklearn: Any, rows: Rows, step: int) -> None:
    positive, score = _arrays(rows)
    counts = metrics.count_at(step / 20, positive, score)
    matrix = sklearn.confusion_matrix(positive, score >= step / 20, labels=[False, True])
    found = [[counts.true_negative, counts.false_positive], [counts.false_negative, counts.true_positive]]
    assert (matrix == found).all()
    assert counts.total == len(rows)
    assert (counts.sensitivity is None) == (not positive.any())
    assert (counts.specificity is None) == bool(positive.all())


def test_wilson_interval() -> None:
    # Newcombe, Statistics in Medicine 1998, table I: 81 of 263 and 0 of 20
    many, none = metrics.wilson_interval(81, 263), metrics.wilson_interval(0, 20)
    assert (round(many.low, 4), round(many.high, 4)) == (0.2553, 0.3662)
    assert (round(none.low, 4), round(none.high, 4)) == (0.0, 0.1611)
    assert metrics.wilson_interval(20, 20).high == 1.0
    assert metrics.wilson_interval(0, 0) == Interval(0.0, 0.0, 1.0)
    assert metrics.share(0, 0) is None


@pytest.mark.parametrize("groups", [[0, 0, 0, 1, 1, 2], [0, 1, 2, 3, 3, 3]])
def test_one_patient_of_a_side_says_nothing_of_others(groups: list[int]) -> None:
    truth = np.array([0, 0, 0, 1, 1, 1], np.bool_)
    score = np.array([0.1, 0.4, 0.6, 0.5, 0.7, 0.9])
    interval = metrics.bootstrap_interval(lambda w: metrics.auc(truth, score, w), truth, np.array(groups))
    assert interval == Interval(metrics.auc(truth, score, np.ones(6, np.int64)), 0.0, 1.0)
    for of, known in ((groups, True), ([0] * 6, False)):
        brier = metrics.bootstrap_interval(
            lambda w: metrics.brier_score(truth, score, w), truth, np.array(of), of_both_sides=False
        )
        assert brier is not None
        assert (brier.high < 1) == known


def test_auc_interval_holds_the_estimate() -> None:
    rng = np.random.Generator(np.random.PCG64(4))
    truth = np.arange(200) < 80
    interval = metrics.auc_interval(truth, rng.normal(size=200) + truth)
    assert interval is not None
    assert 0.6 < interval.low < interval.estimate < interval.high < 0.9


def test_weights_count_an_image_as_often() -> None:
    rng = np.random.Generator(np.random.PCG64(1))
    truth, score, weights = rng.random(40) < 0.5, rng.random(40).round(1), rng.integers(0, 4, 40)
    often = np.repeat(np.arange(40), weights)
    for figure in (metrics.auc, metrics.average_precision, metrics.brier_score):
        assert figure(truth, score, weights) == pytest.approx(figure(truth[often], score[often]))
    given_ = (score > 0.5).astype(np.int64)
    weighted = metrics.macro_recall(truth.astype(np.int64), given_, 2, weights)
    assert weighted == pytest.approx(metrics.macro_recall(truth[often].astype(np.int64), given_[often], 2))


def test_patients_drawn_whole_give_a_wider_interval() -> None:
    rng = np.random.Generator(np.random.PCG64(2))
    truth = np.arange(60) < 30
    score = rng.normal(size=60) + truth
    patients = np.repeat(np.arange(60), 10)  # ten copies of each image tell nothing new
    alone = metrics.auc_interval(truth, score)
    copied = metrics.auc_interval(np.repeat(truth, 10), np.repeat(score, 10))
    order = rng.permutation(600)
    together = metrics.auc_interval(np.repeat(truth, 10)[order], np.repeat(score, 10)[order], patients[order])
    assert alone is not None
    assert copied is not None
    assert together is not None
    assert together == alone
    assert copied.high - copied.low < 0.5 * (together.high - together.low)


def test_the_same_data_give_the_same_interval() -> None:
    truth, score = np.arange(30) < 12, np.sin(np.arange(30.0)) + (np.arange(30) < 12)
    assert metrics.auc_interval(truth, score) == metrics.auc_interval(truth, score)


@pytest.mark.parametrize("size", [0, 1, 3])
def test_one_class_alone_defines_no_ranking(size: int) -> None:
    truth, score = np.ones(size, np.bool_), np.full(size, 0.5)
    assert metrics.auc_interval(truth, score) is None
    assert math.isnan(metrics.average_precision(truth, score))
    assert metrics.count_at(0.5, truth, score).specificity is None
    assert sum(part.count for part in metrics.reliability(truth, score)) == size
    assert math.isnan(metrics.brier_score(truth, score)) == (size == 0)
    with pytest.raises(UsageError, match="one class"):
        metrics.choose_threshold("youden", truth, score)


@settings(max_examples=200)
@given(ROWS, st.sampled_from(["sensitivity", "specificity"]), st.sampled_from([0.5, 0.8, 0.95, 1.0]))
def test_chosen_thresholds_keep_the_promise_and_no_better_one_does(
    rows: Rows, rule: metrics.ThresholdRule, value: float
) -> None:
    positive, score = _arrays(rows)
    if not _has_both(positive):
        return
    try:
        threshold = metrics.choose_threshold(rule, positive, score, value)
    except UsageError:
        reached = score[positive].min() if rule == "sensitivity" else score[~positive].max()
        assert reached in (0, 1)  # only a threshold of 0, or above 1, would do
        return

    def kept(candidate: float) -> float:
        counts = metrics.count_at(candidate, positive, score)
        figure = counts.sensitivity if rule == "sensitivity" else counts.specificity
        assert figure is not None
        return figure.estimate

    assert kept(threshold) >= value
    better = [s for s in np.unique(score) if (s > threshold if rule == "sensitivity" else s < threshold)]
    # a threshold on the other side of any score decides it differently
    others = [s if rule == "sensitivity" else s - 1e-9 for s in better]
    assert all(
        kept(other) < value or metrics.count_at(other, positive, score) == metrics.count_at(threshold, positive, score)
        for other in others
    )


def test_youden_takes_the_highest_of_equals() -> None:
    positive = np.array([False, True, False, True])
    assert metrics.choose_threshold("youden", positive, np.array([0.2, 0.4, 0.6, 0.8])) == pytest.approx(0.7)


def test_patients() -> None:
    together = metrics.by_patient(
        ["a", None, "b", "a", None, "c"],
        np.array([True, False, False, False, True, False]),
        np.array([0.2, 0.3, 0.1, 0.9, 0.4, 0.5]),
    )
    assert together.groups.tolist() == [0, 1, 2, 0, 3, 4]
    assert together.positive.tolist() == [True, False, False, True, False]
    assert together.score.tolist() == [0.9, 0.3, 0.1, 0.4, 0.5]
    assert together.conflicts == (0,)


@given(ROWS, st.floats(0.05, 50))
def test_cost_rule_finds_the_cheapest_threshold(rows: Rows, ratio: float) -> None:
    positive, score = _arrays(rows)
    if not _has_both(positive) or score.min() == 0:
        return

    def cost(threshold: float) -> float:
        counts = metrics.count_at(threshold, positive, score)
        return float(ratio * counts.false_negative / positive.sum() + counts.false_positive / (~positive).sum())

    try:
        chosen = metrics.choose_threshold("cost", positive, score, ratio)
    except UsageError:  # cheapest with everything positive, below a score of 0, or nothing, above 1
        return
    levels = np.unique(score)
    between = [(a + b) / 2 for a, b in itertools.pairwise(levels)]
    assert cost(chosen) <= min([cost(level) for level in between], default=math.inf) + 1e-9


def test_youden_is_the_cost_rule_at_equal_costs() -> None:
    generator = np.random.Generator(np.random.PCG64(3))
    positive = generator.random(200) < 0.4
    score = np.clip(generator.normal(0.4 + 0.2 * positive, 0.15), 0.01, 0.99)
    assert metrics.choose_threshold("cost", positive, score, 1.0) == metrics.choose_threshold("youden", positive, score)
    thresholds = [metrics.choose_threshold("cost", positive, score, ratio) for ratio in (0.1, 1.0, 10.0)]
    assert thresholds == sorted(thresholds, reverse=True)
