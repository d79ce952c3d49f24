"""Giving way to other programs."""

import contextlib
import os
import sys
from typing import Any

NICENESS = 10
BELOW_NORMAL_PRIORITY_CLASS = 0x4000  # winbase.h


def be_nice(kernel32: Any = None) -> None:  # noqa: ANN401 - a DLL
    """Lower this process's priority, and so that of the processes it starts from now on.

    Niceness 10 on POSIX, below-normal priority class on Windows (not tried there). Call it before threads are started:
    on Linux each has a niceness of its own. Where the system refuses, the priority stays as it was.
    https://learn.microsoft.com/en-us/windows/win32/api/processthreadsapi/nf-processthreadsapi-setpriorityclass
    """
    if sys.platform != "win32" and kernel32 is None:
        with contextlib.suppress(OSError):
            os.nice(max(0, NICENESS - os.nice(0)))  # a service manager may have lowered it already
        return
    import ctypes

    kernel32 = kernel32 or ctypes.WinDLL("kernel32")  # type: ignore[attr-defined, unused-ignore]
    kernel32.GetCurrentProcess.restype = ctypes.c_void_p  # the pseudo handle -1 must not be cut to 32 bits
    kernel32.SetPriorityClass.argtypes = [ctypes.c_void_p, ctypes.c_ulong]
    kernel32.SetPriorityClass(kernel32.GetCurrentProcess(), BELOW_NORMAL_PRIORITY_CLASS)
