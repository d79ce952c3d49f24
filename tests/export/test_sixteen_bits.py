"""It is said where 16 bits cost time in place of gaining some."""

import pytest

pytest.importorskip("keras")

from cxr_edge_export.training import sixteen_bits
from cxr_edge_export.training.sixteen_bits import describe_slow_16_bits, seconds_of_product


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
    seconds = {precision: ratio * 0.004, "float32": 0.004}
    monkeypatch.setattr(sixteen_bits, "seconds_of_product", seconds.__getitem__)
    words = describe_slow_16_bits(precision)
    assert words.startswith(said)
    assert bool(words) is bool(said)


def test_float32_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sixteen_bits, "seconds_of_product", {}.__getitem__)
    assert not describe_slow_16_bits("float32")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_product_takes_time(dtype: str) -> None:
    assert 0 < seconds_of_product(dtype) < 600
