"""The service's log: one JSON object a line, from a closed set of names, without patient data."""

import contextlib
import dataclasses
import json
import logging
import logging.handlers
import os
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from cxr_edge.errors import OutputError
from cxr_edge.types import ModelIdentity
from cxr_edge.watch.events import (
    Classified,
    Conflict,
    Crashed,
    CsvRowMissing,
    Duplicate,
    Event,
    Fault,
    Incomplete,
    LedgerRebuilt,
    ModelLoaded,
    Moved,
    Notice,
    Queued,
    Rejected,
    Retry,
    Scanned,
    StateChanged,
    StudyNotSummarised,
    StudySummarised,
    Undecided,
)

BYTES_PER_MB = 1_000_000
UNLOGGED = frozenset({"states", "message"})  # counts are health's; a notice's text may name a library's own words
ALARMING_STATES = ("inbox_away", "outbox_unavailable", "state_unavailable", "decoding_unavailable")


class JsonLog:
    """Writes events to a rotating file, or to a stream."""

    def __init__(self, handler: logging.Handler) -> None:
        """Log through `handler`; `open_log` makes one."""
        handler.setFormatter(_JsonLines())
        self._handler = handler
        self._problems = 0  # of the last scan

    def observe(self, event: Event) -> None:
        """Write one line, unless the event is of no use in a log."""
        level = level_of(event)
        if isinstance(event, Scanned):  # what stands is told once, and that it is over
            level = ("warning" if event.problems else "info") if event.problems != self._problems else None
            self._problems = event.problems
        if level is not None:  # no logger: handlers that others put on its tree would get the events, too
            self._handler.handle(logging.makeLogRecord({"levelname": level, "event": event}))

    def close(self) -> None:
        """Write what is buffered and close the file."""
        self._handler.close()


def open_log(file: Path | None, *, max_mb: int, keep: int, stream: TextIO | None = None) -> JsonLog:
    """A log in `file`, rotated; with None, on `stream` or standard error.

    Args:
        file: its folder must exist.
        max_mb: 10^6 bytes after which the file is renamed to `<file>.1`.
        keep: so many renamed files are kept; the oldest is deleted.
        stream: instead of standard error.

    Raises:
        OutputError: the file cannot be opened.
    """
    if file is None:
        return JsonLog(_Stream(stream or sys.stderr))
    try:
        return JsonLog(RotatingFile(file, maxBytes=max_mb * BYTES_PER_MB, backupCount=keep, encoding="utf-8"))
    except OSError as error:
        message = f"cannot write the log {file}: {error.strerror}"
        raise OutputError(message) from error


class _Quiet(logging.Handler):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """A line that cannot be written is lost, without a traceback; ledger and results hold what counts."""


class _Stream(_Quiet, logging.StreamHandler[TextIO]):
    pass


class RotatingFile(_Quiet, logging.handlers.RotatingFileHandler):
    """The file in use is renamed first: where it cannot be (on Windows while somebody reads it), it grows instead.

    The base class shifts the older files first, and again at every line that it cannot rotate, until one is left.
    """

    def doRollover(self) -> None:  # noqa: N802 - logging's name
        """Rotate, if the file in use can be renamed."""
        if self.stream is not None:
            self.stream.close()
            self.stream = None  # opened at the next line, where it cannot be below
        aside = f"{self.baseFilename}.0"
        with contextlib.suppress(OSError):
            self._shift()  # what an earlier run that was killed put aside
            os.replace(self.baseFilename, aside)  # noqa: PTH105 - a plain string, as logging has it
            self._shift()
        self.stream = self._open()

    def _shift(self) -> None:
        """Number the files one higher, the oldest away, if there is one to make room for."""
        names = [f"{self.baseFilename}.{number}" for number in range(self.backupCount + 1)]
        if not os.path.exists(names[0]):  # noqa: PTH110
            return
        for older, newer in zip(reversed(names), reversed(names[:-1]), strict=False):
            if os.path.exists(newer):  # noqa: PTH110
                os.replace(newer, older)  # noqa: PTH105
        if not self.backupCount:
            os.unlink(names[0])  # noqa: PTH108


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        event: Event = record.__dict__["event"]
        now = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = {"ts": now, "level": record.levelname, "event": event_name(type(event)), **fields_of(event)}
        return json.dumps(line, allow_nan=False)


def event_name(kind: type) -> str:
    """`state_changed` for StateChanged."""
    return re.sub(r"(?<!^)([A-Z])", r"_\1", kind.__name__).lower()


def fields_of(event: Event) -> dict[str, object]:
    """What a line says of an event: its fields without those that are not logged; the model as three fields."""
    line: dict[str, object] = {}
    for field in dataclasses.fields(event):
        value = getattr(event, field.name)
        if isinstance(value, ModelIdentity):
            line |= {"model": value.name, "model_version": value.version, "model_sha256": value.sha256}
        elif field.name not in UNLOGGED:
            line[field.name] = round(value, 3) if isinstance(value, float) else value
    return line


def level_of(event: Event) -> str | None:
    """The level of the event's line; None: not logged."""
    if isinstance(event, StateChanged) and event.state in ALARMING_STATES:
        return "error"
    if isinstance(event, Scanned) and not event.problems:
        return None
    return _LEVELS[type(event)]


_LEVELS: dict[type, str | None] = {
    Crashed: "error",
    Conflict: "warning",
    CsvRowMissing: "warning",
    Fault: "warning",
    Incomplete: "warning",
    LedgerRebuilt: "warning",
    Notice: "warning",
    Rejected: "warning",
    Retry: "warning",
    Scanned: "warning",
    Undecided: "warning",
    StudyNotSummarised: "warning",
    Classified: "info",
    Duplicate: "info",
    ModelLoaded: "info",
    Moved: "info",
    StateChanged: "info",
    StudySummarised: "info",
    Queued: None,  # a sign of life, many times a minute
}
