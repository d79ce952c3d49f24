"""How the service is doing: counted from its events, kept in a small JSON file, read by `cxr-edge watch --status`."""

import contextlib
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from cxr_edge._version import __version__
from cxr_edge.types import ModelIdentity
from cxr_edge.watch.events import (
    Classified,
    Conflict,
    Crashed,
    CsvRowMissing,
    Duplicate,
    Event,
    Fault,
    Incomplete,
    ModelLoaded,
    Queued,
    Rejected,
    Retry,
    Scanned,
    State,
    StateChanged,
    StudyNotSummarised,
)

HEALTH_VERSION = 1
FILE_NAME = "health.json"
WRITE_EVERY_S = 5.0
LATENCIES = 1_000  # the newest, for the percentiles
MIN_FOR_P95, MIN_FOR_P99 = 20, 100


class Latencies(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds from reading to result of the newest 1,000 classified images; null where too few were measured."""

    measurements: int = 0
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """Since the service started."""

    classified: int = 0
    rejected: int = 0
    duplicates: int = 0
    conflicts: int = 0
    incomplete: int = 0
    retried: int = 0
    faults: int = 0
    csv_rows_missing: int = 0
    studies_not_summarised: int = 0


class LastScan(msgspec.Struct, frozen=True, kw_only=True):
    """The last scan of the inbox that ended."""

    ended: str
    seconds: float
    files: int
    problems: int


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """What health.json holds. Times are ISO 8601 in UTC.

    Attributes:
        state: one of `events.STATES`.
        since: when it came to be so.
        reason: why, for a state that is not as it should be.
        updated: when this was written.
        rejected_by_reason: reason code -> count, since the start.
        last_fault: the code of the newest fault.
        ledger: state -> count of everything the ledger knows, as of the last scan that counted it.
    """

    health_version: int
    state: State
    since: str
    reason: str | None
    started: str
    updated: str
    pid: int
    version: str
    model: ModelIdentity | None
    execution_provider: str | None
    waiting: int
    in_flight: int
    counts: Counts
    rejected_by_reason: dict[str, int]
    last_result: str | None
    last_fault: str | None
    latency_ms: Latencies
    scan: LastScan | None
    ledger: dict[str, int]


class HealthKeeper:
    """Counts events and writes health.json: at every change of state, otherwise at most every 5 s.

    Nothing is written before the first `StateChanged`, which comes when the locks are held: the file belongs to the
    service that holds them. A file that cannot be written is tried again later and never stops the service.
    """

    def __init__(
        self,
        file: Path,
        *,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Keep it in `file`; `now` and `monotonic` are clocks in seconds."""
        self._file, self._now, self._monotonic = file, now, monotonic
        self._lock = threading.Lock()
        self._started = _stamp(now())
        self._state: State | None = None
        self._since = self._started
        self._reason: str | None = None
        self._model: ModelIdentity | None = None
        self._provider: str | None = None
        self._waiting = self._in_flight = 0
        self._counts: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._latencies: deque[float] = deque(maxlen=LATENCIES)
        self._last_result: str | None = None
        self._last_fault: str | None = None
        self._scan: LastScan | None = None
        self._ledger: dict[str, int] = {}
        self._written = -WRITE_EVERY_S  # of the monotonic clock

    def observe(self, event: Event) -> None:
        """Count one event, and write the file when it is time."""
        with self._lock:
            self._take(event)
            urgent = isinstance(event, StateChanged | Crashed)
            if self._state is None:
                return
            if urgent or self._monotonic() - self._written >= WRITE_EVERY_S:
                self._written = self._monotonic()
                _write(self._file, msgspec.json.format(msgspec.json.encode(self._report()), indent=2) + b"\n")

    def report(self) -> Health | None:
        """Health as of now; None before the service began."""
        with self._lock:
            return None if self._state is None else self._report()

    def _take(self, event: Event) -> None:
        match event:
            case StateChanged(state, reason):
                self._change(state, reason)
            case ModelLoaded(model, provider):
                self._model, self._provider = model, provider
            case Queued(waiting, in_flight):
                self._waiting, self._in_flight = waiting, in_flight
            case Scanned(files, seconds, problems, states):
                ended = _stamp(self._now())
                self._scan = LastScan(ended=ended, seconds=round(seconds, 3), files=files, problems=problems)
                self._ledger = self._ledger if states is None else dict(states)
            case Classified(_, latency_ms):
                self._latencies.append(latency_ms)
                self._count("classified")
            case Rejected(_, _, reason_code):
                self._reasons[reason_code.value] += 1
                self._count("rejected")
            case Fault(code):
                self._last_fault = code
                self._count("faults")
            case Crashed() if self._state is not None:
                self._change("stopped", "crashed")
            case Duplicate() | Conflict() | Incomplete() | Retry() | StudyNotSummarised() | CsvRowMissing():
                self._count(_COUNTED[type(event)], event.rows if isinstance(event, CsvRowMissing) else 1)
            case _:
                pass

    def _change(self, state: State, reason: str | None) -> None:
        if (state, reason) != (self._state, self._reason):
            self._since = _stamp(self._now())
        self._state, self._reason = state, reason

    def _count(self, name: str, times: int = 1) -> None:
        self._counts[name] += times
        if name in ("classified", "rejected"):
            self._last_result = _stamp(self._now())

    def _report(self) -> Health:
        return Health(
            health_version=HEALTH_VERSION,
            state=self._state or "starting",
            since=self._since,
            reason=self._reason,
            started=self._started,
            updated=_stamp(self._now()),
            pid=os.getpid(),
            version=__version__,
            model=self._model,
            execution_provider=self._provider,
            waiting=self._waiting,
            in_flight=self._in_flight,
            counts=Counts(**self._counts),
            rejected_by_reason=dict(sorted(self._reasons.items())),
            last_result=self._last_result,
            last_fault=self._last_fault,
            latency_ms=latencies_of(self._latencies),
            scan=self._scan,
            ledger=self._ledger,
        )


_COUNTED: dict[type, str] = {
    Duplicate: "duplicates",
    Conflict: "conflicts",
    Incomplete: "incomplete",
    Retry: "retried",
    StudyNotSummarised: "studies_not_summarised",
    CsvRowMissing: "csv_rows_missing",
}


def latencies_of(measured: deque[float]) -> Latencies:
    """Percentiles, linear between measurements (Hyndman and Fan's type 7); p95 from 20, p99 from 100 measurements."""
    ordered = sorted(measured)
    count = len(ordered)
    return Latencies(
        measurements=count,
        p50=_percentile(ordered, 0.50) if count else None,
        p95=_percentile(ordered, 0.95) if count >= MIN_FOR_P95 else None,
        p99=_percentile(ordered, 0.99) if count >= MIN_FOR_P99 else None,
    )


def _percentile(ordered: list[float], share: float) -> float:
    whole, part = divmod(share * (len(ordered) - 1), 1)
    below = ordered[int(whole)]
    above = ordered[min(int(whole) + 1, len(ordered) - 1)]
    return round(below + part * (above - below), 3)


def _stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _write(file: Path, content: bytes) -> None:
    # one writer, so one temporary name, which the next run writes over; no fsync: after a power cut it is news no more
    temporary = file.with_name(f"{file.name}.part")
    with contextlib.suppress(OSError):  # a full disk, or on Windows a reader: the next write is seconds away
        temporary.write_bytes(content)
        temporary.replace(file)
