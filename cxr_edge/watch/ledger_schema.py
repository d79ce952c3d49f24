"""The ledger's tables, and how its file is made, opened and checked."""

import contextlib
import os
import sqlite3
import time
from pathlib import Path
from typing import Final

from cxr_edge.files import sync_folder
from cxr_edge.watch.keys import Keys
from cxr_edge.watch.state_errors import LedgerDamaged, sqlite_errors, unusable

SCHEMA_VERSION: Final = 3
BUSY_MS: Final = 10_000
WAL_LIMIT_BYTES: Final = 16 * 1024 * 1024
CACHE_KIB: Final = 16 * 1024  # at most, of memory; SQLite's own 2 MB make looks over 100,000 files a seventh slower
_SIDE_FILES: Final = ("-wal", "-shm", "-journal")
_SALTED: Final = "cxr-edge ledger"  # its key tells a ledger's salt from another
_STATES: Final = ("seen", "claimed", "done", "rejected", "incomplete")

# Tallies are kept by triggers: inside the same transaction, so that no crash can part them from the rows they count.
_TABLES: Final = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE files (
    key BLOB PRIMARY KEY,           -- of the path below the inbox
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('seen', 'claimed', 'done', 'rejected', 'incomplete')),
    content BLOB,
    tries INTEGER NOT NULL,         -- claims without an outcome
    since REAL NOT NULL,            -- monotonic time in s at which it was first found with this size and mtime
    seen_day INTEGER NOT NULL,      -- proleptic ordinal of the day (UTC) it was last found in the inbox
    moved INTEGER NOT NULL,
    inode INTEGER,                  -- these two: NULL or 0 where they are not known
    ctime_ns INTEGER
) WITHOUT ROWID;
CREATE TABLE contents (
    content BLOB PRIMARY KEY,       -- SHA-256 of the bytes
    state TEXT NOT NULL CHECK (state IN ('classified', 'rejected')),
    instance BLOB,
    study BLOB,
    reason TEXT,
    score REAL,
    decides INTEGER NOT NULL,
    day TEXT NOT NULL,              -- of the daily CSV file it belongs to
    in_csv INTEGER NOT NULL,
    positive INTEGER,               -- these two: NULL where they are not known
    read_by BLOB                    -- digest of the model's SHA-256 and the operating point
) WITHOUT ROWID;
CREATE INDEX contents_instance ON contents (instance) WHERE instance IS NOT NULL;
CREATE INDEX contents_study ON contents (study) WHERE study IS NOT NULL;
CREATE INDEX contents_csv ON contents (day) WHERE in_csv = 0;
CREATE TABLE studies (
    key BLOB PRIMARY KEY,
    dirty INTEGER NOT NULL,         -- contents that no summary holds so far
    changed REAL NOT NULL           -- monotonic time in s of the last of them
) WITHOUT ROWID;
CREATE INDEX studies_dirty ON studies (changed) WHERE dirty > 0;
CREATE TABLE tallies (state TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID;
CREATE TRIGGER files_come AFTER INSERT ON files BEGIN
    UPDATE tallies SET n = n + 1 WHERE state = NEW.state;
END;
CREATE TRIGGER files_change AFTER UPDATE OF state ON files WHEN OLD.state <> NEW.state BEGIN
    UPDATE tallies SET n = n - 1 WHERE state = OLD.state;
    UPDATE tallies SET n = n + 1 WHERE state = NEW.state;
END;
CREATE TRIGGER files_go AFTER DELETE ON files BEGIN
    UPDATE tallies SET n = n - 1 WHERE state = OLD.state;
END;
"""
_MIGRATIONS: Final = {  # from the version to the next one
    1: "ALTER TABLE files ADD COLUMN inode INTEGER; ALTER TABLE files ADD COLUMN ctime_ns INTEGER;",
    2: "ALTER TABLE contents ADD COLUMN positive INTEGER; ALTER TABLE contents ADD COLUMN read_by BLOB;",
}
SEE: Final = """
INSERT INTO files (key, size, mtime_ns, state, content, tries, since, seen_day, moved, inode, ctime_ns)
VALUES (?, ?, ?, 'seen', NULL, 0, ?, ?, 0, ?, ?)
ON CONFLICT (key) DO UPDATE SET size = excluded.size, mtime_ns = excluded.mtime_ns, state = 'seen', content = NULL,
    tries = 0, since = excluded.since, seen_day = excluded.seen_day, moved = 0, inode = excluded.inode,
    ctime_ns = excluded.ctime_ns
"""
RECORD: Final = """
INSERT INTO contents (content, state, instance, study, reason, score, decides, day, positive, read_by, in_csv)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)
ON CONFLICT (content) DO UPDATE SET state = excluded.state, reason = excluded.reason, score = excluded.score,
    decides = excluded.decides, positive = excluded.positive, read_by = excluded.read_by,
    instance = coalesce(excluded.instance, instance), study = coalesce(excluded.study, study)
"""
SOIL: Final = """
INSERT INTO studies (key, dirty, changed) VALUES (?, 1, ?)
ON CONFLICT (key) DO UPDATE SET dirty = dirty + 1, changed = excluded.changed
"""


def connect(path: Path) -> sqlite3.Connection:
    """A connection in WAL mode; every transaction is begun by its user."""
    connection = sqlite3.connect(path, timeout=BUSY_MS / 1000, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        # a power cut may lose the last transactions, never their order: what they told is then done again
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT_BYTES}")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        connection.execute("PRAGMA temp_store = MEMORY")  # no temporary file outside the state folder
    except BaseException:
        connection.close()
        raise
    return connection


def make(path: Path, keys: Keys) -> sqlite3.Connection:
    """A new and empty ledger under `path`, which nobody opens by this name before it is complete.

    Leftovers of an earlier attempt are removed.
    """
    for left in (path, *side_files(path)):
        left.unlink(missing_ok=True)
    connection = connect(path)
    try:
        connection.executescript(f"BEGIN IMMEDIATE; {_TABLES}")
        connection.executemany("INSERT INTO tallies VALUES (?, 0)", [(state,) for state in _STATES])
        meta = [("schema_version", SCHEMA_VERSION), ("salted", keys.of(_SALTED))]
        connection.executemany("INSERT INTO meta VALUES (?, ?)", meta)
        connection.execute("COMMIT")
    except BaseException:
        connection.close()
        raise
    return connection


def finish_making(connection: sqlite3.Connection, path: Path) -> None:
    """Close a new ledger so that it is one file, whole on the disk."""
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.execute("PRAGMA journal_mode = DELETE")  # a rename moves the file alone
    connection.close()
    with path.open("r+b") as stream:
        os.fsync(stream.fileno())


def open_or_make(path: Path, keys: Keys) -> sqlite3.Connection:
    """The ledger at `path`, checked; a new one where there has never been any.

    Raises:
        LedgerDamaged: it is none, or damaged, or of another version or salt, or its parts lie there without it.
        StateUnusable: the disk does not let it.
    """
    try:
        if not path.exists():
            if any(left.exists() for left in (*side_files(path), rebuilt_name(path))):
                message = "the ledger is gone, and parts of it are left"
                raise LedgerDamaged(message)
            fresh = path.with_name(f"{path.stem}-new{path.suffix}")
            with sqlite_errors():
                finish_making(make(fresh, keys), fresh)
            fresh.replace(path)
            sync_folder(path.parent)
        with sqlite_errors():
            return _checked(path, keys)
    except OSError as error:
        raise unusable(error, "the ledger") from error


def rebuilt_name(path: Path) -> Path:
    """Where a new ledger is built beside a damaged one."""
    return path.with_name(f"{path.stem}-rebuilt{path.suffix}")


def side_files(path: Path) -> list[Path]:
    """The files that SQLite keeps beside a database."""
    return [path.with_name(path.name + end) for end in _SIDE_FILES]


def put_aside(path: Path) -> None:
    """Rename a damaged ledger and what SQLite kept beside it; nothing is deleted but the index of the shared memory."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    aside = path.with_name(f"{path.stem}-damaged-{stamp}{path.suffix}")
    number = 1
    while any(taken.exists() for taken in (aside, *side_files(aside))):
        number += 1
        aside = path.with_name(f"{path.stem}-damaged-{stamp}-{number}{path.suffix}")
    with contextlib.suppress(FileNotFoundError):  # an attempt that was killed had come this far
        path.rename(aside)
    wal, shared_memory, journal = side_files(path)
    # SQLite would play a log that is left behind into the new ledger
    for left, end in ((wal, "-wal"), (journal, "-journal")):
        with contextlib.suppress(FileNotFoundError):
            left.rename(aside.with_name(aside.name + end))
    shared_memory.unlink(missing_ok=True)


def _checked(path: Path, keys: Keys) -> sqlite3.Connection:
    if path.stat().st_size == 0:  # SQLite takes nothing for an empty database, but it is one that was lost
        message = "the ledger is damaged: it is empty"
        raise LedgerDamaged(message)
    connection = connect(path)
    try:
        if damage := _damage(connection, keys):
            raise LedgerDamaged(damage)  # noqa: TRY301 - the connection is closed below
        _migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _damage(connection: sqlite3.Connection, keys: Keys) -> str | None:
    try:
        meta = dict(connection.execute("SELECT name, value FROM meta"))
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_ERROR:
            raise
        return "the ledger is damaged: its tables are missing"
    if meta.get("schema_version") not in (*_MIGRATIONS, SCHEMA_VERSION):
        return f"the ledger's schema version is not {SCHEMA_VERSION}"
    if meta.get("salted") != keys.of(_SALTED):
        return "the ledger was made with another salt"
    verdicts = connection.execute("PRAGMA quick_check(1)").fetchall()
    return None if verdicts == [("ok",)] else "the ledger is damaged: its pages contradict each other"


def _migrate(connection: sqlite3.Connection) -> None:
    """Bring a sound ledger of an earlier release to this one's tables, in one transaction."""
    ((version,),) = connection.execute("SELECT value FROM meta WHERE name = 'schema_version'").fetchall()
    for earlier in range(version, SCHEMA_VERSION):
        connection.executescript(f"BEGIN IMMEDIATE; {_MIGRATIONS[earlier]}")
        connection.execute("UPDATE meta SET value = ? WHERE name = 'schema_version'", (earlier + 1,))
        connection.execute("COMMIT")
