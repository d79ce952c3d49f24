"""The service as a process: permissions, a second watcher, signals, a damaged ledger, a clock that jumps."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
from volumes import small_volume
from watching import (
    Row,
    Watcher,
    csv_lines,
    dicom,
    partial_files,
    picture,
    put,
    rows,
    statuses,
    until,
    without_roots_rights,
)

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")


# ---- a file that cannot be opened


def test_a_file_without_permission(tmp_path: Path, tiny: Path) -> None:
    inbox, outbox = tmp_path / "in", tmp_path / "out"
    good, locked = put(inbox / "good.dcm", dicom(1)), put(inbox / "locked.dcm", dicom(2))
    (inbox / "locked.dcm").chmod(0)
    with Watcher(tiny, inbox, outbox, prefix=without_roots_rights()) as watcher:
        watcher.has(good)
        until(lambda: len(watcher.events("retry")) >= 2)
        assert locked not in rows(outbox)
        (inbox / "locked.dcm").chmod(0o644)
        watcher.has(locked)
        assert watcher.ends(signal.SIGTERM)[0] == 0
    assert {event["code"] for event in watcher.events("retry")} == {"file_unreadable"}
    assert statuses(outbox) == {good: "classified", locked: "classified"}


# ---- two watchers


def test_two_watchers(tmp_path: Path, tiny: Path) -> None:
    inbox, outbox = tmp_path / "in", tmp_path / "out"
    (tmp_path / "other").mkdir()
    name = put(inbox / "a.dcm", dicom(1))
    with Watcher(tiny, inbox, outbox) as watcher:
        watcher.has(name)
        with Watcher(tiny, inbox, tmp_path / "elsewhere") as same_inbox:
            code, _, err = same_inbox.ended()
            assert (code, f"is in use by process {watcher.process.pid} on " in err) == (2, True)
        with Watcher(tiny, tmp_path / "other", outbox) as same_outbox:
            code, _, err = same_outbox.ended()
            assert (code, f"results folder is in use by process {watcher.process.pid}" in err) == (2, True)
        assert watcher.is_well()
        watcher.process.kill()
        watcher.process.wait()
        with Watcher(tiny, inbox, outbox, "--once") as after_a_kill:
            assert after_a_kill.ended()[0] == 0
    assert list(rows(outbox)) == [name]


# ---- signals


def test_the_second_signal_ends_it_at_once(tmp_path: Path, tiny: Path) -> None:
    inbox = tmp_path / "in"
    inbox.mkdir()
    with small_volume(tmp_path / "out", "1m") as outbox, Watcher(tiny, inbox, outbox, script=SLOW) as watcher:
        watcher.is_in("idle")
        put(inbox / "a.png", picture(1))
        watcher.is_in("running")
        until(lambda: watcher.health()["in_flight"] or watcher.events("retry") or (watcher.state / "slow").exists())
        watcher.process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert watcher.process.poll() is None
        assert watcher.ends(signal.SIGINT)[0] == 130
        assert rows(outbox) == {}


def test_the_running_image_is_finished(tmp_path: Path, tiny: Path) -> None:
    inbox, outbox = tmp_path / "in", tmp_path / "out"
    inbox.mkdir()
    with Watcher(tiny, inbox, outbox, script=SLOW) as watcher:
        watcher.is_in("idle")
        name = put(inbox / "a.png", picture(1))
        until((watcher.state / "slow").exists)
        assert rows(outbox) == {}
        assert watcher.ends(signal.SIGTERM)[0] == 0
    assert statuses(outbox) == {name: "classified"}
    assert len(csv_lines(outbox)) == 1
    assert [event["state"] for event in watcher.events("state_changed")][-2:] == ["stopping", "stopped"]


SLOW = """
import sys, time
from pathlib import Path
from cxr_edge import classifier
decide = classifier.decide
def slow(*arguments):
    if "--state" in sys.argv and (state := Path(sys.argv[sys.argv.index("--state") + 1])).exists():
        (state / "slow").touch()
        time.sleep(2.5)
    return decide(*arguments)
classifier.decide = slow
from cxr_edge.cli import main
sys.argv[0] = "cxr-edge"
main()
"""


# ---- the ledger


def _damage(ledger: Path, how: str) -> None:
    content = ledger.read_bytes()
    if how == "middle":
        with ledger.open("r+b") as stream:
            for at in range(4096, len(content), 4096):
                stream.seek(at)
                stream.write(os.urandom(512))
    elif how == "cut":
        os.truncate(ledger, len(content) // 2)
    elif how == "text":
        ledger.write_text("the disk was checked, and this was found in its place\n" * 200)
    elif how == "gone":
        ledger.unlink()
    elif how == "empty":
        os.truncate(ledger, 0)


@pytest.mark.parametrize("how", ["middle", "cut", "text", "gone", "empty"])
def test_a_ledger_that_is_damaged_at_the_start(tmp_path: Path, tiny: Path, how: str) -> None:
    inbox, outbox = tmp_path / "in", tmp_path / "out"
    names = [put(inbox / f"{n}.dcm", dicom(n)) for n in range(3)] + [put(inbox / "bad.txt", b"no image at all " * 30)]
    with Watcher(tiny, inbox, outbox, "--once") as watcher:
        assert watcher.ended()[0] == 0
    before = {path: path.stat().st_mtime_ns for path in outbox.glob("*.json")}
    assert len(before) >= len(names)
    _damage(watcher.state / "ledger.sqlite", how)
    late = put(inbox / "late.dcm", dicom(7))
    with Watcher(tiny, inbox, outbox, "--once") as watcher:
        assert watcher.ended()[0] == 0
    images = {path: time for path, time in before.items() if len(path.stem) == 64}
    assert images == {path: path.stat().st_mtime_ns for path in images}
    assert set(rows(outbox)) == {*names, late}
    assert len(csv_lines(outbox)) == len(names) + 1
    assert [event["rows"] for event in watcher.events("ledger_rebuilt")] == [len(names)]
    assert len(list(watcher.state.glob("ledger-damaged-*.sqlite"))) == (how != "gone")
    assert watcher.told() == sorted([*names, late])  # over both runs
    assert ("ledger_missing" if how == "gone" else "ledger_damaged") in watcher.fault_codes()
    with Watcher(tiny, inbox, outbox, "--once") as again:
        assert again.ended()[0] == 0
    assert len(again.events("ledger_rebuilt")) == len(watcher.events("ledger_rebuilt"))


@pytest.mark.parametrize("how", ["middle", "cut", "text", "gone", "empty"])
def test_a_ledger_that_is_damaged_while_it_is_used(tmp_path: Path, tiny: Path, how: str) -> None:
    inbox, outbox = tmp_path / "in", tmp_path / "out"
    names = [put(inbox / f"{n}.dcm", dicom(n)) for n in range(3)]
    with Watcher(tiny, inbox, outbox) as watcher:
        watcher.has(*names)
        watcher.is_in("idle")
        _damage(watcher.state / "ledger.sqlite", how)
        names += [put(inbox / f"{n}.png", picture(n)) for n in range(3)]
        watcher.has(*names)
        code, _, err = watcher.ends(signal.SIGTERM)
        assert (code, "Traceback" in err) == (0, False)
    for _ in range(2):  # what was undone is done again, and then no more
        with Watcher(tiny, inbox, outbox, "--once") as again:
            assert again.ended()[0] == 0
    assert statuses(outbox) == dict.fromkeys(names, "classified")
    assert len(csv_lines(outbox)) == len(names)
    health: Row = json.loads((again.state / "health.json").read_bytes())
    assert health["ledger"]["done"] == len(names)
    assert partial_files(tmp_path) == []


# ---- the clock


CLOCK = """
import datetime, os, sys, time
offset = os.path.join(os.path.dirname(sys.argv[2]), "clock")
def ahead():
    try:
        with open(offset) as stream:
            return float(stream.read() or 0)
    except FileNotFoundError:
        return 0.0
true_time, true = time.time, datetime.datetime
class Jumping(true):
    @classmethod
    def now(cls, tz=None):
        return true.fromtimestamp(true_time() + ahead(), tz)
time.time = lambda: true_time() + ahead()
time.time_ns = lambda: int(time.time() * 1e9)
datetime.datetime = Jumping
from cxr_edge.cli import main
sys.argv[0] = "cxr-edge"
main()
"""


@pytest.mark.parametrize("days", [400, -4000])
def test_the_clock_jumps(tmp_path: Path, tiny: Path, days: int) -> None:
    """What is decided by time goes by a clock that nobody sets; files' own times may be any."""
    inbox, outbox = tmp_path / "in", tmp_path / "out"
    old = put(inbox / "old.dcm", dicom(1))
    options = ("--incomplete-after", "600", "--study-timeout", "600")
    with Watcher(tiny, inbox, outbox, *options, script=CLOCK) as watcher:
        watcher.has(old)
        put(inbox / "cut.dcm", dicom(2)[:3000])
        watcher.is_in("waiting")
        (tmp_path / "clock").write_text(str(days * 86400))
        names = [old]
        for number, year in enumerate((1971, 1999, 2199)):
            names.append(put(inbox / f"{year}.dcm", dicom(3 + number)))
            moment = (year - 1970) * 365.25 * 86400
            os.utime(inbox / f"{year}.dcm", (moment, moment))
        watcher.has(*names)
        until(lambda: abs(int(str(watcher.health()["updated"])[:4]) - time.gmtime().tm_year) >= 1)
        time.sleep(1.5)
        assert not watcher.events("incomplete")
        assert not list(outbox.glob("study-*.json"))  # not quiet for 600 s yet
        whole = put(inbox / "cut.dcm", dicom(2))
        watcher.has(whole)
        assert watcher.ends(signal.SIGTERM)[0] == 0
    with Watcher(tiny, inbox, outbox, *options, "--once") as again:
        assert again.ended()[0] == 0
    assert again.told() == sorted([*names, whole])
    assert statuses(outbox) == dict.fromkeys([*names, whole], "classified")
    assert len(csv_lines(outbox)) == 5
    assert len(list(outbox.glob("study-*.json"))) == 1
