"""Another image under the name, size and time of one that was decided; and numbers of files that say nothing."""

import os
import sqlite3
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from watching import dicom, put, rows, serve_once, serving, statuses, until

from cxr_edge.watch import recheck, service
from cxr_edge.watch.entry import Entry
from cxr_edge.watch.events import Classified, Duplicate, Notice, Retry, Scanned, StateChanged
from cxr_edge.watch.keys import Keys
from cxr_edge.watch.ledger import Ledger, Outcome, Status
from cxr_edge.watch.presence import Presence
from cxr_edge.watch.reading import Outcome as Reading
from cxr_edge.watch.reading import Read, read
from cxr_edge.watch.recheck import IN_VAIN, MOST_REMEMBERED, WITHIN_S, Unsteady
from cxr_edge.watch.scan import scan
from cxr_edge.watch.settings import Settings

KEYS = Keys(bytes(32))
NOTICE = "file_numbers_unsteady"
ENTRY = Entry("a.dcm", "/in/a.dcm", 10, 1_000, 7, 2_000, 3)


def _images() -> tuple[bytes, bytes]:
    """Two images of one size."""
    one, two = dicom(1, StudyDescription="ONE"), dicom(1, StudyDescription="TWO")
    assert len(one) == len(two)
    return one, two


def _replace(path: Path, content: bytes, how: str) -> None:
    """Other bytes by the same name, size and time of change."""
    times = (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    written = path if how == "touch" else path.with_name("new.part")
    written.write_bytes(content)
    os.utime(written, ns=times)
    written.replace(path)


@pytest.mark.skipif(os.name != "posix", reason="Windows has neither a time of status change nor inodes in a listing")
@pytest.mark.parametrize("how", ["touch", "move"])
@pytest.mark.parametrize("running", [True, False])
def test_another_image_by_the_same_name_size_and_time(watched: Settings, how: str, *, running: bool) -> None:
    one, two = _images()
    path = watched.inbox / "image.dcm"
    first = put(path, one)
    if running:
        with serving(watched) as service_running:
            service_running.has(first)
            service_running.waits_for(Classified)
            _replace(path, two, how)
            service_running.waits_for(Classified, 2)
    else:
        serve_once(watched)
        _replace(path, two, how)
        serve_once(watched)
    assert len(rows(watched.results)) == 2
    assert set(statuses(watched.results).values()) == {"classified"}


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
@pytest.mark.parametrize("how", ["chmod", "moved over by itself"])
def test_the_same_content_under_other_numbers_is_no_news(watched: Settings, how: str) -> None:
    path = watched.inbox / "image.dcm"
    put(path, dicom(1))
    serve_once(watched)
    if how == "chmod":
        path.chmod(0o600)
    else:
        _replace(path, dicom(1), "move")
    recorder = serve_once(watched)
    assert not [event for event in recorder.events if isinstance(event, Classified | Duplicate)]
    states = [event.state for event in recorder.of(StateChanged)]
    assert "running" in states  # it was read
    again = serve_once(watched)
    assert "running" not in [event.state for event in again.of(StateChanged)]  # and the numbers are remembered
    assert len(again.of(Scanned)) == 1


def _unsteady_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Counter[str]()

    def shaken(*arguments: object) -> object:
        unsteady = arguments[4]
        for entry in scan(*arguments):  # type: ignore[arg-type]
            calls["scanned"] += 1
            assert isinstance(unsteady, set)
            yield entry if entry.device in unsteady else replace(entry, inode=1_000 + calls["scanned"])

    monkeypatch.setattr(service, "scan", shaken)


def test_numbers_that_change_for_nothing_are_believed_no_more(
    watched: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    _unsteady_scan(monkeypatch)
    reads: list[str] = []
    really = read

    def counted(entry: Entry, limit: int) -> Read:
        reads.append(entry.relative)
        return really(entry, limit)

    monkeypatch.setattr(recheck, "read", counted)
    name = put(watched.inbox / "image.dcm", dicom(1))
    with serving(watched) as running:
        running.has(name)  # although no scan finds it as it was
        until(lambda: NOTICE in [event.code for event in running.recorder.of(Notice)])
        seen = len(running.recorder.of(Scanned))
        until(lambda: len(running.recorder.of(Scanned)) > seen + 4)
        assert running.recorder.of(StateChanged)[-1].state == "idle"
    assert [event.code for event in running.recorder.of(Notice)].count(NOTICE) == 1
    assert len(reads) == IN_VAIN
    assert len(running.recorder.of(Classified)) == 1
    assert not running.recorder.of(Duplicate)


def test_what_cannot_be_compared_is_tried_again(watched: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = _images()
    path = watched.inbox / "image.dcm"
    put(path, one)
    serve_once(watched)
    _replace(path, two, "move")
    really, left = read, [Read(Reading.UNREADABLE, error="in use"), Read(Reading.CHANGED)]
    monkeypatch.setattr(recheck, "read", lambda entry, limit: left.pop() if left else really(entry, limit))
    recorder = serve_once(watched)
    assert [(event.code, event.tries) for event in recorder.of(Retry)] == [("file_unreadable", 2)]
    assert len(rows(watched.results)) == 2


def test_which_file_systems_are_unsteady() -> None:
    now = [0.0]
    unsteady = Unsteady(lambda: now[0])
    for number in range(2 * MOST_REMEMBERED):  # a change of all files' attributes says nothing
        assert not unsteady.count(replace(ENTRY, relative=str(number)))
    for _ in range(2 * IN_VAIN):  # nor does one that comes each night
        now[0] += WITHIN_S / (IN_VAIN - 1)
        assert not unsteady.count(ENTRY)
    now[0] += 1
    assert unsteady.count(ENTRY)
    assert not unsteady.count(ENTRY)  # told once
    assert unsteady.devices == {3}


# ---- the ledger and the scan


def _decided(ledger: Ledger, entry: Entry, state: str = "done") -> None:
    list(ledger.look([entry]))
    assert ledger.claim(entry)
    ledger.finish(entry, Outcome(content=bytes(32), state=state, day="2026-11-20"))  # type: ignore[arg-type]


def _status(ledger: Ledger, entry: Entry, *, move: tuple[str, ...] = ()) -> Status:
    (look,) = ledger.look([entry], move=move)  # type: ignore[arg-type]
    return look.status


@pytest.mark.parametrize("changed", [replace(ENTRY, inode=8), replace(ENTRY, ctime_ns=2_001)])
@pytest.mark.parametrize("state", ["done", "rejected", "incomplete"])
def test_a_decided_file_with_other_numbers_is_compared(tmp_path: Path, changed: Entry, state: str) -> None:
    with Ledger.open(tmp_path / "ledger.sqlite", KEYS) as ledger:
        _decided(ledger, ENTRY, state)
        before = _status(ledger, ENTRY)
        assert [_status(ledger, changed), _status(ledger, changed)] == [Status.RECHECK] * 2
        assert _status(ledger, changed, move=("done", "rejected")) in (Status.MOVE, Status.RECHECK)
        assert _status(ledger, replace(changed, inode=0, ctime_ns=0)) is before  # not known, or not believed
        ledger.remember(changed)
        assert _status(ledger, changed) is before
        assert _status(ledger, ENTRY) is Status.RECHECK
        ledger.reopen(ENTRY)
        assert [_status(ledger, ENTRY), _status(ledger, changed)] == [Status.STABLE] * 2  # undecided: its size counts
        assert ledger.claim(changed)
        assert _status(ledger, ENTRY) is Status.CLAIMED
        ledger.finish(changed, Outcome(content=bytes(32), state="done", day=""))
        assert [_status(ledger, changed), _status(ledger, ENTRY)] == [Status.DECIDED, Status.RECHECK]


def test_a_number_beyond_sqlites_is_held_too(tmp_path: Path) -> None:
    entry = replace(ENTRY, inode=2**64 - 1)
    with Ledger.open(tmp_path / "ledger.sqlite", KEYS) as ledger:
        _decided(ledger, entry)
        writes = ledger._connection.total_changes  # noqa: SLF001
        assert [_status(ledger, entry), _status(ledger, entry)] == [Status.DECIDED] * 2
        assert ledger._connection.total_changes == writes  # noqa: SLF001


def test_a_ledger_of_an_earlier_release(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with Ledger.open(path, KEYS) as ledger:
        _decided(ledger, ENTRY)
    with sqlite3.connect(path) as connection:
        connection.execute("ALTER TABLE files DROP COLUMN inode")
        connection.execute("ALTER TABLE files DROP COLUMN ctime_ns")
        connection.execute("ALTER TABLE contents DROP COLUMN positive")
        connection.execute("ALTER TABLE contents DROP COLUMN read_by")
        connection.execute("UPDATE meta SET value = 1 WHERE name = 'schema_version'")
    connection.close()
    for _ in range(2):
        with Ledger.open(path, KEYS) as ledger:
            assert _status(ledger, ENTRY) is Status.DECIDED  # equal once, and remembered
            assert _status(ledger, replace(ENTRY, inode=8)) is Status.RECHECK


def test_a_scan_tells_the_numbers_of_files(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    status = path.stat()

    def found(*unsteady: int) -> Entry:
        (entry,) = scan(tmp_path, [], Presence(tmp_path), Counter(), unsteady)
        return entry

    assert found() == Entry("file", str(path), 7, status.st_mtime_ns, *_numbers(status))
    assert found(found().device) == Entry("file", str(path), 7, status.st_mtime_ns, device=found().device)


def _numbers(status: os.stat_result) -> tuple[int, int, int]:
    if os.name == "posix":
        return status.st_ino, status.st_ctime_ns, status.st_dev
    return 0, status.st_ctime_ns, 0


def test_the_reference_names_the_notice() -> None:
    from conftest import REPOSITORY

    page = (REPOSITORY / "docs" / "reference" / "watch.md").read_text(encoding="utf-8")
    assert f"`{NOTICE}`" in page
