"""What the service does after something failed in the middle: nothing is lost, kept for ever, or blamed wrongly."""

import contextlib
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from watching import Recorder, dicom, put, serve_once, serving, statuses, until

from cxr_edge.classifier import Classifier
from cxr_edge.decide import decide
from cxr_edge.errors import EnvironmentUnusable
from cxr_edge.watch import after, patience, service
from cxr_edge.watch.backlog import Deferred
from cxr_edge.watch.condition import Condition
from cxr_edge.watch.entry import Entry
from cxr_edge.watch.events import Classified, Conflict, Fault, Moved, Rejected, StateChanged
from cxr_edge.watch.folders import InboxLock, take_folders
from cxr_edge.watch.ledger import Ledger, StateUnusable
from cxr_edge.watch.lock import LOCK_NAME
from cxr_edge.watch.outbox_fault import OutboxUnavailable
from cxr_edge.watch.presence import InboxAway, Presence
from cxr_edge.watch.settings import Settings

ENTRY = Entry("a.dcm", "/in/a.dcm", 1, 1)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "FIRST_PAUSE_S", 0.05)
    monkeypatch.setattr(patience, "LONGEST_PAUSE_S", 0.2)


def _failing(method: Callable[..., Any], calls: set[int]) -> Callable[..., Any]:
    """The method, but for calls of these numbers, counted from 0."""
    count = iter(range(1_000_000))

    def fake(*arguments: Any) -> Any:
        if next(count) in calls:
            message = "the disk"
            raise StateUnusable(message)
        return method(*arguments)

    return fake


@pytest.mark.parametrize("name", ["known", "claim"])
def test_what_was_claimed_when_the_ledger_failed_is_free_again(
    watched: Settings, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(Ledger, name, _failing(getattr(Ledger, name), {2}))
    monkeypatch.setattr(Ledger, "release", _failing(Ledger.release, {0, 1}))  # nor can it be given back at once
    names = [put(watched.inbox / f"{n}.dcm", dicom(n)) for n in range(5)]
    with serving(watched) as running:
        running.has(*names)
        until(lambda: running.recorder.of(StateChanged)[-1].state == "idle")
    states = [event.state for event in running.recorder.of(StateChanged)]
    assert "state_unavailable" in states
    assert len(running.recorder.of(Classified)) == len(names)


def test_an_engine_that_fails_is_not_held_against_the_images(
    watched: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = threading.Event()
    broken.set()

    def fails(*arguments: Any) -> Any:
        if broken.is_set():
            message = "out of memory"
            raise RuntimeError(message)
        return decide(*arguments)

    monkeypatch.setattr("cxr_edge.classifier.decide", fails)
    names = [put(watched.inbox / f"{n}.dcm", dicom(n)) for n in range(5)]
    with serving(watched) as running:
        until(lambda: len([fault for fault in running.recorder.of(Fault) if fault.code == "model_failed"]) > 5)
        assert running.recorder.of(StateChanged)[-1] == StateChanged("decoding_unavailable", "model_failed")
        assert not running.recorder.of(Rejected)
        broken.clear()
        running.has(*names)
        until(lambda: running.recorder.of(StateChanged)[-1].state == "idle")
    assert statuses(watched.results) == dict.fromkeys(names, "classified")


def test_once_says_that_the_engine_fails(watched: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cxr_edge.classifier.decide", lambda *_: 1 / 0)
    for number in range(4):
        put(watched.inbox / f"{number}.dcm", dicom(number))
    with pytest.raises(EnvironmentUnusable):
        service.run(watched, threading.Event(), Recorder())


def test_a_heat_map_that_fails_costs_no_result(watched: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cxr_edge.heatmap.heat_map_png", lambda *_: 1 / 0)
    name = put(watched.inbox / "a.dcm", dicom(1))
    recorder = serve_once(replace(watched, heatmap=True))
    assert statuses(watched.results) == {name: "classified"}
    assert Fault("heat_map_failed", "ZeroDivisionError") in recorder.of(Fault)


def test_a_row_that_cannot_be_made_costs_one_image(watched: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    from cxr_edge.results import to_row

    names = [put(watched.inbox / f"{n}.dcm", dicom(n)) for n in range(3)]

    def fails(result: Any, **options: bool) -> Any:
        if hasattr(result, "score") and result.source.content_sha256 == names[1]:
            raise ZeroDivisionError
        return to_row(result, **options)

    monkeypatch.setattr("cxr_edge.watch.work.to_row", fails)
    many, left = Classifier.classify_many, list[Any]()

    def kept(classifier: Classifier, images: Any, **options: bool) -> Any:
        left.append(many(classifier, images, **options))
        return left[-1]

    monkeypatch.setattr(Classifier, "classify_many", kept)
    serve_once(watched)
    assert statuses(watched.results) == {names[0]: "classified", names[1]: "internal", names[2]: "classified"}
    assert [next(results, None) for results in left] == [None] * len(left)  # closed, none left to the garbage collector
    assert left


def test_a_move_that_cannot_be_recorded_is_told_once(watched: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ledger, "moved", _failing(Ledger.moved, {0}))
    put(watched.inbox / "a.dcm", dicom(1))
    with serving(replace(watched, after_done=watched.inbox.parent / "done")) as running:
        running.waits_for(Moved)
        until(lambda: running.recorder.of(StateChanged)[-1].state == "idle" and running.recorder.of(Fault))
    assert (len(running.recorder.of(Classified)), len(running.recorder.of(Moved))) == (1, 1)


def test_stop_leaves_owed_moves_for_the_next_run(watched: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(6):
        put(watched.inbox / f"{number}.dcm", dicom(number))
    serve_once(watched)
    stop, move = threading.Event(), after.move

    def stopping(*arguments: Any) -> after.Moved:
        stop.set()
        return move(*arguments)

    monkeypatch.setattr(after, "move", stopping)
    target = watched.inbox.parent / "done"
    assert service.run(replace(watched, after_done=target), stop, Recorder()) == 0
    assert len(list(target.glob("*.dcm"))) == 1


def test_part_of_a_file_conflicts_with_nothing(watched: Settings) -> None:
    first = put(watched.inbox / "a.dcm", dicom(1, instance=7))
    serve_once(watched)
    put(watched.inbox / "b.dcm", dicom(2, instance=7)[:-500])
    with serving(replace(watched, incomplete_after_s=0.3)) as running:
        running.waits_for(Rejected)
    assert first in statuses(watched.results)
    assert not running.recorder.of(Conflict)


def test_folders_are_taken_again_after_one_was_away(watched: Settings, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    target = tmp_path / "done"
    settings = replace(watched, after_done=target)
    with contextlib.ExitStack() as stack:
        take_folders(settings, tmp_path / "state", stack)
    target.rmdir()
    with contextlib.ExitStack() as stack:
        with pytest.raises(OutboxUnavailable):
            take_folders(settings, tmp_path / "state", stack)
        target.mkdir()
        (target / "a").touch()
        take_folders(settings, tmp_path / "state", stack)


def test_the_inbox_is_locked_only_while_it_is_there(tmp_path: Path) -> None:
    inbox, aside, recorder = tmp_path / "in", tmp_path / "aside", Recorder()
    with InboxLock(inbox, Presence(inbox), recorder) as lock:
        with pytest.raises(InboxAway):
            lock.take()
        inbox.mkdir()
        (inbox / "a").touch()
        lock.take()
        assert (inbox / LOCK_NAME).exists()
        inbox.rename(aside)
        lock.drop()
        inbox.mkdir()  # as an unmounted share leaves it
        with pytest.raises(InboxAway):
            lock.take()
        assert list(inbox.iterdir()) == []
    assert recorder.events == []


def test_oserrors_of_the_service_are_defects(watched: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise OSError(5, "a defect")

    monkeypatch.setattr(service, "Presence", fails)
    with pytest.raises(OSError, match="a defect"):
        service.run(watched, threading.Event(), Recorder())


def test_faults_are_told_apart_by_their_source() -> None:
    recorder = Recorder()
    condition = Condition(recorder)
    condition.fail("a", "state_unavailable", "state_full")
    condition.fail("b", "outbox_unavailable", "outbox_full")
    condition.recover("a")
    condition.set("idle")
    condition.recover("b")
    states = ["state_unavailable", "outbox_unavailable", "idle"]
    assert [event.state for event in recorder.of(StateChanged)] == states


def test_deferrals_are_counted_by_cause() -> None:
    deferred = Deferred()
    assert [deferred.put(ENTRY, 1.0), deferred.put(ENTRY, 1.0), deferred.put(ENTRY, 1.0, "failed")] == [1, 2, 1]
    assert (deferred.times(ENTRY), deferred.times(ENTRY, "failed")) == (2, 1)
    assert deferred.times(replace(ENTRY, size=2), "failed") == 0


def test_pauses_end_at_a_minute_and_never_overflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert [patience.pause_after(n) for n in (0, 1, 5, 6, 100_000)] == [1, 2, 32, 60, 60]
