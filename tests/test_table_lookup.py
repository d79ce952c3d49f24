"""One table entry for each pixel: the same by numpy and by OpenCV, whatever the layout."""

import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxr_edge.decode import table_lookup
from cxr_edge.decode.table_lookup import look_up

SHAPES = [(1, 1), (3, 5), (700, 900), (1500, 1501)]  # the last one is shared by threads


def pattern_table(entries: int) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    return np.random.Generator(np.random.PCG64(entries)).integers(0, 256, entries).astype(np.uint8)


@pytest.fixture(params=["numpy", "opencv"])
def road(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """By numpy alone, or as after many images."""
    monkeypatch.setattr(table_lookup, "_seen", 0)
    if request.param == "numpy":
        monkeypatch.delitem(sys.modules, "cv2", raising=False)
        monkeypatch.setattr(table_lookup, "PIXELS_WORTH_AN_IMPORT", 1 << 60)
    else:
        monkeypatch.setattr(table_lookup, "PIXELS_WORTH_AN_IMPORT", 0)
    return str(request.param)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["|u1", "<u2", ">u2"])
def test_every_pixel_gets_its_entry(road: str, shape: tuple[int, int], dtype: str) -> None:
    entries = 256 if dtype == "|u1" else 65536
    table = pattern_table(entries)
    patterns = np.random.Generator(np.random.PCG64(1)).integers(0, entries, shape).astype(dtype)
    for given_patterns in (patterns, patterns[:, ::2], patterns[::-1], np.asfortranarray(patterns)):
        found = look_up(table, given_patterns)
        assert np.array_equal(found, table[given_patterns]), road
        assert found.flags.c_contiguous
        assert found.dtype == np.uint8


@given(st.binary(min_size=2, max_size=400))
def test_read_only_memory_is_taken(content: bytes) -> None:
    patterns = np.frombuffer(content[: len(content) // 2 * 2], "<u2")
    table = pattern_table(65536)
    assert np.array_equal(look_up(table, patterns), table[patterns])


def test_opencv_is_imported_when_it_pays_and_not_before(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(table_lookup, "_seen", 0)
    monkeypatch.setattr(table_lookup, "PIXELS_WORTH_AN_IMPORT", 25_000)
    monkeypatch.delitem(sys.modules, "cv2", raising=False)
    for number in range(4):
        module = table_lookup._opencv(10_000)  # noqa: SLF001 - which road is taken shows nowhere else
        asked.append(number if module is not None else -1)
        if module is None:
            assert "cv2" not in sys.modules
    assert asked == [-1, -1, 2, 3]
