"""A new ledger from the results, when the old one is damaged or gone, or its salt is lost."""

import contextlib
import itertools
import os
import re
import sqlite3
import stat
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

from cxr_edge.files import sync_folder
from cxr_edge.watch import ledger_schema
from cxr_edge.watch.arrival import UNFINISHED
from cxr_edge.watch.keys import Keys
from cxr_edge.watch.ledger import Ledger, Rebuilt
from cxr_edge.watch.outbox import MAX_RESULT_BYTES, Outbox
from cxr_edge.watch.outbox_fault import OutboxUnavailable
from cxr_edge.watch.state_errors import sqlite_errors, unusable
from cxr_edge.watch.stored_row import parse_row, read_by
from cxr_edge.watch.studies import rename_studies

_BATCH: Final = 500
_NAME: Final = re.compile(r"[0-9a-f]{64}\.json", re.ASCII)
_Content = tuple[bytes, str, bytes | None, bytes | None, str | None, float | None, bool, str, bool | None, bytes | None]


def is_missing(path: Path, results: Path) -> bool:
    """Whether there is no ledger though OUTBOX holds results: it was deleted, alone or with its salt.

    Raises:
        OutboxUnavailable: OUTBOX cannot be listed now.
    """
    if path.exists():
        return False
    try:
        with os.scandir(results) as entries:
            return any(_NAME.fullmatch(entry.name) for entry in entries)
    except OSError as error:
        raise OutboxUnavailable.of(error) from None


def rebuild(path: Path, keys: Keys, results: Path, *, marker: str | None = None) -> Ledger:
    """Put a damaged ledger, if there is any, aside and make a new one from every `<SHA-256>.json` in OUTBOX.

    The old one becomes `ledger-damaged-<time>.sqlite` when the new one is whole: killed at any moment, `Ledger.open`
    finds a ledger that is damaged, or the new one. Which files had led to the results is not known any more: each is
    read once more and found to be known by its content. Summaries go on under the new salt's names where they name
    their study. All studies are summed up again, and all results offered to the daily CSV files again, by the day of
    their files' time of change. A lateral view that was classified because the gate was off cannot be told from a
    frontal one in its result, and may decide its study here.

    Args:
        path: the damaged ledger, which nobody has open, or where it was.
        keys: for the new one.
        results: OUTBOX. Results without identifiers give contents that belong to no study.
        marker: the name of a file that stands in OUTBOX as long as it is the right folder (as for `Outbox`).

    Returns:
        The new ledger, open, with its `rebuilt` set.

    Raises:
        OutboxUnavailable: OUTBOX cannot be read now; the damaged ledger stays where it is.
        StateUnusable: the state folder cannot be written.
    """
    fresh, outbox = ledger_schema.rebuilt_name(path), Outbox(results, marker)
    try:
        with sqlite_errors():
            connection = ledger_schema.make(fresh, keys)
            try:
                rebuilt = _fill(connection, keys, outbox)
                ledger_schema.finish_making(connection, fresh)
            finally:
                connection.close()
        rename_studies(outbox, keys)
        ledger_schema.put_aside(path)
        fresh.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise unusable(error, "the ledger") from error
    ledger = Ledger.open(path, keys)
    ledger.rebuilt = rebuilt
    return ledger


def _fill(connection: sqlite3.Connection, keys: Keys, outbox: Outbox) -> Rebuilt:
    rows = skipped = 0
    found = _contents(keys, outbox)
    while batch := list(itertools.islice(found, _BATCH)):
        good = [content for content in batch if content is not None]
        studies = [(study, 0.0) for _, _, _, study, *_ in good if study is not None]
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(ledger_schema.RECORD, good)
        connection.executemany(ledger_schema.SOIL, studies)
        connection.execute("COMMIT")
        rows += len(good)
        skipped += len(batch) - len(good)
    outbox.check()  # a share that went away meanwhile has listed too little
    return Rebuilt(rows, skipped)


def _contents(keys: Keys, outbox: Outbox) -> Iterator[_Content | None]:
    """Each result's row of the table of contents; None for a file that has a result's name and holds none."""
    outbox.check()
    try:
        with os.scandir(outbox.folder) as entries:
            for entry in entries:
                if _NAME.fullmatch(entry.name):
                    with contextlib.suppress(FileNotFoundError):  # somebody took it away meanwhile
                        yield _read(entry, keys)
    except OSError as error:
        raise OutboxUnavailable.of(error) from None


def _read(entry: "os.DirEntry[str]", keys: Keys) -> _Content | None:
    status = entry.stat(follow_symlinks=False)
    if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_RESULT_BYTES:  # a pipe would be waited for
        return None
    sha256 = entry.name.removesuffix(".json")
    try:
        row = parse_row(Path(entry.path).read_bytes(), sha256)
    except PermissionError:
        return None
    if row is None:
        return None
    source, classified = row["source"], row["status"] == "classified"
    instance, study = source["sop_instance_uid"], source["study_instance_uid"]
    if not classified and row["reason"]["code"] in UNFINISHED:  # part of an image: see `Ledger.finish`
        instance = study = None
    return (
        bytes.fromhex(sha256),
        row["status"],
        None if instance is None else keys.of(instance),
        None if study is None else keys.of(study),
        None if classified else row["reason"]["code"],
        row["score"] if classified else None,
        classified and row["gate"]["status"] != "refused",
        datetime.fromtimestamp(status.st_mtime).astimezone().date().isoformat(),
        row["positive"] if classified else None,
        read_by(row),
    )
