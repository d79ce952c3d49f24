"""A change wakes, a stop wakes at once, and whatever fails about events only makes the wait last as long as asked."""

import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cxr_edge.watch import wake
from cxr_edge.watch.wake import MOST_PAUSE_S, Waker, pause_s


class Events:
    """Stands for watchfiles: a test says when something changes."""

    def __init__(self) -> None:
        """Nothing has begun."""
        self.begun = 0
        self.begin = threading.Event()
        self.changed: Callable[[], None] = lambda: None

    def __call__(self, folder: Path, stop: threading.Event, changed: Callable[[], None]) -> None:
        """Watch until stopped."""
        assert folder == Path("inbox")
        self.begun += 1
        self.changed = changed
        self.begin.set()
        stop.wait()


def seconds_of(call: Callable[[], bool]) -> tuple[float, bool]:
    begin = time.monotonic()
    result = call()
    return time.monotonic() - begin, result


def test_waits_the_full_time_when_nothing_happens() -> None:
    with Waker(Path("inbox"), threading.Event(), watch=Events()) as waker:
        took, changed = seconds_of(lambda: waker.wait(0.6))
    assert 0.6 <= took < 2
    assert not changed


def test_a_change_wakes_once() -> None:
    events = Events()
    with Waker(Path("inbox"), threading.Event(), watch=events) as waker:
        assert events.begin.wait(5)
        threading.Timer(0.1, events.changed).start()
        took, changed = seconds_of(lambda: waker.wait(30))
        assert took < 5
        assert changed
        assert waker.wait(0.3) is False


def test_a_change_during_a_scan_is_not_lost() -> None:
    events = Events()
    with Waker(Path("inbox"), threading.Event(), watch=events) as waker:
        assert events.begin.wait(5)
        events.changed()
        assert waker.wait(30)


def test_a_change_wakes_no_sooner_than_asked() -> None:
    events = Events()
    with Waker(Path("inbox"), threading.Event(), watch=events) as waker:
        assert events.begin.wait(5)
        events.changed()
        took, changed = seconds_of(lambda: waker.wait(30, least=0.7))
        assert 0.7 <= took < 5
        assert changed
        events.changed()
        took, changed = seconds_of(lambda: waker.wait(0.2, least=10))
        assert 0.2 <= took < 5
        assert changed


def test_stop_ends_every_wait_at_once() -> None:
    stop = threading.Event()
    with Waker(Path("inbox"), stop, watch=Events()) as waker:
        threading.Timer(0.1, stop.set).start()
        took, changed = seconds_of(lambda: waker.wait(30, least=30))
        assert took < 5
        assert not changed
        assert seconds_of(lambda: waker.wait(30))[0] < 1


@pytest.mark.parametrize("error", [ImportError("no watchfiles"), OSError(28, "inotify limit"), RuntimeError("rust")])
def test_events_that_fail_are_no_matter(error: Exception) -> None:
    failed = threading.Event()

    def watch(_folder: Path, _stop: threading.Event, _changed: Callable[[], None]) -> None:
        failed.set()
        raise error

    with Waker(Path("inbox"), threading.Event(), watch=watch) as waker:
        assert failed.wait(5)
        took, changed = seconds_of(lambda: waker.wait(0.4))
        assert 0.4 <= took < 2
        assert not changed


def test_watching_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wake, "_RETRY_S", 0.05)
    tries: list[int] = []

    def watch(_folder: Path, stop: threading.Event, changed: Callable[[], None]) -> None:
        tries.append(1)
        if len(tries) < 3:
            raise FileNotFoundError
        changed()
        stop.wait()

    with Waker(Path("inbox"), threading.Event(), watch=watch) as waker:
        assert waker.wait(10)
    assert len(tries) == 3


def test_rearm_begins_anew_and_nothing_is_left_at_the_end() -> None:
    events = Events()
    before = threading.active_count()
    with Waker(Path("inbox"), threading.Event(), watch=events) as waker:
        assert events.begin.wait(5)
        events.begin.clear()
        waker.rearm()
        assert events.begin.wait(5)
        assert events.begun == 2
        assert threading.active_count() == before + 1
        events.changed()
        assert waker.wait(30)
    assert threading.active_count() == before


def write_until(waker: Waker, folder: Path) -> bool:
    """Watching begins some time after the call, so a change is made again and again until one is seen."""
    for number in range(40):
        (folder / f"{number}.dcm").write_bytes(b"x")
        if waker.wait(0.5):
            return True
    return False


def test_with_watchfiles(tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("watchfiles")
    (tmp_path / "deep" / "er").mkdir(parents=True)
    caplog.set_level(logging.DEBUG)
    with Waker(tmp_path, threading.Event()) as waker:
        assert write_until(waker, tmp_path)
        assert write_until(waker, tmp_path / "deep" / "er")
        waker.rearm()
        assert write_until(waker, tmp_path)
        begin, cpu = time.monotonic(), time.process_time()
        while waker.wait(1.5):  # what is still on its way
            pass
        assert time.process_time() - cpu < 0.1 * (time.monotonic() - begin)
    assert ".dcm" not in caplog.text  # file names are patients' names
    assert capfd.readouterr() == ("", "")


def test_watchfiles_told_to_be_loud_by_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("watchfiles")
    monkeypatch.setenv("WATCHFILES_DEBUG", "1")
    monkeypatch.setenv("WATCHFILES_FORCE_POLLING", "1")
    with Waker(tmp_path, threading.Event()) as waker:
        assert write_until(waker, tmp_path)
    assert capfd.readouterr() == ("", "")


def test_an_inbox_that_is_not_there(tmp_path: Path) -> None:
    with Waker(tmp_path / "none", threading.Event()) as waker:
        assert waker.wait(0.3) is False


@pytest.mark.parametrize(
    ("poll", "scan", "expected"),
    [(5.0, 0.0, 5.0), (5.0, 0.01, 5.0), (5.0, 0.1, 20.0), (5.0, 3.0, MOST_PAUSE_S), (120.0, 0.1, 120.0)],
)
def test_the_longer_a_scan_the_longer_the_rest(poll: float, scan: float, expected: float) -> None:
    assert pause_s(poll, scan) == expected


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files as Linux tells them")
def test_no_handle_is_left(tmp_path: Path) -> None:
    pytest.importorskip("watchfiles")

    def handles() -> int:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a count

    with Waker(tmp_path, threading.Event()) as waker:
        write_until(waker, tmp_path)
    time.sleep(0.5)  # watchfiles' own thread closes its handles a little later
    before = handles()
    for _ in range(3):
        with Waker(tmp_path, threading.Event()) as waker:
            write_until(waker, tmp_path)
    patience = time.monotonic() + 10
    while handles() > before and time.monotonic() < patience:
        time.sleep(0.1)
    assert handles() <= before
