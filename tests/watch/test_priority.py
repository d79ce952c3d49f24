"""The service gives way to other programs, and so do its children."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from cxr_edge.watch.priority import be_nice

SCRIPT = """
import os, subprocess, sys
from cxr_edge.watch.priority import be_nice
os.nice({before})
be_nice()
child = subprocess.run([sys.executable, "-c", "import os; print(os.nice(0))"], capture_output=True, check=True)
print(os.nice(0), int(child.stdout))
"""


@pytest.mark.skipif(os.name != "posix", reason="niceness is POSIX's")
@pytest.mark.parametrize(("before", "after"), [(0, 10), (4, 10), (15, 15)])
def test_niceness_is_ten_at_least_and_inherited(before: int, after: int) -> None:
    if os.nice(0) > 0:
        pytest.skip("runs with a niceness already")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(before=before)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(after), str(after)]


def test_below_normal_on_windows() -> None:
    calls: list[tuple[object, int]] = []

    def current() -> int:
        return -1

    def set_class(handle: object, priority: int) -> int:
        calls.append((handle, priority))
        return 1

    be_nice(SimpleNamespace(GetCurrentProcess=current, SetPriorityClass=set_class))
    assert calls == [(-1, 0x4000)]
