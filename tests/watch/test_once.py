"""`--once`: it ends, whatever lies in the inbox, and says by its exit code whether all was decided."""

import os
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from watching import Recorder, Watcher, dicom, put, serve_once, serving, statuses, until, without_roots_rights

from cxr_edge.errors import OutputError
from cxr_edge.watch import backlog, patience, service
from cxr_edge.watch.backlog import Backlog
from cxr_edge.watch.events import Fault, Scanned, StateChanged, Undecided
from cxr_edge.watch.once import Once
from cxr_edge.watch.settings import Settings


def _undecided(settings: Settings) -> Undecided:
    recorder = serve_once(settings, code=3)
    (event,) = recorder.of(Undecided)
    return event


def test_what_is_not_whole_is_undecided(watched: Settings) -> None:
    put(watched.inbox / "cut.dcm", dicom(1)[:3000])
    good = put(watched.inbox / "good.dcm", dicom(2))
    assert _undecided(watched) == Undecided(files=1, places=0)
    assert statuses(watched.results) == {good: "classified"}


def test_what_was_reported_as_incomplete_is_decided(watched: Settings) -> None:
    cut = put(watched.inbox / "cut.dcm", dicom(1)[:3000])
    settings = replace(watched, incomplete_after_s=1.0)
    with serving(settings) as running:
        running.has(cut)
    assert serve_once(settings).of(Undecided) == []


@pytest.mark.skipif(os.name != "posix", reason="links")
def test_a_place_that_cannot_be_looked_at_is_undecided(watched: Settings) -> None:
    (watched.inbox / "self").symlink_to("self")
    good = put(watched.inbox / "good.dcm", dicom(2))
    assert _undecided(watched) == Undecided(files=0, places=1)
    assert statuses(watched.results) == {good: "classified"}


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_files_and_folders_without_permission(tmp_path: Path, tiny: Path) -> None:
    inbox = tmp_path / "in"
    good = put(inbox / "good.dcm", dicom(1))
    put(inbox / "closed.dcm", dicom(2))
    put(inbox / "closed" / "in it.dcm", dicom(3))
    (inbox / "closed.dcm").chmod(0)
    (inbox / "closed").chmod(0)
    with Watcher(tiny, inbox, tmp_path / "out", "--once", prefix=without_roots_rights()) as watcher:
        code, _, err = watcher.ended(90)
    assert code == 3, err
    said = "1 file not whole, not readable or never at rest and 1 place that cannot be looked at"
    assert err.splitlines()[-1].startswith(f"cxr-edge: not all is decided: {said}")
    assert list(statuses(tmp_path / "out")) == [good]


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_links_into_proc_are_no_files(watched: Settings) -> None:
    for name in ("/proc/self/mem", "/proc/kmsg", "/proc/self/status", "/sys/kernel/profiling", "/dev/zero"):
        (watched.inbox / name.replace("/", "_")).symlink_to(name)
    good = put(watched.inbox / "good.dcm", dicom(2))
    (watched.inbox / "link.dcm").symlink_to(put_elsewhere(watched))
    recorder = serve_once(watched)
    assert recorder.of(Scanned)[-1].files == 2
    assert good in statuses(watched.results)
    assert len(statuses(watched.results)) == 2


def put_elsewhere(settings: Settings) -> Path:
    path = settings.inbox.parent / "elsewhere.dcm"
    put(path, dicom(9))
    return path


@pytest.fixture
def restless(watched: Settings) -> Iterator[Path]:
    """A file that is another one at each look."""
    path, end = watched.inbox / "restless.dcm", threading.Event()
    put(path, dicom(1))

    def work() -> None:
        while not end.wait(0.01):
            os.utime(path)

    thread = threading.Thread(target=work)
    thread.start()
    yield path
    end.set()
    thread.join()


@pytest.mark.usefixtures("restless")
def test_a_file_that_is_never_at_rest(watched: Settings) -> None:
    good = put(watched.inbox / "good.dcm", dicom(2))
    began = time.monotonic()
    assert _undecided(replace(watched, incomplete_after_s=5.0)) == Undecided(files=1, places=0)
    assert time.monotonic() - began >= 5
    assert statuses(watched.results) == {good: "classified"}


def test_patience_begins_anew_with_each_decision() -> None:
    now = [0.0]
    once = Once(300.0, lambda: now[0])
    fresh, nothing = Backlog(fresh=True), Backlog()
    for decided in range(5):
        now[0] += 299
        assert not once.is_over(fresh, {"seen": 9 - decided, "done": decided}, done=True)
    now[0] += 299
    assert not once.is_over(fresh, {"seen": 77, "done": 4}, done=True)
    assert not once.is_over(nothing, {"seen": 77, "done": 4}, done=False)
    assert once.is_over(nothing, {"seen": 77, "done": 4}, done=True)
    now[0] += 2
    assert once.is_over(fresh, {"seen": 77, "done": 4}, done=False)


# ---- waiting is not idle


def test_waiting_is_a_state_of_its_own(watched: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "FIRST_PAUSE_S", 0.1)
    monkeypatch.setattr(backlog, "SOON_S", 0.0)
    path = watched.inbox / "cut.dcm"
    with serving(watched) as running:
        running.waits_for(Scanned)
        until(lambda: running.recorder.of(StateChanged)[-1].state == "idle")
        put(path, dicom(1)[:3000])
        until(lambda: "running" in [event.state for event in running.recorder.of(StateChanged)])
        until(lambda: running.recorder.of(StateChanged)[-1].state == "waiting")
        seen = len(running.recorder.of(Scanned))
        until(lambda: len(running.recorder.of(Scanned)) > seen + 3)
        assert running.recorder.of(StateChanged)[-1].state == "waiting"
        put(path, dicom(1))
        until(lambda: running.recorder.of(StateChanged)[-1].state == "idle")
    assert not running.recorder.of(Fault)


def test_a_state_folder_that_is_a_file(watched: Settings) -> None:
    state = watched.state_folder
    state.write_bytes(b"")
    for folder in (state, state / "below"):
        with pytest.raises(OutputError, match=r"^the state folder .* is no folder; need a folder on a local disk$"):
            service.run(replace(watched, state=folder), threading.Event(), Recorder())
