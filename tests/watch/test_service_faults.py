"""The service as a process, while what it depends on goes away: inbox, results, room for its state."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from volumes import fill, make_read_only, small_volume
from watching import Watcher, csv_lines, dicom, partial_files, picture, put, rows, statuses, until

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")


# ---- the inbox


@contextlib.contextmanager
def _mounted(share: Path, at: Path) -> Iterator[None]:
    subprocess.run(["mount", "--bind", share, at], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", at], check=True)


@pytest.mark.parametrize("restart", [False, True])
def test_the_inbox_is_unmounted_and_mounted_again(tmp_path: Path, tiny: Path, *, restart: bool) -> None:
    inbox, outbox = tmp_path / "in", tmp_path / "out"
    inbox.mkdir()
    with small_volume(tmp_path / "share", "8m") as share, contextlib.ExitStack() as stack:
        with _mounted(share, inbox):
            first = put(inbox / "ward" / "a.dcm", dicom(1))
            watcher = stack.enter_context(Watcher(tiny, inbox, outbox))
            watcher.has(first)
            watcher.is_in("idle")
        watcher.is_in("inbox_away", "unmounted")
        assert not watcher.is_well()
        if restart:
            assert watcher.ends(signal.SIGTERM)[0] == 0
            watcher = stack.enter_context(Watcher(tiny, inbox, outbox))
            watcher.is_in("inbox_away", "unmounted")
        second = put(share / "ward" / "b.dcm", dicom(2))
        (inbox / "written below the mount point.dcm").write_bytes(dicom(3))
        time.sleep(0.5)
        watcher.is_in("inbox_away")
        assert set(rows(outbox)) == {first}
        with _mounted(share, inbox):
            watcher.has(second)
            watcher.is_in("idle")
            assert watcher.is_well()
            assert watcher.ends(signal.SIGTERM)[0] == 0
    assert watcher.told() == sorted([first, second])  # and nothing twice
    assert statuses(outbox) == {first: "classified", second: "classified"}
    assert len(watcher.events("fault")) == (2 if restart else 1)  # one line each time, however long it takes


def test_the_inbox_is_renamed_and_named_back(tmp_path: Path, tiny: Path) -> None:
    inbox, outbox, aside = tmp_path / "in", tmp_path / "out", tmp_path / "aside"
    first = put(inbox / "a.dcm", dicom(1))
    with Watcher(tiny, inbox, outbox) as watcher:
        watcher.has(first)
        watcher.is_in("idle")
        inbox.rename(aside)
        watcher.is_in("inbox_away", "missing")
        inbox.mkdir()
        watcher.is_in("inbox_away", "replaced")
        inbox.rmdir()
        second = put(aside / "b.dcm", dicom(2))
        aside.rename(inbox)
        watcher.has(second)
        watcher.is_in("idle")
        assert watcher.ends(signal.SIGINT)[0] == 0
    assert watcher.told() == sorted([first, second])


def test_once_says_that_the_inbox_went_away(tmp_path: Path, tiny: Path) -> None:
    inbox, outbox = tmp_path / "in", tmp_path / "out"
    put(inbox / "a.dcm", dicom(1))
    with Watcher(tiny, inbox, outbox, "--once") as watcher:
        assert watcher.ended()[0] == 0
    inbox.rename(tmp_path / "aside")
    with Watcher(tiny, inbox, outbox, "--once") as watcher:
        code, _, err = watcher.ended()
    assert code != 0
    assert "the inbox does not exist" in err
    assert str(tmp_path) not in err


# ---- the results


@contextlib.contextmanager
def _read_only(volume: Path) -> Iterator[None]:
    """For whoever comes by its path: a remount would be refused while the lock's file is open for writing."""
    with _mounted(volume, volume):
        subprocess.run(["mount", "-o", "remount,bind,ro", volume], check=True)
        yield


def test_no_room_for_results_and_room_again(tmp_path: Path, tiny: Path) -> None:
    inbox = tmp_path / "in"
    with small_volume(tmp_path / "out", "1m") as outbox:
        before = put(inbox / "before.png", picture(0))
        with Watcher(tiny, inbox, outbox) as watcher:
            watcher.has(before)
            watcher.is_in("idle")
            filler = fill(outbox)
            names = [put(inbox / f"{n}.png", picture(n)) for n in range(1, 31)]
            names.append(put(inbox / "bad.txt", b"no image at all " * 30))
            watcher.is_in("outbox_unavailable", "outbox_full")
            assert not watcher.is_well()
            time.sleep(2.5)
            assert partial_files(outbox) == []
            assert set(rows(outbox)) == {before}
            assert watcher.health()["in_flight"] < 20  # it takes no new work
            filler.unlink()
            watcher.has(*names)
            watcher.is_in("idle")
            assert watcher.ends(signal.SIGTERM)[0] == 0
        assert watcher.told() == sorted([before, *names])
        assert set(statuses(outbox)) == {before, *names}
        assert len(csv_lines(outbox)) == 32
        assert partial_files(outbox) == []
    assert "outbox_full" in watcher.fault_codes()


@pytest.mark.parametrize("files", [2, 40])
def test_it_ends_when_asked_though_there_is_no_room(tmp_path: Path, tiny: Path, files: int) -> None:
    inbox = tmp_path / "in"
    inbox.mkdir()
    with small_volume(tmp_path / "out", "1m") as outbox:
        with Watcher(tiny, inbox, outbox) as watcher:
            watcher.is_in("idle")
            filler = fill(outbox)
            names = [put(inbox / f"{n}.png", picture(n)) for n in range(files)]
            watcher.is_in("outbox_unavailable", "outbox_full")
            time.sleep(1.5)
            began = time.monotonic()
            code, _, _ = watcher.ends(signal.SIGTERM)
            assert time.monotonic() - began < 10
            assert code == 6
            assert watcher.health()["state"] == "stopped"
        assert partial_files(outbox) == []
        filler.unlink()
        with Watcher(tiny, inbox, outbox, "--once") as again:
            assert again.ended()[0] == 0
        assert statuses(outbox) == dict.fromkeys(names, "classified")
        assert again.told() == sorted(names)
        assert len(csv_lines(outbox)) == files


@pytest.mark.parametrize("files", [2, 40])
def test_once_ends_where_there_is_no_room(tmp_path: Path, tiny: Path, files: int) -> None:
    """However often that happens: it is not held against the files."""
    inbox = tmp_path / "in"
    inbox.mkdir()
    with small_volume(tmp_path / "out", "1m") as outbox:
        with Watcher(tiny, inbox, outbox, "--once") as first:
            assert first.ended()[0] == 0
        filler = fill(outbox)
        names = [put(inbox / f"{n}.png", picture(n)) for n in range(files)]
        with Watcher(tiny, inbox, outbox, "--once") as watcher:
            code, _, err = watcher.ended()
            assert (code, err) == (6, "cxr-edge: cannot write to the results folder: No space left on device\n")
        with contextlib.closing(sqlite3.connect(watcher.state / "ledger.sqlite")) as ledger:
            assert ledger.execute("SELECT DISTINCT state, tries FROM files").fetchall() == [("seen", 0)]
        filler.unlink()
        with Watcher(tiny, inbox, outbox, "--once") as again:
            assert again.ended()[0] == 0
        assert statuses(outbox) == dict.fromkeys(names, "classified")


def test_results_that_cannot_be_written(tmp_path: Path, tiny: Path) -> None:
    inbox = tmp_path / "in"
    with small_volume(tmp_path / "out", "1m") as outbox:
        first = put(inbox / "a.dcm", dicom(1))
        with Watcher(tiny, inbox, outbox, "--study-timeout", "3") as watcher:
            watcher.has(first)
            watcher.is_in("idle")
            with _read_only(outbox):
                second = put(inbox / "b.dcm", dicom(2))
                watcher.is_in("outbox_unavailable", "outbox_read_only")
                assert not watcher.is_well()
            watcher.has(second)
            watcher.is_in("idle")
            until(lambda: list(outbox.glob("study-*.json")))
            assert watcher.ends(signal.SIGTERM)[0] == 0
        assert watcher.told() == sorted([first, second])


def test_results_that_cannot_be_written_from_the_start(tmp_path: Path, tiny: Path) -> None:
    inbox = tmp_path / "in"
    with small_volume(tmp_path / "out", "1m") as outbox:
        name = put(inbox / "a.dcm", dicom(1))
        make_read_only(outbox, read_only=True)
        with Watcher(tiny, inbox, outbox) as watcher:
            watcher.is_in("outbox_unavailable", "outbox_read_only")
            make_read_only(outbox, read_only=False)
            watcher.has(name)
            assert watcher.ends(signal.SIGTERM)[0] == 0


def test_a_summary_that_is_owed_is_a_visible_fault_and_no_flood(tmp_path: Path, tiny: Path) -> None:
    """The images are done when the disk fails: only what is made from them is missing."""
    inbox = tmp_path / "in"
    with small_volume(tmp_path / "out", "1m") as outbox:
        names = [put(inbox / f"{n}.dcm", dicom(n)) for n in range(3)]
        with Watcher(tiny, inbox, outbox, "--study-timeout", "4") as watcher:
            watcher.has(*names)
            watcher.is_in("idle")
            with _read_only(outbox):
                watcher.is_in("outbox_unavailable", "outbox_read_only")
                time.sleep(11)  # a daily CSV is tried every 5
                told = Counter(event["code"] for event in watcher.events("fault"))
                assert 1 <= told["outbox_read_only"] <= 5  # at 0, 1, 3 and 7 seconds: pauses grow
                assert told["csv_delayed"] == 1
            until(lambda: list(outbox.glob("study-*.json")))
            watcher.is_in("idle")
            assert watcher.ends(signal.SIGTERM)[0] == 0
        assert len(csv_lines(outbox)) == 3


def test_the_results_folder_goes_away_and_comes_back(tmp_path: Path, tiny: Path) -> None:
    inbox, outbox, aside = tmp_path / "in", tmp_path / "out", tmp_path / "aside"
    first = put(inbox / "a.dcm", dicom(1))
    with Watcher(tiny, inbox, outbox) as watcher:
        watcher.has(first)
        watcher.is_in("idle")
        outbox.rename(aside)
        second = put(inbox / "b.dcm", dicom(2))
        watcher.is_in("outbox_unavailable", "outbox_away")
        outbox.mkdir()  # as an unmounted share leaves it
        time.sleep(1.5)
        assert list(outbox.iterdir()) == []
        outbox.rmdir()
        aside.rename(outbox)
        watcher.has(second)
        watcher.is_in("idle")
        assert watcher.ends(signal.SIGTERM)[0] == 0
    assert watcher.told() == sorted([first, second])


def test_no_room_for_the_state(tmp_path: Path, tiny: Path) -> None:
    inbox, outbox = tmp_path / "in", tmp_path / "out"
    inbox.mkdir()
    with small_volume(tmp_path / "state-in", "1m") as state, Watcher(tiny, inbox, outbox) as watcher:
        watcher.is_in("idle")
        filler = fill(state)
        names = [put(inbox / f"{n}.png", picture(n)) for n in range(30)]
        until(lambda: {"state_full"} & watcher.fault_codes())
        filler.unlink()
        watcher.has(*names)
        watcher.is_in("idle")
        assert watcher.ends(signal.SIGTERM)[0] == 0
        assert statuses(outbox) == dict.fromkeys(names, "classified")
        assert len(csv_lines(outbox)) == 30
