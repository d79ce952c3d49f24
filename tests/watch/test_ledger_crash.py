"""SIGKILL and power cuts at any moment, and damage: what was confirmed stands, what was not is done again."""

import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import ledger_writer as writer
import pytest

from cxr_edge.watch import ledger_schema
from cxr_edge.watch.entry import Entry
from cxr_edge.watch.keys import Keys
from cxr_edge.watch.ledger import Ledger, LedgerDamaged, StateUnusable

KEYS = Keys(bytes(32))
KILLS = 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("results", "moved", "generations"):
        (tmp_path / name).mkdir()
    return tmp_path


def check_consistent(ledger: Ledger, results: set[str] | None = None) -> None:
    """What must hold after any crash; `results`: names of the results on the disk."""
    select = ledger._select  # noqa: SLF001
    assert select("PRAGMA integrity_check") == [("ok",)]
    counted = dict(select("SELECT state, count(*) FROM files GROUP BY state"))
    assert {state: n for state, n in ledger.counts().items() if n} == counted
    assert "claimed" not in counted
    undone = "SELECT count(*) FROM files LEFT JOIN contents USING (content) WHERE files.state IN ('done', 'rejected')"
    assert select(
        f"{undone} AND contents.state IS NOT CASE files.state WHEN 'done' THEN 'classified' ELSE 'rejected' END"
    ) == [(0,)]
    assert select("SELECT count(*) FROM contents WHERE study NOT IN (SELECT key FROM studies)") == [(0,)]
    if results is not None:
        assert {content.hex() for (content,) in select("SELECT content FROM contents")} <= results


def check_confirmed(folder: Path, ledger: Ledger, keys: Keys) -> None:
    """What the ledger had confirmed before the kill stands in it."""
    last: dict[str, list[str]] = {}
    for line in (folder / "confirmed").read_text().splitlines():
        word, number, *rest = line.split()
        last[number] = [word, *rest]
    for number, (word, generation, *tries) in last.items():
        key = keys.of(f"{int(number) % 7}/{number}")
        ((mtime_ns, state, n),) = ledger._select("SELECT mtime_ns, state, tries FROM files WHERE key = ?", key)  # noqa: SLF001
        if mtime_ns == int(generation):
            assert word == "claimed" or state in ("done", "rejected")
            assert word == "finished" or state != "seen" or n >= int(tries[0])


def work_to_the_end(folder: Path, ledger: Ledger, keys: Keys) -> None:
    """Whatever state the killed runs left, a run that is left in peace decides every file."""
    generation = len(list((folder / "generations").iterdir()))
    for _ in range(5):
        waiting = writer.one_pass(folder, ledger, keys, generation)
    assert waiting == 0
    for number in range(writer.FILES):
        assert ledger.known(writer.content_of(number, generation)) is not None
    assert {path.name for path in (folder / "results").iterdir()} >= {
        row[0].hex()
        for row in ledger._select("SELECT content FROM contents")  # noqa: SLF001
    }
    assert ledger.dirty_studies() == []


def killed_run(folder: Path, after_s: float, *, made: str = "salt") -> None:
    """Start the writer and kill it `after_s` seconds after a file of its own is there, or while its ledger is made."""
    child = subprocess.Popen([sys.executable, writer.__file__, str(folder)], stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 60
        while not (folder / made).exists() and child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.001)
        if (folder / "confirmed").exists():  # not the first run: over starting and opening as well
            time.sleep(0.2)
        time.sleep(after_s)
    finally:
        child.kill()
        _, errors = child.communicate()
    assert child.returncode == -signal.SIGKILL if sys.platform != "win32" else child.returncode == 1, errors.decode()


def test_is_consistent_whenever_it_is_killed(folder: Path) -> None:
    rounds = random.Random(5)  # noqa: S311 - moments, no secrets
    for number in range(KILLS):
        made = "salt" if number < KILLS // 2 else "confirmed"  # which a slow machine might never come to
        killed_run(folder, rounds.choice((0.01, 0.1, 0.4)) * rounds.random(), made=made)
        keys = Keys.open(folder)
        with Ledger.open(folder / writer.LEDGER, keys) as ledger:
            check_consistent(ledger, {path.name for path in (folder / "results").iterdir()})
            if (folder / "confirmed").exists():
                check_confirmed(folder, ledger, keys)
    assert (folder / "confirmed").stat().st_size > 0
    with Ledger.open(folder / writer.LEDGER, keys) as ledger:
        work_to_the_end(folder, ledger, keys)
        check_consistent(ledger)


def written(folder: Path, passes: int) -> Ledger:
    ledger = Ledger.open(folder / writer.LEDGER, KEYS)
    for _ in range(passes):
        writer.one_pass(folder, ledger, KEYS, 0)
    return ledger


@pytest.mark.parametrize("tail", ["cut", "zeros", "noise"])
def test_a_power_cut_takes_the_last_transactions_only(folder: Path, tail: str) -> None:
    noise = random.Random(7)  # noqa: S311
    with written(folder, 3):  # open: as a power cut finds it, its log not yet played into it
        database = (folder / writer.LEDGER).read_bytes()
        log = (folder / f"{writer.LEDGER}-wal").read_bytes()
    assert len(log) > 100_000
    known = -1
    for number in range(26):
        length = len(log) * number // 25 - (number * 37) % 4096 * (number < 25)
        lost = len(log) - max(length, 0)
        left = log[: max(length, 0)] + {"cut": b"", "zeros": bytes(lost), "noise": noise.randbytes(lost)}[tail]
        other = folder / f"cut {number}"
        other.mkdir()
        (other / writer.LEDGER).write_bytes(database)
        (other / f"{writer.LEDGER}-wal").write_bytes(left)
        with Ledger.open(other / writer.LEDGER, KEYS) as ledger:
            check_consistent(ledger, {path.name for path in (folder / "results").iterdir()})
            ((now_known,),) = ledger._select("SELECT count(*) FROM contents")  # noqa: SLF001
            if number % 5 == 0 and number:
                work_to_the_end(folder, ledger, KEYS)
        assert now_known >= known  # a shorter log is an earlier moment
        known = now_known
        shutil.rmtree(other)
        for path in (folder / "moved").iterdir():
            path.unlink()
    assert known == len(list((folder / "results").iterdir()))


def _truncate(path: Path) -> None:
    with path.open("r+b") as stream:
        stream.truncate(path.stat().st_size // 2)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _other_file(path: Path) -> None:
    path.write_bytes(b"no database, but of some length " * 100)


def _header(path: Path) -> None:
    with path.open("r+b") as stream:
        stream.write(bytes(100))


def _page(path: Path) -> None:
    with path.open("r+b") as stream:
        stream.seek(4096)
        stream.write(b"\xff" * (path.stat().st_size - 8192))


def _no_tables(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE other (x)")
    connection.close()


def _version(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE meta SET value = 99 WHERE name = 'schema_version'")
    connection.close()


def _gone_but_its_log(path: Path) -> None:
    path.rename(path.with_name(path.name + "-wal"))


def _gone_while_rebuilt(path: Path) -> None:
    path.rename(ledger_schema.rebuilt_name(path))


@pytest.mark.parametrize(
    "damage",
    [_truncate, _empty, _other_file, _header, _page, _no_tables, _version, _gone_but_its_log, _gone_while_rebuilt],
)
def test_damage_is_found_when_it_is_opened(folder: Path, damage: Callable[[Path], None]) -> None:
    written(folder, 2).close()
    path = folder / writer.LEDGER
    Ledger.open(path, KEYS).close()
    damage(path)
    before = {left.name: left.read_bytes() for left in folder.iterdir() if left.is_file()}
    with pytest.raises(LedgerDamaged):
        Ledger.open(path, KEYS)
    after = {left.name: left.read_bytes() for left in folder.iterdir() if left.is_file()}
    # looking into it has changed nothing but what SQLite makes beside it
    assert all(after[name] == content for name, content in before.items() if damage is not _no_tables)


def test_another_salt_is_found(folder: Path) -> None:
    written(folder, 1).close()
    with pytest.raises(LedgerDamaged, match="salt"):
        Ledger.open(folder / writer.LEDGER, Keys(bytes([1] * 32)))


def test_damage_is_found_while_it_is_used(folder: Path) -> None:
    written(folder, 2).close()
    with Ledger.open(folder / writer.LEDGER, KEYS) as ledger:
        _page(folder / writer.LEDGER)
        ledger._connection.execute("PRAGMA shrink_memory")  # noqa: SLF001 - what it had read is read again
        with pytest.raises(LedgerDamaged):
            list(ledger.look(writer.entries(folder, 0)))


def test_one_that_was_never_completed_is_made_again(folder: Path) -> None:
    (folder / "ledger-new.sqlite").write_bytes(b"half")
    (folder / "ledger-new.sqlite-wal").write_bytes(b"half")
    with Ledger.open(folder / writer.LEDGER, KEYS) as ledger:
        assert sum(ledger.counts().values()) == 0
    assert sorted(path.name for path in folder.iterdir() if path.is_file()) == [writer.LEDGER]


def test_an_unusable_disk_is_no_damage_and_is_told_without_a_path(tmp_path: Path) -> None:
    with pytest.raises(StateUnusable) as caught:
        Ledger.open(tmp_path / "PATIENT" / "ledger.sqlite", KEYS)
    assert "PATIENT" not in str(caught.value)
    (tmp_path / "ledger.sqlite").mkdir()
    with pytest.raises(StateUnusable):
        Ledger.open(tmp_path / "ledger.sqlite", KEYS)


def test_a_defect_of_the_program_is_not_taken_for_a_fault_of_the_disk(folder: Path) -> None:
    with written(folder, 1) as ledger, pytest.raises(sqlite3.OperationalError):
        ledger._select("SELECT nothing FROM nowhere")  # noqa: SLF001
    with pytest.raises(sqlite3.ProgrammingError):
        ledger.claim(Entry("x", "", 1, 1))  # closed
