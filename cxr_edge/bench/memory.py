"""The largest resident memory that this process ever had."""

import re
import sys
from pathlib import Path

STATUS = Path("/proc/self/status")


def peak_memory() -> tuple[int, str]:
    """Bytes, and the source: `VmHWM` (Linux), `ru_maxrss` (other POSIX) or `PeakWorkingSetSize` (Windows).

    Linux's own ru_maxrss would start at the peak of the process that started this one.
    """
    if sys.platform == "win32":
        return _peak_working_set(), "PeakWorkingSetSize"
    if match := re.search(r"^VmHWM:\s+(\d+) kB$", _status(), flags=re.MULTILINE):
        return int(match[1]) * 1024, "VmHWM"
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, the others KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit, "ru_maxrss"


def _status() -> str:
    try:
        return STATUS.read_text(encoding="ascii", errors="replace")
    except OSError:  # Linux alone has one
        return ""


if sys.platform == "win32":  # not tried on Windows so far

    def _peak_working_set() -> int:
        """PROCESS_MEMORY_COUNTERS, https://learn.microsoft.com/windows/win32/api/psapi/."""
        import ctypes
        from ctypes import wintypes
        from typing import ClassVar

        class Counters(ctypes.Structure):
            _fields_: ClassVar = [
                ("cb", wintypes.DWORD),
                ("PageFaultCount", wintypes.DWORD),
                ("PeakWorkingSetSize", ctypes.c_size_t),
                ("others", ctypes.c_size_t * 7),
            ]

        counters = Counters(cb=ctypes.sizeof(Counters))
        kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
        kernel32.GetCurrentProcess.restype = wintypes.HANDLE
        information = kernel32.K32GetProcessMemoryInfo
        information.argtypes = (wintypes.HANDLE, ctypes.POINTER(Counters), wintypes.DWORD)
        if not information(kernel32.GetCurrentProcess(), ctypes.byref(counters), counters.cb):
            raise ctypes.WinError(ctypes.get_last_error())
        return int(counters.PeakWorkingSetSize)
