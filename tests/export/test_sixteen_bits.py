"""It is said where 16 bits cost time in place of gaining some."""

import itertools

import numpy as np
import pytest

pytest.importorskip("keras")

from cxr_edge_export.training import sixteen_bits
from cxr_edge_export.training.sixteen_bits import describe_slow_16_bits, times_as_long


@pytest.mark.parametrize(
    ("precision", "ratio", "said"),
    [
        ("bfloat16", 8.0, "training.precision is bfloat16, and a product of matrices takes 8.0 times as long"),
        ("float16", 1.6, "training.precision is float16, and a product of matrices takes 1.6 times as long"),
        ("bfloat16", 1.4, ""),
        ("bfloat16", 0.5, ""),
    ],
)
def test_slow_16_bits_are_told(monkeypatch: pytest.MonkeyPatch, precision: str, ratio: float, said: str) -> None:
    monkeypatch.setattr(sixteen_bits, "times_as_long", {precision: ratio}.__getitem__)
    words = describe_slow_16_bits(precision)
    assert words.startswith(said)
    assert bool(words) is bool(said)


def test_float32_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sixteen_bits, "times_as_long", {}.__getitem__)
    assert not describe_slow_16_bits("float32")


def test_the_quickest_of_each_counts_but_for_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    done = list[str]()
    monkeypatch.setattr(sixteen_bits, "products_in", lambda dtype: lambda: done.append(dtype))
    # begin, end of float16, begin, end of float32, and so on: the first round is the quickest, and sets up
    lasting = [(0.1, 0.1), *itertools.repeat((9.0, 2.0), sixteen_bits.ROUNDS - 2), (3.0, 1.0)]
    moments = iter([moment for pair in lasting for seconds in pair for moment in (0.0, seconds)])
    monkeypatch.setattr(sixteen_bits, "perf_counter", lambda: next(moments))
    assert times_as_long("float16") == 3.0
    assert done == ["float16", "float32"] * sixteen_bits.ROUNDS


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_products_are_computed(dtype: str) -> None:
    found = np.asarray(sixteen_bits.products_in(dtype)())
    assert found == pytest.approx(2 / sixteen_bits.SIDE / 2, rel=0.2)  # as the matrices' own mean
    assert np.isfinite(times_as_long(dtype))
