"""The ledger: what was seen in the inbox and what became of it, so that a restart neither loses nor repeats a file.

A result reaches the disk first and the ledger then. What a crash cuts off the ledger's end is done again and has the
same effect, because a result file is named by its content and a file that stands is kept.

Nothing here is in the clear: `Keys` stand for paths and UIDs.
"""

import contextlib
import itertools
import math
import sqlite3
import threading
import time
from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from cxr_edge.watch import ledger_schema
from cxr_edge.watch.boot import boot_mark, is_same_boot
from cxr_edge.watch.entry import Entry
from cxr_edge.watch.keys import Keys
from cxr_edge.watch.ledger_judge import Judge, Row, int64, numbers_of
from cxr_edge.watch.ledger_values import Content, FileState, Look, Outcome, Rebuilt, Status, Study, content_of
from cxr_edge.watch.state_errors import LedgerDamaged, StateUnusable, sqlite_errors

__all__ = ["Content", "Ledger", "LedgerDamaged", "Look", "Outcome", "Rebuilt", "StateUnusable", "Status", "Study"]

BATCH: Final = 500  # files in one transaction of a look
KEEP_DECIDED_DAYS: Final = 30
KEEP_UNDECIDED_DAYS: Final = 2  # a temporary name that was renamed, a file that somebody took away again
_CLAIM: Final = """
UPDATE files SET state = 'claimed', tries = tries + 1
WHERE key = ? AND size = ? AND mtime_ns = ? AND state = 'seen' RETURNING tries
"""
_RELEASE: Final = """
UPDATE files SET state = 'seen', tries = max(tries - 1, 0)
WHERE key = ? AND size = ? AND mtime_ns = ? AND state = 'claimed'
"""
_DECIDE: Final = "UPDATE files SET state = ?, content = ?, moved = 0 WHERE key = ? AND size = ? AND mtime_ns = ?"
_REOPEN: Final = """
UPDATE files SET state = 'seen', content = NULL, tries = 0, since = ?, moved = 0
WHERE key = ? AND size = ? AND mtime_ns = ? AND state IN ('done', 'rejected', 'incomplete')
"""
_REMEMBER: Final = "UPDATE files SET inode = ?, ctime_ns = ? WHERE key = ?"
_MOVED: Final = "UPDATE files SET moved = 1 WHERE key = ? AND size = ? AND mtime_ns = ?"
_CONTENT: Final = (
    "SELECT content, state, instance, study, reason, score, decides, day, positive, read_by FROM contents "
)


class Ledger:
    """One inbox's memory, for one process at a time; its methods may be called by several threads.

    Every method raises `LedgerDamaged` when SQLite finds the file damaged, `StateUnusable` when the disk does not let
    it; a method that raises has changed nothing.
    """

    def __init__(self, connection: sqlite3.Connection, keys: Keys, rebuilt: Rebuilt | None = None) -> None:
        """Take a checked connection; `Ledger.open` and `rebuild` make them."""
        self.rebuilt = rebuilt
        self._connection = connection
        self._keys = keys
        self._lock = threading.RLock()

    @classmethod
    def open(cls, path: Path, keys: Keys) -> Self:
        """The ledger at `path`, made where there has been none. What earlier runs had claimed is free again.

        Args:
            path: of the file, on a local disk. The caller holds the lock of its folder.
            keys: those it was made with.

        Raises:
            LedgerDamaged: SQLite or `PRAGMA quick_check` says so, its schema version is unknown, or its salt another.
            StateUnusable: the disk does not let it.
        """
        ledger = cls(ledger_schema.open_or_make(path, keys), keys)
        try:
            ledger._begin_run()
        except BaseException:
            ledger.close()
            raise
        return ledger

    def look(self, found: Iterable[Entry], *, move: Collection[FileState] = ()) -> Iterator[Look]:
        """What is to be done about each file that a scan found, in the same order.

        New and changed files are recorded before they are yielded. No transaction is open while the caller works.

        Args:
            found: of a scan; read in batches of some hundred.
            move: the final states whose files are to be moved out of the inbox.
        """
        found = iter(found)
        while batch := list(itertools.islice(found, BATCH)):
            yield from self._look_at(batch, move)

    def claim(self, entry: Entry) -> int:
        """Take a file, on the record before it is read: one that kills the service is known by its tries.

        Returns:
            How often it was claimed without an outcome, this time included; 0 where it is not to be taken: it has
            changed since, is decided, or is claimed already.
        """
        with self._transaction() as connection:
            rows = connection.execute(_CLAIM, self._identity(entry)).fetchall()
        return int(rows[0][0]) if rows else 0

    def release(self, entry: Entry) -> None:
        """Give a claimed file back, uncounted: it was not whole, or the fault was not its own."""
        with self._transaction() as connection:
            connection.execute(_RELEASE, self._identity(entry))

    def known(self, content: bytes) -> Content | None:
        """What became of a content in whichever file it came before."""
        found = self._contents("WHERE content = ?", content)
        return found[0] if found else None

    def other_content_of(self, instance: bytes, content: bytes) -> bytes | None:
        """Another content with the same SOP Instance UID: a conflict."""
        found = self._contents("WHERE instance = ? AND content <> ? ORDER BY content LIMIT 1", instance, content)
        return found[0].content if found else None

    def finish(self, entry: Entry, outcome: Outcome) -> bool:
        """Record what became of a file, of its content and of its study, in one transaction.

        Call it when the result is on the disk. A content that stands already keeps its day and its place in the CSV.

        Returns:
            Whether the file in the inbox is, as far as the ledger knows, still the one that was read; else it is looked
            at again, and must not be moved.
        """
        with self._transaction() as connection:
            same = self._decide(entry, outcome.state, outcome.content)
            if outcome.content is not None:
                state = "classified" if outcome.state == "done" else "rejected"
                # part of an image is no second image of its study, nor in conflict with the whole one
                whole = outcome.state != "incomplete"
                instance, study = (outcome.instance, outcome.study) if whole else (None, None)
                verdict = (outcome.reason, outcome.score, outcome.decides, outcome.day)
                rest = (instance, study, *verdict, outcome.positive, outcome.read_by)
                connection.execute(ledger_schema.RECORD, (outcome.content, state, *rest))
                if study is not None:
                    connection.execute(ledger_schema.SOIL, (study, _now()))
        return same

    def finish_duplicate(self, entry: Entry, known: Content) -> bool:
        """Record that a file holds a content that has a result; returns as `finish`."""
        with self._transaction():
            return self._decide(entry, "done" if known.state == "classified" else "rejected", known.content)

    def moved(self, entry: Entry) -> None:
        """A decided file has left the inbox; found there again, it counts as new."""
        with self._transaction() as connection:
            connection.execute(_MOVED, self._identity(entry))

    def remember(self, entry: Entry) -> None:
        """A decided file holds what it held, under another inode or ctime."""
        with self._transaction() as connection:
            connection.execute(_REMEMBER, (*numbers_of(entry), self._keys.of(entry.relative)))

    def reopen(self, entry: Entry) -> None:
        """A decided file has other bytes than were read, by the same size and time: it is looked at as a new one."""
        with self._transaction() as connection:
            connection.execute(_REOPEN, (_now(), *self._identity(entry)))

    def rows_for_csv(self, limit: int) -> list[Content]:
        """Contents that no daily CSV file holds so far, newest day first: an old file may be held for long."""
        return self._contents("WHERE in_csv = 0 ORDER BY day DESC LIMIT ?", limit)

    def mark_in_csv(self, contents: Iterable[bytes]) -> None:
        """These contents stand in their day's CSV file, on the disk."""
        with self._transaction() as connection:
            sql = "UPDATE contents SET in_csv = 1 WHERE content = ?"
            connection.executemany(sql, [(content,) for content in contents])

    def dirty_studies(self, quiet_s: float = 0.0, limit: int = 1000) -> list[Study]:
        """Studies with results that no summary holds, and no new one for so many seconds; longest quiet first."""
        sql = "SELECT key, dirty, ? - changed FROM studies WHERE dirty > 0 AND changed <= ? ORDER BY changed LIMIT ?"
        now = _now()
        return [Study(*row) for row in self._select(sql, now, now - quiet_s, limit)]

    def contents_of(self, study: Study) -> list[Content]:
        """The contents of a study, in a fixed order."""
        return self._contents("WHERE study = ? ORDER BY content", study.key)

    def clean(self, study: Study) -> None:
        """Its summary, made from what `contents_of` gave after `dirty_studies`, is on the disk."""
        with self._transaction() as connection:  # a result that came meanwhile has raised `dirty` and keeps it so
            sql = "UPDATE studies SET dirty = 0 WHERE key = ? AND dirty = ?"
            connection.execute(sql, (study.key, study.changes))

    def counts(self) -> dict[str, int]:
        """Files by state, those that have left the inbox included until they are pruned; read off, not counted."""
        return dict(self._select("SELECT state, n FROM tallies"))

    def prune(self, today: date) -> int:
        """Forget files that have not been found for long: 30 days, 2 while undecided. Contents stay.

        Call it after a whole look. Days count back from the last look, so that neither a long absence of the inbox nor
        a jump of the clock makes the ledger forget what is there.

        Returns:
            How many it forgot.
        """
        with self._transaction() as connection:
            ((last,),) = connection.execute("SELECT coalesce(max(seen_day), 0) FROM files").fetchall()
            last = min(last, today.toordinal())
            sql = "DELETE FROM files WHERE seen_day < CASE state WHEN 'seen' THEN ? ELSE ? END"
            return connection.execute(sql, (last - KEEP_UNDECIDED_DAYS, last - KEEP_DECIDED_DAYS)).rowcount

    def close(self) -> None:
        """Flush and close; a second time does nothing."""
        with self._lock, sqlite_errors():
            self._connection.close()

    def __enter__(self) -> Self:
        """The ledger itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close it."""
        self.close()

    def _begin_run(self) -> None:
        now, boot = _now(), boot_mark()
        with self._transaction() as connection:
            connection.execute("UPDATE files SET state = 'seen' WHERE state = 'claimed'")
            before = connection.execute("SELECT value FROM meta WHERE name = 'boot'").fetchone()
            # after a restart of the machine its monotonic clock says nothing of what stands here
            latest = now if before and is_same_boot(str(before[0]), boot) else -math.inf
            connection.execute("UPDATE files SET since = ? WHERE since > ?", (now, latest))
            connection.execute("UPDATE studies SET changed = ? WHERE changed > ?", (now, latest))
            connection.execute("INSERT OR REPLACE INTO meta VALUES ('boot', ?)", (boot,))

    def _look_at(self, batch: list[Entry], move: Collection[FileState]) -> list[Look]:
        keys = [self._keys.of(entry.relative) for entry in batch]
        with self._lock:
            marks = ",".join("?" * len(keys))
            rows = self._select(f"SELECT * FROM files WHERE key IN ({marks})", *keys)  # noqa: S608
            known: dict[bytes, Row] = {row[0]: row for row in rows}
            judge = Judge(_now(), _today().toordinal(), move)
            looks = [judge.look(key, entry, known.get(key)) for key, entry in zip(keys, batch, strict=True)]
            if judge.new or judge.not_yet_today or judge.renumbered:
                with self._transaction() as connection:
                    connection.executemany(ledger_schema.SEE, judge.new)
                    connection.executemany("UPDATE files SET seen_day = ? WHERE key = ?", judge.not_yet_today)
                    connection.executemany(_REMEMBER, judge.renumbered)
        return looks

    def _decide(self, entry: Entry, state: FileState, content: bytes | None) -> bool:
        return self._connection.execute(_DECIDE, (state, content, *self._identity(entry))).rowcount == 1

    def _identity(self, entry: Entry) -> tuple[bytes, int, int]:
        return self._keys.of(entry.relative), int64(entry.size), int64(entry.mtime_ns)

    def _contents(self, where: str, *values: object) -> list[Content]:
        return [content_of(row) for row in self._select(_CONTENT + where, *values)]

    def _select(self, sql: str, *values: object) -> list[Any]:
        with self._lock, sqlite_errors():
            return self._connection.execute(sql, values).fetchall()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, sqlite_errors():
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    with contextlib.suppress(sqlite3.Error):  # a full disk has rolled back already
                        self._connection.execute("ROLLBACK")
                raise


def _now() -> float:
    return time.monotonic()


def _today() -> date:
    return datetime.now(UTC).date()
