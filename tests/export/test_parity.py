"""Figures of the certificate, against values worked out by hand or by brute force."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from contracts import COMPARISON

pytest.importorskip("cxr_edge_export", reason="needs the workbench: pip install ./export")

from cxr_edge.contract import Flips, Limits
from cxr_edge.decide import read_at
from cxr_edge.errors import LimitBroken, UsageError
from cxr_edge.metrics import auc_interval, wilson_interval
from cxr_edge.types import Interval, OperatingPoint
from cxr_edge_export.operating_points import choose
from cxr_edge_export.parity import Rules, Scores, check_limits, compare, scores
from cxr_edge_export.recipe import OperatingPointRule

if TYPE_CHECKING:
    from numpy.typing import NDArray

RULES = Rules(
    points=(
        OperatingPoint(
            name="standard",
            threshold=0.5,
            sensitivity=Interval(1, 1, 1),
            specificity=Interval(1, 1, 1),
            data="x",
            how_chosen="fixed",
        ),
    ),
    default="standard",
    positive_columns=(1,),
)


def scored(values: list[float]) -> Scores:
    positive = np.array(values)
    return Scores(probabilities=np.stack([1 - positive, positive], axis=1).astype(np.float32), positive=positive)


def test_compare_counts_flips_by_direction() -> None:
    before, after = scored([0.1, 0.6, 0.4, 0.5, 0.9]), scored([0.1, 0.4, 0.5, 0.5, 0.8])
    found = compare(("x", "ab" * 32), np.array([0, 1, 0, 1, 1]), (before, after), RULES)
    assert found.flips == (Flips(operating_point="standard", positive_to_negative=1, negative_to_positive=1),)
    assert found.agreement == pytest.approx(0.6)
    assert found.abs_delta_max == pytest.approx(0.2)
    assert found.auc_reference is not None
    assert found.auc_exported is not None
    assert found.auc_reference.estimate == 1.0
    assert found.auc_exported.estimate == pytest.approx(4.5 / 6)
    assert found.accuracy_reference == 0.8


def test_intervals_draw_patients() -> None:
    rng = np.random.Generator(np.random.PCG64(1))
    truth = np.arange(80) // 4 % 2
    given = scored((truth * 0.3 + np.repeat(rng.uniform(0, 0.6, 20), 4)).tolist())
    patients = np.arange(80) // 4
    before, after = (interval(truth, given, groups) for groups in (None, patients))
    assert before.estimate == after.estimate
    assert after == auc_interval(truth == 1, given.positive, patients)
    assert after.high - after.low > 1.3 * (before.high - before.low)


def interval(truth: "NDArray[np.int64]", given: Scores, groups: "NDArray[np.int64] | None") -> Interval:
    found = compare(("x", "ab" * 32), truth, (given, given), RULES, groups)
    assert found.auc_exported is not None
    return found.auc_exported


def test_limits_hold() -> None:
    check_limits(COMPARISON, COMPARISON, Limits())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"auc_exported": Interval(0.987, 0.98, 1.0)}, "AUC dropped by 0.00300"),
        ({"auc_exported": Interval(float("nan"), 0.98, 1.0)}, "AUC dropped by nan"),
        ({"accuracy_exported": 0.93}, "accuracy is 0.9789 of the original's"),
        ({"images": 1999}, "measured on 1999 images"),
        ({"flips": (Flips(operating_point="p", positive_to_negative=5, negative_to_positive=0),)}, "5 of 2000 images"),
    ],
)
def test_broken_limits(changes: dict[str, object], words: str) -> None:
    broken = replace(COMPARISON, **changes)  # type: ignore[arg-type]
    with pytest.raises(LimitBroken, match=words):
        check_limits(broken, broken, Limits())


def test_flips_towards_positive_break_nothing() -> None:
    flips = (Flips(operating_point="p", positive_to_negative=0, negative_to_positive=500),)
    check_limits(COMPARISON, replace(COMPARISON, flips=flips), Limits())


POSITIVE = np.array([False, False, False, True, True, True, True])
SCORE = np.array([0.1, 0.2, 0.6, 0.3, 0.5, 0.7, 0.9])


@pytest.mark.parametrize(
    ("rule", "value", "threshold", "sensitivity", "specificity"),
    [
        ("fixed", 0.55, 0.55, 2 / 4, 2 / 3),
        ("youden", None, 0.25, 4 / 4, 2 / 3),
        ("sensitivity", 0.75, 0.4, 3 / 4, 2 / 3),
        ("sensitivity", 0.76, 0.25, 4 / 4, 2 / 3),
    ],
)
def test_operating_points(
    rule: str, value: float | None, threshold: float, sensitivity: float, specificity: float
) -> None:
    given = OperatingPointRule(name="p", rule=rule, value=value)  # type: ignore[arg-type]
    chosen = choose(given, POSITIVE, (SCORE, SCORE), "these")
    assert chosen.threshold == pytest.approx(threshold)
    assert chosen.sensitivity.estimate == pytest.approx(sensitivity)
    assert chosen.specificity.estimate == pytest.approx(specificity)


def test_thresholds_are_chosen_on_keras_and_measured_on_the_file() -> None:
    given = OperatingPointRule(name="p", rule="youden")
    plain, shifted = (choose(given, POSITIVE, (SCORE, SCORE * factor), "these") for factor in (1, 0.1))
    assert shifted.threshold == plain.threshold
    assert (shifted.sensitivity.estimate, shifted.specificity.estimate) == (0, 1)


def test_p99_is_the_99th_percentile() -> None:
    before = np.full((1000, 2), 0.5, np.float32)
    after = before + np.linspace(0, 0.1, 1000, dtype=np.float32)[:, None] * np.array([-1, 1], np.float32)
    point = choose(OperatingPointRule(name="p", rule="fixed", value=0.9), POSITIVE, (SCORE, SCORE), "these")
    rules = Rules(points=(point,), default="p", positive_columns=(1,))
    part = compare(
        ("these", "ab" * 32),
        np.arange(1000) % 2,
        (scores(before, ("A", "B"), ("B",)), scores(after, ("A", "B"), ("B",))),
        rules,
    )
    assert part.abs_delta_p99 == pytest.approx(0.099, abs=1e-4)
    assert part.abs_delta_p50 == pytest.approx(0.05, abs=1e-4)


def test_operating_points_need_both_classes() -> None:
    with pytest.raises(UsageError, match="one class"):
        choose(OperatingPointRule(name="p", rule="youden"), np.ones(3, bool), (np.ones(3) / 2, np.ones(3) / 2), "these")


THREE = ("N", "B", "V")


def test_labels_are_those_that_the_runtime_gives() -> None:
    rng = np.random.Generator(np.random.PCG64(5))
    before = rng.dirichlet((0.7, 0.7, 0.7), 400)
    after = before + rng.uniform(-0.1, 0.1, before.shape)
    after = np.clip(after, 0.001, None)
    after /= after.sum(axis=1, keepdims=True)
    truth = rng.integers(0, 3, 400)
    points = (*RULES.points, replace(RULES.points[0], name="screening", threshold=0.2))
    rules = Rules(points=points, default="standard", positive_columns=(1, 2))
    both = tuple(scores(part.astype(np.float32), THREE, THREE[1:]) for part in (before, after))
    found = compare(("x", "ab" * 32), truth, (both[0], both[1]), rules)
    for point, given in zip(points, found.labels, strict=True):
        verdicts = [[read_at(point, named(row), THREE[1:]) for row in part.probabilities] for part in both]
        changed = sum(a.positive == b.positive and a.label != b.label for a, b in zip(*verdicts, strict=True))
        assert (given.operating_point, given.changed) == (point.name, changed)
        assert changed > 0
        counted = [[0] * 3 for _ in THREE]
        for true, verdict in zip(truth, verdicts[1], strict=True):
            counted[true][THREE.index(verdict.label)] += 1
        assert [list(row) for row in given.confusion] == counted
        right = sum(counted[i][i] for i in range(3))
        assert given.accuracy == wilson_interval(right, 400)


def named(row: "NDArray[np.float32]") -> dict[str, float]:
    return {label: float(value) for label, value in zip(THREE, row, strict=True)}


def test_of_two_labels_positive_or_negative_says_all() -> None:
    found = compare(("x", "ab" * 32), np.array([0, 1]), (scored([0.1, 0.6]), scored([0.1, 0.6])), RULES)
    assert found.labels == ()
