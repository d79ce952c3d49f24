"""Health is counted from events, written seldom and whole, and read back as a verdict."""

import json
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

from cxr_edge.errors import Reason
from cxr_edge.types import ModelIdentity
from cxr_edge.watch.events import (
    STATES,
    Classified,
    Conflict,
    Crashed,
    CsvRowMissing,
    Duplicate,
    Event,
    Fault,
    Incomplete,
    ModelLoaded,
    Observers,
    Queued,
    Rejected,
    Retry,
    Scanned,
    StateChanged,
    StudyNotSummarised,
)
from cxr_edge.watch.health import FILE_NAME, Health, HealthKeeper, latencies_of
from cxr_edge.watch.status import SILENT_AFTER_S, facts_of, is_alive, read_status
from cxr_edge.watch.view import LiveView, table_of

SHA = "ab" * 32
MODEL = ModelIdentity("tiny", "1.0", SHA)


class Clock:
    """Seconds that pass when told to."""

    now = 1_700_000_000.0

    def __call__(self) -> float:
        """The time."""
        return self.now


def _keeper(folder: Path, clock: Clock | None = None) -> HealthKeeper:
    clock = clock or Clock()
    return HealthKeeper(folder / FILE_NAME, now=clock, monotonic=clock)


def _on_disk(folder: Path) -> Health:
    return msgspec.json.decode((folder / FILE_NAME).read_bytes(), type=Health)


def test_events_are_counted(tmp_path: Path) -> None:
    keeper = _keeper(tmp_path)
    events: list[Event] = [
        StateChanged("starting"),
        ModelLoaded(MODEL, "CPUExecutionProvider"),
        Queued(12, 3),
        Scanned(40, 0.1234567, 1, {"done": 7, "seen": 2}),
        Classified(SHA, 30.0),
        Classified(SHA, 50.0),
        Rejected("00", SHA, Reason.TRUNCATED, 3.0),
        Rejected("01", None, Reason.UNREADABLE),
        Rejected("02", SHA, Reason.TRUNCATED),
        Duplicate("03", SHA),
        Conflict(SHA, SHA, "04"),
        Incomplete("05", "truncated"),
        Retry("06", "run_ended", 2),
        CsvRowMissing(2),
        CsvRowMissing(1),
        StudyNotSummarised("07", 4),
        Fault("outbox_full", "No space left on device", 5.0),
        StateChanged("outbox_unavailable", "outbox_full"),
    ]
    for event in events:
        keeper.observe(event)
    health = _on_disk(tmp_path)
    assert health == keeper.report()
    assert msgspec.to_builtins(health.counts) == {
        "classified": 2,
        "rejected": 3,
        "duplicates": 1,
        "conflicts": 1,
        "incomplete": 1,
        "retried": 1,
        "faults": 1,
        "csv_rows_missing": 3,
        "studies_not_summarised": 1,
    }
    assert health.rejected_by_reason == {"truncated": 2, "unreadable": 1}
    assert (health.state, health.reason, health.last_fault) == ("outbox_unavailable", "outbox_full", "outbox_full")
    assert (health.waiting, health.in_flight, health.pid) == (12, 3, os.getpid())
    assert (health.model, health.execution_provider) == (MODEL, "CPUExecutionProvider")
    assert (health.latency_ms.measurements, health.latency_ms.p50, health.latency_ms.p95) == (2, 40.0, None)
    assert health.scan is not None
    assert (health.scan.files, health.scan.seconds, health.scan.problems) == (40, 0.123, 1)
    assert health.ledger == {"done": 7, "seen": 2}
    assert health.last_result == "2023-11-14T22:13:20.000Z"


def test_nothing_is_written_before_the_locks_are_held(tmp_path: Path) -> None:
    keeper = _keeper(tmp_path)
    keeper.observe(Fault("inbox_away"))
    keeper.observe(Crashed("ValueError", "cxr_edge.watch.service:1"))
    assert keeper.report() is None
    assert list(tmp_path.iterdir()) == []


def test_written_at_a_change_of_state_else_every_five_seconds(tmp_path: Path) -> None:
    clock = Clock()
    keeper = _keeper(tmp_path, clock)
    keeper.observe(StateChanged("starting"))
    clock.now += 4.9
    keeper.observe(Queued(1, 0))
    assert _on_disk(tmp_path).waiting == 0
    clock.now += 0.2
    keeper.observe(Queued(2, 0))
    assert _on_disk(tmp_path).waiting == 2
    keeper.observe(Queued(3, 0))
    keeper.observe(StateChanged("running"))
    assert (_on_disk(tmp_path).state, _on_disk(tmp_path).waiting) == ("running", 3)
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_since_is_when_the_state_came_to_be(tmp_path: Path) -> None:
    clock = Clock()
    keeper = _keeper(tmp_path, clock)
    keeper.observe(StateChanged("idle"))
    first = _on_disk(tmp_path).since
    clock.now += 100
    keeper.observe(StateChanged("idle"))
    assert _on_disk(tmp_path).since == first
    keeper.observe(StateChanged("inbox_away", "inbox_away"))
    assert _on_disk(tmp_path).since > first


def test_a_folder_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    keeper = _keeper(folder)
    keeper.observe(StateChanged("starting"))
    folder.mkdir()
    keeper.observe(StateChanged("running"))
    assert _on_disk(folder).state == "running"


def test_no_reader_meets_half_a_file(tmp_path: Path) -> None:
    keeper = HealthKeeper(tmp_path / FILE_NAME)
    keeper.observe(StateChanged("starting"))
    done = threading.Event()

    def write() -> None:
        for number in range(300):
            keeper.observe(StateChanged("running", f"round {number}"))
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    reads = 0
    while not done.is_set() or reads == 0:
        assert read_status(tmp_path).health is not None
        reads += 1
    writer.join()
    assert _on_disk(tmp_path).reason == "round 299"


def test_percentiles_are_numpys_of_the_newest_thousand(tmp_path: Path) -> None:
    values = np.random.default_rng(0).gamma(2.0, 20.0, 1_500)
    keeper = _keeper(tmp_path)
    keeper.observe(StateChanged("running"))
    for value in values:
        keeper.observe(Classified(SHA, float(value)))
    keeper.observe(StateChanged("idle"))
    found = _on_disk(tmp_path).latency_ms
    assert found.measurements == 1_000
    expected = np.percentile(values[-1_000:], [50, 95, 99])
    assert [found.p50, found.p95, found.p99] == pytest.approx(expected, abs=0.001)
    assert _on_disk(tmp_path).counts.classified == 1_500


@pytest.mark.parametrize(("count", "known"), [(0, 0), (1, 1), (19, 1), (20, 2), (99, 2), (100, 3)])
def test_no_percentile_of_too_few(count: int, known: int) -> None:
    found = latencies_of(deque([1.0] * count))
    assert [found.p50, found.p95, found.p99] == [1.0] * known + [None] * (3 - known)


def test_a_crash_is_told(tmp_path: Path) -> None:
    keeper = _keeper(tmp_path)
    observers = Observers(keeper)
    observers.observe(StateChanged("running"))
    observers.observe(Crashed("ValueError", "cxr_edge.watch.service:12"))
    assert (_on_disk(tmp_path).state, _on_disk(tmp_path).reason) == ("stopped", "crashed")
    assert read_status(tmp_path).verdict.startswith("stopped (crashed) since")


@pytest.mark.parametrize("state", STATES)
def test_only_a_working_watcher_is_well(tmp_path: Path, state: str) -> None:
    keeper = HealthKeeper(tmp_path / FILE_NAME)
    keeper.observe(StateChanged(state))  # type: ignore[arg-type]  # one of the Literal's
    status = read_status(tmp_path)
    assert status.well == (state in ("starting", "running", "waiting", "idle"))
    assert state in status.verdict


def test_a_watcher_that_went_silent_is_not_well(tmp_path: Path) -> None:
    HealthKeeper(tmp_path / FILE_NAME).observe(StateChanged("running"))
    now = datetime.now(UTC)
    assert read_status(tmp_path, now=now + timedelta(seconds=SILENT_AFTER_S - 5)).well
    for later in (SILENT_AFTER_S + 5, -SILENT_AFTER_S - 5):  # also a clock that was set back
        status = read_status(tmp_path, now=now + timedelta(seconds=later))
        assert not status.well
        assert "not been heard of" in status.verdict


def test_a_watcher_that_was_killed_is_not_well(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from cxr_edge.watch.health import HealthKeeper, FILE_NAME\n"
        "from cxr_edge.watch.events import StateChanged\n"
        "HealthKeeper(Path(sys.argv[1]) / FILE_NAME).observe(StateChanged('running')); os._exit(1)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    status = read_status(tmp_path)
    assert not status.well
    assert "ended without saying so" in status.verdict


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b"\xff\xfe", b'{"state": "idle"}'])
def test_no_health_is_not_well(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / FILE_NAME).write_bytes(content)
    status = read_status(tmp_path)
    assert (status.well, status.health) == (False, None)


@pytest.mark.parametrize(("key", "value"), [("updated", "yesterday"), ("health_version", 2), ("pid", 0)])
def test_health_of_another_kind_is_not_well(tmp_path: Path, key: str, value: object) -> None:
    HealthKeeper(tmp_path / FILE_NAME).observe(StateChanged("running"))
    health = json.loads((tmp_path / FILE_NAME).read_bytes())
    (tmp_path / FILE_NAME).write_text(json.dumps({**health, key: value}), encoding="utf-8")
    assert not read_status(tmp_path).well


@pytest.mark.parametrize("updated", ["2026-11-20T10:00:00", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"])
def test_any_time_in_the_health_file_gives_a_verdict(tmp_path: Path, updated: str) -> None:
    HealthKeeper(tmp_path / FILE_NAME).observe(StateChanged("running"))
    health = json.loads((tmp_path / FILE_NAME).read_bytes())
    (tmp_path / FILE_NAME).write_text(json.dumps({**health, "updated": updated}), encoding="utf-8")
    status = read_status(tmp_path, now=datetime(2026, 11, 20, 12, tzinfo=UTC))
    assert not status.well
    assert "not been heard of" in status.verdict
    (tmp_path / FILE_NAME).write_text(json.dumps({**health, "updated": "2026-11-20T11:59:00"}), encoding="utf-8")
    assert read_status(tmp_path, now=datetime(2026, 11, 20, 12, tzinfo=UTC)).well


def test_whether_a_process_lives() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert is_alive(process.pid)
    process.communicate(b"\n")
    assert not is_alive(process.pid)


@pytest.mark.parametrize(
    ("handle", "code", "error", "alive"), [(7, 259, 0, True), (7, 0, 0, False), (0, 0, 87, False), (0, 0, 5, True)]
)
def test_whether_a_process_lives_on_windows(handle: int, code: int, error: int, alive: bool) -> None:  # noqa: FBT001
    closed: list[object] = []

    class Kernel:
        OpenProcess = staticmethod(
            lambda access, inherit, pid: handle if (access, inherit, pid) == (0x1000, 0, 42) else 0
        )
        GetLastError = staticmethod(lambda: error)
        CloseHandle = staticmethod(closed.append)

        @staticmethod
        def GetExitCodeProcess(_handle: object, pointer: object) -> None:  # noqa: N802 - Windows' name
            pointer._obj.value = code  # type: ignore[attr-defined]  # noqa: SLF001 - ctypes' byref

    kernel = SimpleNamespace(**{name: _callable(getattr(Kernel, name)) for name in dir(Kernel) if name[0] != "_"})
    assert is_alive(42, kernel) is alive
    assert len(closed) == (1 if handle else 0)


def _callable(function: Callable[..., object]) -> Callable[..., object]:
    """A function that takes attributes, as those of a DLL do."""
    return partial(function)


def test_the_view_shows_what_health_knows(tmp_path: Path) -> None:
    import io

    from rich.console import Console

    keeper = _keeper(tmp_path)
    keeper.observe(StateChanged("inbox_away", "inbox_away"))
    report = keeper.report()
    assert report is not None
    assert facts_of(report)["last result"] == "none so far"
    keeper.observe(Rejected("00", SHA, Reason.TRUNCATED))
    buffer = io.StringIO()
    Console(file=buffer, width=120).print(table_of(keeper.report()))
    text = buffer.getvalue()
    for part in ("inbox_away (inbox_away) since 2023-11-14T22:13:20", "truncated 1", "Not a medical device."):
        assert part in text
    assert "Ctrl-C stops after the running image" in text
    for state in ("stopping", "stopped"):
        keeper.observe(StateChanged(state))
        buffer = io.StringIO()
        Console(file=buffer, width=120).print(table_of(keeper.report()))
        assert "Ctrl-C" not in buffer.getvalue()
        assert "Not a medical device." in buffer.getvalue()
    Console(file=buffer).print(table_of(None))
    assert "starting" in buffer.getvalue()


def test_the_view_ends_with_its_last_table(tmp_path: Path) -> None:
    import io

    from cxr_edge.watch.events import Notice

    keeper = _keeper(tmp_path)
    buffer = io.StringIO()
    with LiveView(keeper, buffer) as view:
        for event in (StateChanged("running"), Notice("provider_cpu", "on the \x1b[31mCPU")):
            keeper.observe(event)
            view.observe(event)
    assert "running since" in buffer.getvalue()
    assert "on the \\x1b[31mCPU" in buffer.getvalue()
