"""Limits of a process, and platforms."""

import ctypes
import queue
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from isolating import LINUX, ONE, in_child, instead, limit_of, pids_of

import cxr_edge
from cxr_edge import doctor
from cxr_edge.isolation import child as child_module
from cxr_edge.isolation import command as command_module
from cxr_edge.isolation.child import Child
from cxr_edge.isolation.job_object import ExtendedLimits, JobObject
from cxr_edge.isolation.limits import LEAST_MEMORY_BYTES, limit_own_memory
from cxr_edge.isolation.pool import Pool


@pytest.mark.parametrize(
    "wrong",
    [{"seconds": value} for value in (0, -1, float("nan"), float("inf"), 1e10, 86_401, True, "60", None)]
    + [{"memory_bytes": value} for value in (1, 2**44 + 1, 2**63, 2**70, 2.5e9, True, None)]
    + [{"processes": value} for value in (0, 65, 10**6, 1.0, True)],
)
def test_limits_that_are_none(wrong: Any) -> None:
    with pytest.raises(cxr_edge.UsageError):
        cxr_edge.IsolationLimits(**wrong)


@LINUX
def test_a_process_is_limited_and_dumps_no_core(pool: Pool) -> None:
    assert limit_of(pool) == "RLIMIT_DATA"
    text = Path(f"/proc/{pids_of(pool)[0]}/limits").read_text(encoding="utf-8")
    found = dict(re.findall(r"^(Max data size|Max core file size) +(\d+)", text, re.MULTILINE))
    assert found == {"Max data size": str(ONE.memory_bytes), "Max core file size": "0"}


def test_doctor_tells() -> None:
    facts = doctor.examine().facts["isolation"]
    assert facts["memory limit"]
    assert facts["a process starts in"].endswith(" s")


def test_a_memory_limit_that_fails_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_module, "_job_of", lambda *_: (None, "none: no job object, Windows error 5"))
    in_child(monkeypatch, "worker.limit_own_memory = lambda _: 'none'")
    assert any("Windows error 5" in warning for warning in doctor.examine().warnings)


def test_windows_starts_the_base_interpreter_without_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    assert command_module.creation() == {} or sys.platform == "win32"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(sys, "executable", "venv\\python.exe")
    monkeypatch.setattr(sys, "_base_executable", "python.exe", raising=False)
    assert command_module.command(7)[0] == "python.exe"
    assert command_module.environment()["__PYVENV_LAUNCHER__"] == "venv\\python.exe"
    assert command_module.creation() == {"creationflags": 0x0800_0000 | 0x200}
    assert limit_own_memory(7) == "none"


class _Kernel32:
    """What `JobObject` asks of Windows; `fails` names the call that refuses."""

    def __init__(self, fails: str = "") -> None:
        self.fails, self.calls, self.limits = fails, [], ExtendedLimits()  # type: ignore[var-annotated]

    def __getattr__(self, name: str) -> Callable[..., int]:
        def call(*arguments: Any) -> int:
            self.calls.append((name, arguments))
            if name == "SetInformationJobObject":
                self.limits = ExtendedLimits.from_buffer_copy(arguments[2]._obj)  # noqa: SLF001
            return 0 if name == self.fails else 42

        return call


def test_a_job_object_is_filled_as_windows_wants_it() -> None:
    kernel32 = _Kernel32()
    job = JobObject(7, 2 << 30, kernel32)
    assert [name for name, _ in kernel32.calls] == [
        "CreateJobObjectW",
        "SetInformationJobObject",
        "AssignProcessToJobObject",
    ]
    assert kernel32.calls[1][1][1] == 9
    assert kernel32.calls[1][1][3] == ctypes.sizeof(ExtendedLimits) == (144 if sys.maxsize > 2**32 else 112)
    assert kernel32.calls[2][1] == (42, 7)
    assert kernel32.limits.ProcessMemoryLimit == 2 << 30
    assert kernel32.limits.BasicLimitInformation.LimitFlags == 0x2000 | 0x100 | 0x400
    job.close()
    job.close()
    assert [name for name, _ in kernel32.calls].count("CloseHandle") == 1


@pytest.mark.parametrize("call", ["CreateJobObjectW", "SetInformationJobObject", "AssignProcessToJobObject"])
def test_a_job_object_that_windows_refuses(call: str) -> None:
    with pytest.raises(OSError, match="no job object"):
        JobObject(7, 2 << 30, _Kernel32(fails=call))


def test_a_stop_of_this_program_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-Z for an hour: time is counted by steps that this program lived through, not by the clock."""
    waited: list[float] = []

    class Stopped:
        def get(self, timeout: float) -> None:
            waited.append(timeout)
            raise queue.Empty

        def put(self, answer: object) -> None:
            """Whatever comes, comes too late."""

    instead(monkeypatch, "import time; time.sleep(60)")
    subject = Child(LEAST_MEMORY_BYTES)
    subject._results = Stopped()  # type: ignore[assignment]  # noqa: SLF001
    with pytest.raises(child_module.ChildFailedError, match="longer than 3 s"):
        subject.ask(lambda *_: None, 3.0)
    assert sum(waited) == pytest.approx(3.0)
