"""Freed memory goes back to the system: now and then, and only where there is something to call."""

import subprocess
import sys

import pytest

from cxr_edge import heap

SCRIPT = """
import re, pathlib
from cxr_edge.heap import IMAGES_BETWEEN, give_back_now_and_then
def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])
# pieces below glibc's mmap threshold, every other one of which is kept: the free ones cannot go back by themselves
pieces = [bytearray(100_000) for _ in range(1000)]
kept = pieces[::2]
del pieces
before = resident()
give_back_now_and_then(IMAGES_BETWEEN - 1)
between = resident()
give_back_now_and_then(IMAGES_BETWEEN)
print(before, between, resident())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc keeps freed memory so")
def test_freed_memory_goes_back() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    before, between, after = map(int, done.stdout.split())
    assert between >= before - 1000
    assert after < before - 30_000, "half of 100 MB was free"  # in kB


def test_elsewhere_nothing_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    heap._trimmer.cache_clear()  # noqa: SLF001 - which function it found is kept for the process
    monkeypatch.setattr(sys, "platform", "win32")
    try:
        heap.give_back_now_and_then(heap.IMAGES_BETWEEN)
    finally:
        heap._trimmer.cache_clear()  # noqa: SLF001 - as above
