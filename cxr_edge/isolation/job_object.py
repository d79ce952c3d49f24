"""Windows: a job object that limits a process's memory and ends it with its parent. Not tried on Windows so far.

https://learn.microsoft.com/en-us/windows/win32/api/winnt/ns-winnt-jobobject_extended_limit_information
"""

import ctypes
from typing import Any, ClassVar

DIE_ON_UNHANDLED_EXCEPTION = 0x400  # a crash must not wait for somebody to close a window
PROCESS_MEMORY = 0x100
KILL_ON_JOB_CLOSE = 0x2000  # the system closes the parent's handles, however the parent ends
EXTENDED_LIMIT_INFORMATION = 9
NAME = "job object"


class _BasicLimits(ctypes.Structure):
    _fields_: ClassVar = [
        ("PerProcessUserTimeLimit", ctypes.c_int64),
        ("PerJobUserTimeLimit", ctypes.c_int64),
        ("LimitFlags", ctypes.c_uint32),
        ("MinimumWorkingSetSize", ctypes.c_size_t),
        ("MaximumWorkingSetSize", ctypes.c_size_t),
        ("ActiveProcessLimit", ctypes.c_uint32),
        ("Affinity", ctypes.c_size_t),
        ("PriorityClass", ctypes.c_uint32),
        ("SchedulingClass", ctypes.c_uint32),
    ]


class ExtendedLimits(ctypes.Structure):
    """JOBOBJECT_EXTENDED_LIMIT_INFORMATION."""

    _fields_: ClassVar = [
        ("BasicLimitInformation", _BasicLimits),
        ("IoInfo", ctypes.c_uint64 * 6),
        ("ProcessMemoryLimit", ctypes.c_size_t),
        ("JobMemoryLimit", ctypes.c_size_t),
        ("PeakProcessMemoryUsed", ctypes.c_size_t),
        ("PeakJobMemoryUsed", ctypes.c_size_t),
    ]


class JobObject:
    """One job for one process; closing it ends the process."""

    def __init__(self, process_handle: int, memory_bytes: int, kernel32: Any = None) -> None:  # noqa: ANN401 - a DLL
        """Put a process into a job of its own.

        Raises:
            OSError: Windows refuses.
        """
        self._kernel32 = kernel32 or _kernel32()
        self._handle = self._kernel32.CreateJobObjectW(None, None)
        if not self._handle:
            raise self._failure()
        try:
            self._fill(process_handle, memory_bytes)
        except OSError:
            self.close()
            raise

    def _fill(self, process_handle: int, memory_bytes: int) -> None:
        limits = ExtendedLimits()
        limits.BasicLimitInformation.LimitFlags = PROCESS_MEMORY | KILL_ON_JOB_CLOSE | DIE_ON_UNHANDLED_EXCEPTION
        limits.ProcessMemoryLimit = memory_bytes
        size = ctypes.sizeof(limits)
        of_limits = self._handle, EXTENDED_LIMIT_INFORMATION, ctypes.byref(limits), size
        if not self._kernel32.SetInformationJobObject(*of_limits):
            raise self._failure()
        if not self._kernel32.AssignProcessToJobObject(self._handle, process_handle):
            raise self._failure()

    def close(self) -> None:
        """Close the job, which ends its process."""
        if self._handle:
            self._kernel32.CloseHandle(self._handle)
            self._handle = None

    def _failure(self) -> OSError:
        code = getattr(ctypes, "get_last_error", lambda: 0)()  # only Windows has it
        return OSError(code, f"no job object, Windows error {code}")


def _kernel32() -> Any:  # noqa: ANN401 - a DLL
    kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)  # type: ignore[attr-defined,unused-ignore]  # Windows
    kernel32.CreateJobObjectW.restype = ctypes.c_void_p
    kernel32.CreateJobObjectW.argtypes = [ctypes.c_void_p, ctypes.c_wchar_p]
    pointer, number = ctypes.c_void_p, ctypes.c_uint32
    kernel32.SetInformationJobObject.argtypes = [pointer, ctypes.c_int, pointer, number]
    kernel32.AssignProcessToJobObject.argtypes = [pointer, pointer]
    kernel32.CloseHandle.argtypes = [pointer]
    return kernel32
