"""The ledger's rules: who is new, who is to be taken, what is owed, and what a change in between does."""

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest

from cxr_edge.watch import ledger as ledger_module
from cxr_edge.watch.boot import boot_mark, is_same_boot
from cxr_edge.watch.entry import Entry
from cxr_edge.watch.keys import Keys
from cxr_edge.watch.ledger import Content, Ledger, Look, Outcome, StateUnusable, Status
from cxr_edge.watch.ledger_values import FileState

KEYS = Keys(bytes(32))
DAY = "2026-11-20"
ENTRY = Entry("a/1.dcm", "/inbox/a/1.dcm", 10, 1_000)
CONTENT = hashlib.sha256(b"1").digest()
OTHER = hashlib.sha256(b"2").digest()
INSTANCE, STUDY = KEYS.of("1.2.3"), KEYS.of("1.2")
DONE = Outcome(content=CONTENT, state="done", day=DAY, instance=INSTANCE, study=STUDY, score=0.5, decides=True)


class Clock:
    """The ledger's two clocks, set by hand."""

    now = 1000.0
    today = date(2026, 11, 20)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(ledger_module, "_now", lambda: clock.now)
    monkeypatch.setattr(ledger_module, "_today", lambda: clock.today)
    return clock


@pytest.fixture
def ledger(tmp_path: Path, clock: Clock) -> Iterator[Ledger]:  # noqa: ARG001 - its clocks are set
    with Ledger.open(tmp_path / "ledger.sqlite", KEYS) as ledger:
        yield ledger


def reopened(ledger: Ledger, path: Path) -> Ledger:
    ledger.close()
    return Ledger.open(path / "ledger.sqlite", KEYS)


def look(ledger: Ledger, entry: Entry = ENTRY, *, move: tuple[FileState, ...] = ()) -> Look:
    (found,) = ledger.look([entry], move=move)
    return found


def taken(ledger: Ledger, entry: Entry = ENTRY) -> None:
    look(ledger, entry)
    assert ledger.claim(entry) == 1


def test_new_then_stable_then_decided(ledger: Ledger, clock: Clock) -> None:
    assert look(ledger) == Look(ENTRY, Status.NEW)
    clock.now += 3
    assert look(ledger) == Look(ENTRY, Status.STABLE, 0, 3.0, "seen", None)
    assert ledger.claim(ENTRY) == 1
    assert look(ledger).status is Status.CLAIMED
    assert ledger.finish(ENTRY, DONE)
    assert look(ledger) == Look(ENTRY, Status.DECIDED, 1, 3.0, "done", CONTENT)


@pytest.mark.parametrize("changed", [Entry("a/1.dcm", "", 11, 1_000), Entry("a/1.dcm", "", 10, 999)])
@pytest.mark.parametrize("state", ["seen", "claimed", "done", "rejected", "incomplete"])
def test_a_changed_file_is_new(ledger: Ledger, clock: Clock, changed: Entry, state: str) -> None:
    look(ledger)
    if state != "seen":
        ledger.claim(ENTRY)
    if state in ("done", "rejected", "incomplete"):
        ledger.finish(ENTRY, Outcome(content=CONTENT, state=state, day=DAY))  # type: ignore[arg-type]
    clock.now += 9
    assert look(ledger, changed) == Look(changed, Status.NEW)
    clock.now += 1
    assert look(ledger, changed) == Look(changed, Status.STABLE, 0, 1.0)


def test_a_name_is_one_file(ledger: Ledger) -> None:
    look(ledger)
    assert look(ledger, Entry("a/2.dcm", "", ENTRY.size, ENTRY.mtime_ns)).status is Status.NEW
    assert look(ledger, Entry("a/1.dcm", "another path to it", ENTRY.size, ENTRY.mtime_ns)).status is Status.STABLE


def test_a_file_is_claimed_once(ledger: Ledger) -> None:
    assert ledger.claim(ENTRY) == 0  # never looked at
    taken(ledger)
    assert ledger.claim(ENTRY) == 0
    ledger.finish(ENTRY, DONE)
    assert ledger.claim(ENTRY) == 0


def test_a_stale_entry_is_not_claimed(ledger: Ledger) -> None:
    look(ledger)
    look(ledger, Entry(ENTRY.relative, "", 11, 2_000))
    assert ledger.claim(ENTRY) == 0


def test_a_released_claim_does_not_count(ledger: Ledger) -> None:
    taken(ledger)
    ledger.release(ENTRY)
    assert (look(ledger).status, look(ledger).tries) == (Status.STABLE, 0)
    assert ledger.claim(ENTRY) == 1
    ledger.finish(ENTRY, DONE)
    ledger.release(ENTRY)  # decided: stays so
    assert look(ledger).status is Status.DECIDED


def test_what_an_ended_run_had_claimed_is_tried_again(ledger: Ledger, tmp_path: Path) -> None:
    look(ledger)
    for tries in (1, 2, 3):
        assert ledger.claim(ENTRY) == tries
        ledger = reopened(ledger, tmp_path)
        again = look(ledger)
        assert (again.status, again.tries) == (Status.RETRY, tries)
    ledger.claim(ENTRY)
    ledger.release(ENTRY)
    assert look(ledger).tries == 3
    ledger.close()


def test_a_file_that_changes_while_it_is_read_is_not_decided(ledger: Ledger) -> None:
    taken(ledger)
    newer = Entry(ENTRY.relative, "", 11, 2_000)
    look(ledger, newer)
    assert not ledger.finish(ENTRY, DONE)
    assert ledger.known(CONTENT) is not None  # its result is out
    assert look(ledger, newer).status is Status.STABLE
    assert ledger.claim(newer) == 1


def test_incomplete_waits_for_a_change(ledger: Ledger) -> None:
    taken(ledger)
    assert ledger.finish(ENTRY, Outcome(content=CONTENT, state="incomplete", day=DAY, reason="truncated"))
    assert look(ledger, move=("done", "rejected")).status is Status.INCOMPLETE
    assert ledger.claim(ENTRY) == 0
    known = ledger.known(CONTENT)
    assert known is not None, "its rejection is out"
    assert (known.state, known.instance, known.study) == ("rejected", None, None)
    assert len(ledger.rows_for_csv(10)) == 1


def test_a_move_is_owed_until_it_is_done(ledger: Ledger, tmp_path: Path) -> None:
    taken(ledger)
    ledger.finish(ENTRY, DONE)
    assert look(ledger, move=("rejected",)).status is Status.DECIDED
    ledger = reopened(ledger, tmp_path)
    owed = look(ledger, move=("done",))
    assert (owed.status, owed.state, owed.content) == (Status.MOVE, "done", CONTENT)
    ledger.moved(ENTRY)
    assert look(ledger, move=("done",)).status is Status.NEW  # somebody has put it back
    assert look(ledger).status is Status.STABLE
    ledger.close()


def test_rejected_without_a_content(ledger: Ledger) -> None:
    taken(ledger)
    assert ledger.finish(ENTRY, Outcome(content=None, state="rejected", day=DAY, reason="unreadable"))
    assert look(ledger) == Look(ENTRY, Status.DECIDED, 1, 0.0, "rejected", None)
    assert ledger.rows_for_csv(10) == []
    with pytest.raises(ValueError, match="without a content"):
        Outcome(content=None, state="done", day=DAY)


def test_contents_are_known_and_duplicates_share_their_state(ledger: Ledger) -> None:
    taken(ledger)
    ledger.finish(ENTRY, DONE)
    known = ledger.known(CONTENT)
    assert known == Content(CONTENT, "classified", INSTANCE, STUDY, None, 0.5, decides=True, day=DAY)
    assert ledger.known(OTHER) is None
    second = Entry("b", "", 10, 5)
    taken(ledger, second)
    assert known is not None
    assert ledger.finish_duplicate(second, known)
    assert look(ledger, second).state == "done"
    (study,) = ledger.dirty_studies()
    assert study.changes == 1
    assert len(ledger.contents_of(study)) == 1


def test_a_redone_content_keeps_its_day_and_its_place_in_the_csv(ledger: Ledger) -> None:
    taken(ledger)
    ledger.finish(ENTRY, DONE)
    ledger.mark_in_csv([CONTENT])
    ledger.finish(ENTRY, Outcome(content=CONTENT, state="rejected", day="2026-11-21", reason="internal"))
    assert ledger.known(CONTENT) == Content(
        CONTENT, "rejected", INSTANCE, STUDY, "internal", None, decides=False, day=DAY
    )
    assert ledger.rows_for_csv(10) == []


def test_one_instance_with_two_contents_is_a_conflict(ledger: Ledger) -> None:
    assert ledger.other_content_of(INSTANCE, CONTENT) is None
    taken(ledger)
    ledger.finish(ENTRY, DONE)
    assert ledger.other_content_of(INSTANCE, CONTENT) is None
    assert ledger.other_content_of(INSTANCE, OTHER) == CONTENT
    assert ledger.other_content_of(KEYS.of("9"), OTHER) is None


def test_rows_wait_for_the_csv_newest_day_first(ledger: Ledger) -> None:
    for number in range(6):
        entry = Entry(str(number), "", 1, 1)
        taken(ledger, entry)
        content = hashlib.sha256(bytes([number])).digest()
        ledger.finish(
            entry, Outcome(content=content, state="rejected", day=f"2026-11-{20 - number % 2}", reason="empty")
        )
    first = ledger.rows_for_csv(4)
    assert [row.day for row in first] == ["2026-11-20"] * 3 + ["2026-11-19"]
    ledger.mark_in_csv(row.content for row in first)
    rest = ledger.rows_for_csv(4)
    assert [row.day for row in rest] == ["2026-11-19"] * 2
    assert not {row.content for row in first} & {row.content for row in rest}


def test_studies_are_due_when_they_have_been_quiet(ledger: Ledger, clock: Clock) -> None:
    taken(ledger)
    ledger.finish(ENTRY, DONE)
    clock.now += 119
    assert ledger.dirty_studies(120) == []
    clock.now += 1
    (study,) = ledger.dirty_studies(120)
    assert (study.key, study.changes, study.quiet_s) == (STUDY, 1, 120.0)
    assert ledger.contents_of(study) == [ledger.known(CONTENT)]
    ledger.clean(study)
    assert ledger.dirty_studies() == []


def test_a_result_that_comes_while_the_summary_is_written_keeps_its_study_dirty(ledger: Ledger) -> None:
    taken(ledger)
    ledger.finish(ENTRY, DONE)
    (study,) = ledger.dirty_studies()
    late = Entry("late", "", 1, 1)
    taken(ledger, late)
    ledger.finish(late, Outcome(content=OTHER, state="done", day=DAY, study=STUDY))
    ledger.clean(study)
    (again,) = ledger.dirty_studies()
    assert len(ledger.contents_of(again)) == 2


def test_counts_are_those_of_the_table(ledger: Ledger) -> None:
    states = ("done", "rejected", "incomplete")
    for number in range(9):
        entry = Entry(str(number), "", 1, 1)
        taken(ledger, entry)
        content = hashlib.sha256(bytes([number])).digest()
        ledger.finish(entry, Outcome(content=content, state=states[number % 3], day=DAY))  # type: ignore[arg-type]
    look(ledger, Entry("0", "", 2, 2))  # changed
    taken(ledger, Entry("new", "", 1, 1))
    assert ledger.counts() == {"seen": 1, "claimed": 1, "done": 2, "rejected": 3, "incomplete": 3}


def test_prune_forgets_what_has_long_left_the_inbox(ledger: Ledger, clock: Clock) -> None:
    gone, passing = Entry("gone", "", 1, 1), Entry("passing.xfer", "", 1, 1)
    taken(ledger)
    ledger.finish(ENTRY, DONE)
    taken(ledger, gone)
    ledger.finish(gone, Outcome(content=OTHER, state="done", day=DAY))
    look(ledger, passing)
    for days, forgotten in ((2, 0), (1, 1), (27, 0), (1, 1), (100, 0)):
        clock.today += timedelta(days=days)
        look(ledger)
        assert ledger.prune(clock.today) == forgotten
    assert ledger.known(OTHER) is not None
    assert ledger.counts() == {"seen": 0, "claimed": 0, "done": 1, "rejected": 0, "incomplete": 0}
    assert look(ledger, gone).status is Status.NEW


def test_neither_an_inbox_away_nor_a_jump_of_the_clock_makes_it_forget(ledger: Ledger, clock: Clock) -> None:
    taken(ledger)
    ledger.finish(ENTRY, DONE)
    assert ledger.prune(clock.today + timedelta(days=400)) == 0
    clock.today += timedelta(days=4000)
    look(ledger)
    clock.today -= timedelta(days=4000)
    assert ledger.prune(clock.today) == 0
    assert look(ledger).status is Status.DECIDED


def test_a_day_is_written_once(ledger: Ledger, clock: Clock) -> None:
    look(ledger)
    writes = ledger._connection.total_changes  # noqa: SLF001
    for _ in range(3):
        look(ledger)
    assert ledger._connection.total_changes == writes  # noqa: SLF001
    clock.today += timedelta(days=1)
    look(ledger)
    assert ledger._connection.total_changes == writes + 1  # noqa: SLF001
    look(ledger)
    assert ledger._connection.total_changes == writes + 1  # noqa: SLF001


def test_waiting_goes_on_over_a_restart_and_begins_again_with_the_machine(
    ledger: Ledger, clock: Clock, tmp_path: Path
) -> None:
    taken(ledger)
    ledger.finish(ENTRY, DONE)
    late = Entry("late", "", 1, 1)
    look(ledger, late)
    clock.now += 50
    ledger = reopened(ledger, tmp_path)
    assert look(ledger, late).unchanged_s == 50
    assert [study.quiet_s for study in ledger.dirty_studies()] == [50]
    clock.now = 5  # the machine was restarted
    ledger = reopened(ledger, tmp_path)
    clock.now = 7
    assert look(ledger, late).unchanged_s == 2
    assert [study.quiet_s for study in ledger.dirty_studies()] == [2]
    ledger.close()


def test_a_machine_that_was_up_for_longer_than_before(
    ledger: Ledger, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken(ledger)
    ledger.finish(ENTRY, DONE)
    late = Entry("late", "", 1, 1)
    look(ledger, late)
    monkeypatch.setattr(ledger_module, "boot_mark", lambda: "id of the next boot")
    clock.now = 90_000  # its uptime by now, which says nothing of the file
    ledger = reopened(ledger, tmp_path)
    assert look(ledger, late).unchanged_s == 0
    assert [study.quiet_s for study in ledger.dirty_studies()] == [0]
    clock.now += 3
    ledger = reopened(ledger, tmp_path)  # the service alone
    assert look(ledger, late).unchanged_s == 3
    ledger.close()


def test_the_mark_of_a_boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "boot_id").write_text("0b1c\n", encoding="ascii")
    assert boot_mark(tmp_path / "boot_id") == "id 0b1c"
    monkeypatch.setattr(time, "time", lambda: 1_700_000_000.0)
    monkeypatch.setattr(time, "monotonic", lambda: 1_000.0)
    began = boot_mark(tmp_path / "absent")
    monkeypatch.setattr(time, "monotonic", lambda: 990.0)  # the clock was set meanwhile
    assert is_same_boot(began, boot_mark(tmp_path / "absent"))
    monkeypatch.setattr(time, "monotonic", lambda: 900.0)
    assert not is_same_boot(began, boot_mark(tmp_path / "absent"))
    assert not is_same_boot(began, "id 0b1c")
    assert not is_same_boot("at once", began)
    assert is_same_boot("id 0b1c", "id 0b1c")
    assert not is_same_boot("id 0b1c", "id 0b1d")


def test_a_decided_file_with_other_bytes_is_taken_again(ledger: Ledger, clock: Clock) -> None:
    taken(ledger)
    ledger.finish(ENTRY, DONE)
    assert look(ledger, move=("done",)).status is Status.MOVE
    clock.now += 60
    ledger.reopen(ENTRY)
    assert look(ledger, move=("done",)) == Look(ENTRY, Status.STABLE)
    assert ledger.claim(ENTRY) == 1
    ledger.reopen(ENTRY)  # not decided: nothing to take back
    assert look(ledger).status is Status.CLAIMED
    assert ledger.known(CONTENT) is not None  # its result stays


@pytest.mark.parametrize("mtime_ns", [-1, 2**63 - 1, 2**63, 2**64 + 5, -(2**63) - 1])
def test_any_time_of_change_can_be_held(ledger: Ledger, mtime_ns: int) -> None:
    entry = Entry("x", "", 0, mtime_ns)
    assert look(ledger, entry).status is Status.NEW
    assert look(ledger, entry).status is Status.STABLE
    assert ledger.claim(entry) == 1


def test_looks_keep_their_order_over_batches_and_leave_no_transaction_open(ledger: Ledger) -> None:
    entries = [Entry(str(number), "", number, number) for number in range(1201)]
    looks = []
    for found in ledger.look(iter(entries)):
        assert not ledger._connection.in_transaction  # noqa: SLF001
        assert ledger.claim(found.entry) == 1  # works between two looks
        looks.append(found.entry)
    assert looks == entries
    assert {found.status for found in ledger.look(entries)} == {Status.CLAIMED}
    assert list(ledger.look([])) == []


def test_a_scan_that_fails_hands_its_error_on(ledger: Ledger) -> None:
    def broken() -> Iterator[Entry]:
        yield ENTRY
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(ledger.look(broken()))
    assert look(ledger).status in (Status.NEW, Status.STABLE)


def test_two_threads_never_take_the_same_file(ledger: Ledger) -> None:
    entries = [Entry(str(number), "", 1, 1) for number in range(200)]
    list(ledger.look(entries))
    claims: list[str] = []

    def work() -> None:
        claims.extend(entry.relative for entry in entries if ledger.claim(entry))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claims) == sorted(entry.relative for entry in entries)


def test_a_full_disk_changes_nothing_and_ends(ledger: Ledger) -> None:
    taken(ledger)
    connection = ledger._connection  # noqa: SLF001
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    entries = [Entry(str(number), "", 1, 1) for number in range(2000)]
    with pytest.raises(StateUnusable) as caught:
        list(ledger.look(entries))
    assert caught.value.kind == "full"
    assert not connection.in_transaction
    assert ledger.counts()["claimed"] == 1
    connection.execute("PRAGMA max_page_count = 100000")
    assert len(list(ledger.look(entries))) == 2000
    assert ledger.finish(ENTRY, DONE)


def test_another_process_that_writes_is_told(ledger: Ledger, tmp_path: Path) -> None:
    ledger._connection.execute("PRAGMA busy_timeout = 20")  # noqa: SLF001
    with Ledger.open(tmp_path / "ledger.sqlite", KEYS) as other:
        other._connection.execute("BEGIN IMMEDIATE")  # noqa: SLF001
        with pytest.raises(StateUnusable) as caught:
            look(ledger)
        assert caught.value.kind == "busy"
        other._connection.execute("ROLLBACK")  # noqa: SLF001
    assert look(ledger).status is Status.NEW


def test_holds_nothing_in_the_clear(ledger: Ledger, tmp_path: Path) -> None:
    mark = "DOE^JANE"
    entry = Entry(f"{mark}/{mark}.dcm", f"/inbox/{mark}", 1, 1)
    taken(ledger, entry)
    instance, study = KEYS.of(f"1.2.{mark}"), KEYS.of(f"1.{mark}")
    ledger.finish(entry, Outcome(content=CONTENT, state="done", day=DAY, instance=instance, study=study))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.name.endswith("-wal") and path.stat().st_size for path in files)
    ledger.close()
    for path in (*files, *tmp_path.iterdir()):
        assert not path.exists() or os.fsencode(mark) not in path.read_bytes()
