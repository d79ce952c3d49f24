"""The day's results as CSV: made from the result files, replaced whole, so that nobody ever reads half a line."""

import csv
import re
import shutil
import stat
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import IO

from cxr_edge.results import Row
from cxr_edge.results.writers import CSV_COLUMNS, csv_header, csv_record
from cxr_edge.watch.outbox import Outbox
from cxr_edge.watch.outbox_fault import OutboxFault, OutboxUnavailable

INTERVAL_S = 5.0
REST = 20  # times as long as the last writing took: at most 5 % of the time is spent on it, however long the day
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_CONTENT = "content_sha256"


@dataclass(frozen=True, slots=True)
class Updated:
    """What an update did.

    Attributes:
        written: contents that stand in their day's CSV now, whether added now or before.
        missing: contents whose result file is not there or is damaged: there is nothing to add.
        held: a file could not be replaced, as when a spreadsheet has it open on Windows; its rows are asked for again.
    """

    written: tuple[str, ...]
    missing: tuple[str, ...]
    held: bool


class DailyCsv:
    """`results-YYYY-MM-DD.csv`, with the columns of `cxr-edge classify --format csv`, a line for each content."""

    def __init__(
        self, outbox: Outbox, *, interval_s: float = INTERVAL_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Begin; `interval_s` seconds of `clock` pass at least between two updates that are due."""
        self._outbox = outbox
        self._interval_s = interval_s
        self._clock = clock
        self._next = clock()

    def due(self) -> bool:
        """Whether the last update is long enough ago."""
        return self._clock() >= self._next

    def update(self, pending: Iterable[tuple[str, str]]) -> Updated:
        """Add the rows of these contents to their days.

        Done again after a power cut, it adds nothing twice. A file that is not ours any more (saved by a spreadsheet
        with other separators, say) stays as it is, and its day goes on in `results-YYYY-MM-DD-2.csv`.

        Args:
            pending: the day, YYYY-MM-DD, and the SHA-256 in hex of each content.

        Raises:
            OutboxUnavailable: the folder cannot be written now; nothing is half written.
        """
        days: dict[str, dict[str, None]] = {}
        for day, content in pending:
            if not _DAY.fullmatch(day):
                message = f"a day is YYYY-MM-DD, not {day!r}"
                raise ValueError(message)
            days.setdefault(day, {})[content] = None
        began, held = self._clock(), False
        written: list[str] = []
        missing: list[str] = []
        try:
            self._outbox.check()
            for day, contents in days.items():
                try:
                    absent = self._add(day, contents)
                except OutboxUnavailable as error:
                    if error.kind != OutboxFault.READ_ONLY:
                        raise
                    held = True  # were it the whole folder, the next result file says so
                    continue
                missing += [content for content in contents if content in absent]
                written += [content for content in contents if content not in absent]
            if missing:
                self._outbox.check()  # nothing is missing because the folder went away meanwhile
        finally:
            now = self._clock()
            self._next = now + max(self._interval_s, REST * (now - began))
        return Updated(tuple(written), tuple(missing), held)

    def _add(self, day: str, contents: Collection[str]) -> set[str]:
        """Those that have no row to add."""
        name, known = self._file_of(day, contents)
        absent: set[str] = set()
        rows = self._rows([content for content in contents if content not in known], absent)
        first = next(rows, None)
        if first is None:
            return absent  # nothing to add: the file stays as it is
        with self._outbox.open(name) as stream:
            self._copy(name, stream)
            for row in chain([first], rows):
                stream.write(csv_record(row).encode("utf-8", "backslashreplace"))
        return absent

    def _rows(self, contents: Iterable[str], absent: set[str]) -> Iterator[Row]:
        """One row at a time; those without a row go into `absent`."""
        for content in contents:
            row = self._outbox.read_row(content)
            if row is None:
                absent.add(content)
            else:
                yield row

    def _file_of(self, day: str, contents: Collection[str]) -> tuple[str, set[str]]:
        """The first file of the day that is ours or not there yet, and which contents stand in it or in one before."""
        name, number, known = f"results-{day}.csv", 1, set[str]()
        while not self._look_into(name, contents, known):
            number += 1
            name = f"results-{day}-{number}.csv"
        return name, known

    def _look_into(self, name: str, contents: Collection[str], known: set[str]) -> bool:
        """Add to `known` which of the contents stand in it; False where its columns are not ours, or it is damaged."""
        path = self._outbox.folder / name
        try:
            if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for without end
                message = "cannot write to the results folder: something that is no file has the daily CSV's name"
                raise OutboxUnavailable(OutboxFault.OTHER, message)
            with path.open(encoding="utf-8-sig", newline="") as stream:
                records = csv.reader(stream, strict=True)
                header = tuple(next(records, ()))
                if _CONTENT not in header:
                    return False
                found, column = set(), header.index(_CONTENT)
                for record in records:
                    if record and len(record) != len(header):
                        return False
                    if record and record[column] in contents:
                        found.add(record[column])
        except FileNotFoundError:
            return True
        except (csv.Error, UnicodeDecodeError):
            return False
        except OSError as error:
            raise OutboxUnavailable.of(error) from None
        known |= found
        return header == CSV_COLUMNS

    def _copy(self, name: str, stream: IO[bytes]) -> None:
        try:
            with (self._outbox.folder / name).open("rb") as old:
                shutil.copyfileobj(old, stream)
                old.seek(-1, 2)
                if old.read(1) != b"\n":
                    stream.write(b"\r\n")
        except FileNotFoundError:
            stream.write(csv_header().encode())
