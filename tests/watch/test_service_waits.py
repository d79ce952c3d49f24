"""What the service waits for: files that are not whole, not readable, in use by others, or failed over."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from dicom_files import make_file
from watching import Recorder, csv_lines, dicom, picture, put, serve_once, serving, statuses, until

from cxr_edge.decide import decide
from cxr_edge.isolation import command
from cxr_edge.results import to_row
from cxr_edge.types import Prediction, Rejection
from cxr_edge.watch import patience, reading, service, work
from cxr_edge.watch.entry import Entry
from cxr_edge.watch.events import Classified, Duplicate, Incomplete, Rejected, Retry, Scanned
from cxr_edge.watch.keys import Keys
from cxr_edge.watch.ledger import Ledger
from cxr_edge.watch.reading import Read, read
from cxr_edge.watch.settings import Settings


@pytest.fixture
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "FIRST_PAUSE_S", 0.1)


def _entry(path: Path) -> Entry:
    status = path.stat()
    return Entry(path.name, str(path), status.st_size, status.st_mtime_ns)


# ---- not whole


@pytest.mark.parametrize("whole", [picture(1, "JPEG"), picture(1), dicom(1)], ids=["jpeg", "png", "dicom"])
def test_incomplete_then_complete(watched: Settings, whole: bytes) -> None:
    with serving(replace(watched, incomplete_after_s=0.5)) as running:
        path = watched.inbox / "a" / "image"
        cut = put(path, whole[: len(whole) * 2 // 3])
        running.waits_for(Incomplete)
        assert statuses(watched.results) == {cut: "truncated"}
        seen = len(running.recorder.of(Scanned))
        until(lambda: len(running.recorder.of(Scanned)) > seen + 2)
        put(watched.inbox / "copy of the cut one", whole[: len(whole) * 2 // 3])
        running.waits_for(Incomplete, 2)
        name = put(path, whole)
        running.has(name)
    assert len(running.recorder.of(Incomplete)) == 2  # once a file, not at each scan
    assert statuses(watched.results) == {cut: "truncated", name: "classified"}


def test_an_empty_file_before_does_not_make_the_next_one_decided(watched: Settings) -> None:
    """Moved away while it is written, it would be lost."""
    target = watched.inbox.parent / "refused"
    target.mkdir()
    with serving(replace(watched, incomplete_after_s=2.0, after_rejected=target)) as running:
        put(watched.inbox / "empty for good.dcm", b"")
        running.waits_for(Incomplete)
        path = watched.inbox / "empty for a while.dcm"
        with path.open("wb", buffering=0) as stream:
            seen = len(running.recorder.of(Scanned))
            until(lambda: len(running.recorder.of(Scanned)) > seen + 3)
            stream.write(dicom(1))
        running.waits_for(Classified)
    assert list(target.iterdir()) == []
    assert len(running.recorder.of(Incomplete)) == 1
    assert not running.recorder.of(Duplicate)


def test_rejected_at_once_or_never_too_soon(watched: Settings) -> None:
    """What no further byte can change is told now; what is only cut waits for its deadline, 300 s here."""
    with serving(watched) as running:
        cut = put(watched.inbox / "cut.dcm", dicom(1)[:3000])
        bad = [
            put(watched.inbox / "no image.txt", b"no image at all " * 30),
            put(watched.inbox / "view.dcm", dicom(2, ViewPosition="LL")),
        ]
        running.waits_for(Rejected, 2)
        running.has(*bad)
        good = put(watched.inbox / "good.png", picture(4))
        running.has(good)
        assert not running.recorder.of(Incomplete)
        assert cut not in statuses(watched.results)


@pytest.mark.parametrize(
    ("whole", "steps"),
    [(picture(1, "JPEG"), 5), (dicom(1), 5), (dicom(1), -5), (picture(1), -5)],
    ids=["jpeg", "dicom", "dicom whose room was reserved", "png whose room was reserved"],
)
def test_a_growing_file_is_read_when_it_is_whole(watched: Settings, whole: bytes, steps: int) -> None:
    """Slower than the service looks: it meets every stage as a file that is at rest."""
    count, reserved = abs(steps), steps < 0
    with serving(watched) as running:
        path = watched.inbox / "slow.bin"
        with path.open("wb", buffering=0) as stream:
            if reserved:
                stream.truncate(len(whole))
            for step in range(count):
                stream.write(whole[len(whole) * step // count : len(whole) * (step + 1) // count])
                before = len(running.recorder.of(Scanned))
                until(lambda seen=before: len(running.recorder.of(Scanned)) > seen + 1)  # type: ignore[misc]
        name = put(watched.inbox / "mark.png", picture(9))
        until(lambda: len(running.recorder.of(Classified)) == 2)
        assert name in statuses(watched.results)
    assert not running.recorder.of(Rejected)
    assert len(statuses(watched.results)) == 2
    assert set(statuses(watched.results).values()) == {"classified"}


def test_what_ends_in_zeros_gets_more_patience(watched: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "BLANK_SETTLE_S", 1.0)
    whole = make_file(Rows=40) + b""
    blank = whole[:-600] + bytes(600)
    with serving(watched) as running:
        began = time.monotonic()
        name = put(watched.inbox / "black below.dcm", blank)
        running.has(name)
        assert time.monotonic() - began >= 1.0
    assert statuses(watched.results) == {name: "classified"}


def test_once_leaves_what_is_not_whole_for_later(watched: Settings) -> None:
    put(watched.inbox / "cut.dcm", dicom(1)[:3000])
    good = put(watched.inbox / "good.dcm", dicom(2))
    serve_once(watched, code=3)
    assert statuses(watched.results) == {good: "classified"}
    whole = put(watched.inbox / "cut.dcm", dicom(1))
    serve_once(watched)
    assert statuses(watched.results) == {good: "classified", whole: "classified"}


# ---- not readable, changed under the reader's hands


def _failing(outcomes: dict[str, list[Read]]) -> Callable[[Entry, int], Read]:
    """Reads as ever, but for the files that are named: those end so, first."""

    def fake(entry: Entry, limit: int) -> Read:
        left = outcomes.get(entry.relative)
        return left.pop(0) if left else read(entry, limit)

    return fake


@pytest.mark.usefixtures("_soon")
@pytest.mark.parametrize("once", [True, False])
def test_a_locked_file_is_tried_again(watched: Settings, monkeypatch: pytest.MonkeyPatch, *, once: bool) -> None:
    locked = Read(reading.Outcome.UNREADABLE, error="Resource temporarily unavailable")
    changed, gone = Read(reading.Outcome.CHANGED), Read(reading.Outcome.GONE)
    outcomes = {"locked.dcm": [locked] * 3, "changes.dcm": [changed, gone]}
    monkeypatch.setattr(work, "read", _failing(outcomes))
    names = {put(watched.inbox / f"{name}.dcm", dicom(n)) for n, name in enumerate(("locked", "changes", "good"))}
    if once:
        recorder = serve_once(watched)
    else:
        with serving(watched) as running:
            running.has(*names)
        recorder = running.recorder
    assert statuses(watched.results) == dict.fromkeys(names, "classified")
    retries = recorder.of(Retry)
    assert [(retry.code, retry.tries) for retry in retries] == [("file_unreadable", n) for n in (1, 2, 3)]
    assert [retry.pause_s for retry in retries] == [0.1, 0.2, 0.4]


def test_pauses_are_bounded(watched: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(patience, "LONGEST_PAUSE_S", 0.05)
    monkeypatch.setattr(work, "read", lambda _entry, _limit: Read(reading.Outcome.UNREADABLE, error="in use"))
    put(watched.inbox / "locked.dcm", dicom(1))
    with serving(watched) as running:
        running.waits_for(Retry, 6)
    assert [retry.pause_s for retry in running.recorder.of(Retry)][:6] == [0.01, 0.02, 0.04, 0.05, 0.05, 0.05]
    assert not running.recorder.of(Rejected)  # however long it lasts


def test_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    entry = _entry(path)
    assert (read(entry, 100).outcome, read(entry, 100).content) == (reading.Outcome.WHOLE, b"content")
    large = read(entry, 3)
    assert (large.outcome, large.content) == (reading.Outcome.TOO_LARGE, b"")
    assert large.sha256 == read(entry, 100).sha256
    assert read(replace(entry, mtime_ns=1), 100).outcome is reading.Outcome.CHANGED
    path.write_bytes(b"content that grew")
    assert read(entry, 100).outcome is reading.Outcome.CHANGED
    path.unlink()
    assert read(entry, 100).outcome is reading.Outcome.GONE
    path.mkdir()
    assert read(entry, 100).outcome in (reading.Outcome.CHANGED, reading.Outcome.UNREADABLE)


# ---- failed over


CRASH = """
import os
_receive = worker.receive_bytes
def crash(stream, size):
    content = _receive(stream, size)
    if b"CRASH" in bytes(content): os.abort()
    return content
worker.receive_bytes = crash
"""


@pytest.fixture
def _crashing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoding processes that die of certain contents."""
    before = command._BOOTSTRAP  # noqa: SLF001
    code = f"import main; import cxr_edge.isolation.worker as worker\n{CRASH}\nmain("
    changed = before.replace("import main; main(", code).replace("{}", "{{}}")
    assert changed != before
    monkeypatch.setattr(command, "_BOOTSTRAP", changed)


@pytest.mark.usefixtures("_soon", "_crashing")
@pytest.mark.parametrize("once", [True, False])
def test_a_decoders_crash_costs_one_file(watched: Settings, *, once: bool) -> None:
    good = [put(watched.inbox / f"{n}.dcm", dicom(n)) for n in range(6)]
    bad = put(watched.inbox / "bad.dcm", dicom(7, StudyDescription="CRASH"))
    if once:
        recorder = serve_once(watched)
    else:
        with serving(watched) as running:
            running.has(*good, bad)
        recorder = running.recorder
    assert statuses(watched.results) == dict.fromkeys(good, "classified") | {bad: "decoder_crashed"}
    assert [(retry.code, retry.tries) for retry in recorder.of(Retry)] == [("decoder_failed", 1), ("decoder_failed", 2)]
    assert len(recorder.of(Rejected)) == 1
    assert len(csv_lines(watched.results)) == 7


@pytest.mark.usefixtures("_soon")
def test_inference_that_fails_once_is_tried_again(watched: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = [0]

    def sometimes(*arguments: Any) -> Any:
        calls[0] += 1
        if calls[0] <= 2:
            message = "out of memory"
            raise RuntimeError(message)
        return decide(*arguments)

    monkeypatch.setattr("cxr_edge.classifier.decide", sometimes)
    name = put(watched.inbox / "good.dcm", dicom(1))
    with serving(watched) as running:
        running.has(name)
    assert statuses(watched.results) == {name: "classified"}
    assert {retry.code for retry in running.recorder.of(Retry)} == {"model_failed"}


def _runs_that_ended_over(settings: Settings, name: str, times: int) -> None:
    """As the ledger of so many killed runs would be."""
    folder = settings.state_folder
    folder.mkdir(parents=True, exist_ok=True)
    entries = [_entry(path) for path in settings.inbox.glob("[!.]*")]
    for _ in range(times):
        with Ledger.open(folder / "ledger.sqlite", Keys.open(folder)) as ledger:
            assert len(list(ledger.look(entries))) == len(entries)
            assert [ledger.claim(entry) for entry in entries if entry.relative == name] != [0]


def test_what_ended_runs_comes_last_and_alone(watched: Settings) -> None:
    names = [put(watched.inbox / f"{n}.dcm", dicom(n)) for n in range(5)]
    _runs_that_ended_over(watched, "0.dcm", 4)
    recorder = serve_once(watched)
    order = [event.content for event in recorder.of(Classified)]
    assert order[-1] == names[0]
    assert sorted(order) == sorted(names)


def test_what_ends_every_run_is_rejected_in_the_end(watched: Settings) -> None:
    good, bad = (put(watched.inbox / f"{name}.dcm", dicom(n)) for n, name in enumerate(("good", "bad")))
    _runs_that_ended_over(watched, "bad.dcm", work.MOST_RUNS)
    recorder = serve_once(watched)
    assert statuses(watched.results) == {good: "classified", bad: "internal"}
    assert len(recorder.of(Rejected)) == 1


def test_a_defect_ends_the_run_and_costs_nothing(watched: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [put(watched.inbox / f"{n}.dcm", dicom(n)) for n in range(5)]

    def fails(result: Prediction | Rejection, **options: bool) -> dict[str, Any]:
        if result.source.content_sha256 == names[2]:
            message = "a defect"
            raise ZeroDivisionError(message)
        return to_row(result, **options)

    monkeypatch.setattr("cxr_edge.watch.work.to_row", fails)
    with pytest.raises(ZeroDivisionError):
        service.run(watched, threading.Event(), Recorder())
    monkeypatch.setattr("cxr_edge.watch.work.to_row", to_row)
    recorder = serve_once(watched)
    assert statuses(watched.results) == dict.fromkeys(names, "classified")
    assert not recorder.of(Duplicate)
