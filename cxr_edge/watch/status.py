"""Whether a watcher is alive and well, from the health file it left."""

import os
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from cxr_edge.watch.events import State
from cxr_edge.watch.health import FILE_NAME, HEALTH_VERSION, Health

WELL: frozenset[State] = frozenset({"starting", "running", "waiting", "idle"})
SILENT_AFTER_S = 180.0  # a service that is alive reports at least once a minute
MAX_BYTES = 1 << 20
_STILL_ACTIVE, _ACCESS_DENIED, _QUERY_LIMITED_INFORMATION = 259, 5, 0x1000  # minwinbase.h, winerror.h, winnt.h


@dataclass(frozen=True, slots=True)
class Status:
    """What `cxr-edge watch --status` says.

    Attributes:
        well: a live watcher is starting, running, waiting or idle.
        verdict: one sentence.
        health: what the file holds; None where there is none.
    """

    well: bool
    verdict: str
    health: Health | None


def read_status(state_folder: Path, *, now: datetime | None = None) -> Status:
    """Look at the watcher whose ledger and health are in `state_folder`; never raises for what it finds there."""
    health = _read(state_folder / FILE_NAME)
    if health is None:
        return Status(well=False, verdict="no watcher has run here, or its health file cannot be read", health=None)
    if health.health_version != HEALTH_VERSION:
        verdict = f"the health file has version {health.health_version}; this release reads {HEALTH_VERSION}"
        return Status(well=False, verdict=verdict, health=None)
    silent_s = ((now or datetime.now(UTC)) - _moment(health.updated)).total_seconds()
    if health.state == "stopped":
        verdict = f"stopped{_because(health)} since {health.since}"
    elif not is_alive(health.pid):
        verdict = f"the watcher ended without saying so; it was last heard of at {health.updated}"
    elif abs(silent_s) > SILENT_AFTER_S:  # also a clock that was set back
        verdict = f"process {health.pid} has not been heard of since {health.updated}"
    else:
        verdict = f"{health.state}{_because(health)} since {health.since}"
        return Status(well=health.state in WELL, verdict=verdict, health=health)
    return Status(well=False, verdict=verdict, health=health)


def is_alive(pid: int, kernel32: Any = None) -> bool:  # noqa: ANN401 - a DLL
    """Whether a process of this number runs on this machine (not tried on Windows)."""
    if pid <= 0:  # a group of processes, or all of them
        return False
    if sys.platform != "win32" and kernel32 is None:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except (PermissionError, OverflowError):
            return True  # another account's, as a service's is
        return True
    import ctypes

    kernel32 = kernel32 or ctypes.WinDLL("kernel32")  # type: ignore[attr-defined, unused-ignore]
    kernel32.OpenProcess.restype = ctypes.c_void_p
    handle = kernel32.OpenProcess(_QUERY_LIMITED_INFORMATION, 0, pid)  # os.kill would end the process there
    if not handle:
        return bool(kernel32.GetLastError() == _ACCESS_DENIED)
    code = ctypes.c_ulong()
    kernel32.GetExitCodeProcess(ctypes.c_void_p(handle), ctypes.byref(code))
    kernel32.CloseHandle(ctypes.c_void_p(handle))
    return code.value == _STILL_ACTIVE


def facts_of(health: Health) -> dict[str, str]:
    """Health as lines of text, for the live table and for `--status`."""
    counts, latency, scan = health.counts, health.latency_ms, health.scan
    model = health.model
    reasons = ", ".join(f"{code} {count}" for code, count in health.rejected_by_reason.items())
    percentiles = {"p50": latency.p50, "p95": latency.p95, "p99": latency.p99}
    known = ", ".join(f"{name} {value:.0f} ms" for name, value in percentiles.items() if value is not None)
    return {
        "waiting": f"{health.waiting}, in flight {health.in_flight}",
        "classified": f"{counts.classified} since the start",
        "rejected": f"{counts.rejected}" + (f" ({reasons})" if reasons else ""),
        "duplicates": f"{counts.duplicates}, conflicts {counts.conflicts}",
        "incomplete": f"{counts.incomplete}, retried {counts.retried}, faults {counts.faults}",
        "last result": health.last_result or "none so far",
        "latency": f"{known} of {latency.measurements}" if known else "not measured so far",
        "last scan": "none so far" if scan is None else f"{scan.files} files in {scan.seconds:.2f} s, {scan.ended}",
        "model": "not loaded" if model is None else f"{model.name} {model.version}, SHA-256 {model.sha256[:16]}",
        "provider": health.execution_provider or "none so far",
        "process": f"{health.pid}, cxr-edge {health.version}, started {health.started}",
    }


def _because(health: Health) -> str:
    return "" if health.reason is None else f" ({health.reason})"


def _read(file: Path) -> Health | None:
    try:
        with file.open("rb") as stream:
            health = msgspec.json.decode(stream.read(MAX_BYTES), type=Health)
        _moment(health.updated)
    except (OSError, ValueError, RecursionError, msgspec.MsgspecError):  # absent, unreadable, of another kind
        return None
    return health


def _moment(text: str) -> datetime:
    """As the health file has it: in UTC, where it names no zone."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
