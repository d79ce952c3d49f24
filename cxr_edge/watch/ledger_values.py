"""What goes into the ledger and what comes out of it."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Literal

from cxr_edge.errors import Reason
from cxr_edge.watch.entry import Entry

FileState = Literal["seen", "claimed", "done", "rejected", "incomplete"]
FinalState = Literal["done", "rejected", "incomplete"]
ContentState = Literal["classified", "rejected"]
_REASONS: Final = frozenset(reason.value for reason in Reason)


class Status(StrEnum):
    """What is to be done about a file."""

    NEW = "new"  # never seen before, or changed since, or back after it was moved away: look again
    STABLE = "stable"  # as at an earlier look and undecided: a candidate
    RETRY = "retry"  # the same, but an earlier run ended over it
    CLAIMED = "claimed"  # this run is at it
    DECIDED = "decided"  # done or rejected and unchanged: nothing to do
    RECHECK = "recheck"  # decided, same size and time, but another inode or ctime: only its content can tell
    MOVE = "move"  # the same, but it is still to be moved
    INCOMPLETE = "incomplete"  # reported as incomplete, and unchanged since


@dataclass(frozen=True, slots=True)
class Look:
    """A file of the inbox and what the ledger knows of it.

    Attributes:
        entry: the file, as the scan saw it.
        status: what is to be done about it.
        tries: how often it was claimed by runs that ended without an outcome.
        unchanged_s: for how long it has had this size and time of change, by the monotonic clock, which goes on over a
            restart of the service; it begins at 0 with the first look and again with a restart of the machine.
        state: of the file in the ledger.
        content: SHA-256 of a decided file, where it could be read.
    """

    entry: Entry
    status: Status
    tries: int = 0
    unchanged_s: float = 0.0
    state: FileState = "seen"
    content: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a file.

    Attributes:
        content: SHA-256 of its bytes; None where they could not be read.
        state: done (a result was written), rejected, or incomplete (at its deadline; looked at again when it changes).
        instance: key of its SOP Instance UID.
        study: key of its Study Instance UID.
        reason: code of its rejection.
        score: summed probability of the positive labels.
        decides: whether it may decide its study: frontal, and the gate lets it pass.
        positive: what was decided; None where it was not, or is not known.
        read_by: digest of the model and the operating point, as `stored_row.read_by`; None likewise.
        day: ISO date of the daily CSV file that it belongs to: that of its result file, known once this is written.

    Raises:
        ValueError: it is done, but without a content.
    """

    content: bytes | None
    state: FinalState
    day: str = ""
    instance: bytes | None = None
    study: bytes | None = None
    reason: str | None = None
    score: float | None = None
    decides: bool = False
    positive: bool | None = None
    read_by: bytes | None = None

    def __post_init__(self) -> None:
        """Refuse what could never be found again."""
        if self.content is None and self.state == "done":
            message = "a file that is done without a content; need its SHA-256"
            raise ValueError(message)


@dataclass(frozen=True, slots=True)
class Content:
    """A content that has a result: as `Outcome`, but of the content, in whichever files it came."""

    content: bytes
    state: ContentState
    instance: bytes | None
    study: bytes | None
    reason: str | None
    score: float | None
    decides: bool
    day: str
    positive: bool | None = None
    read_by: bytes | None = None


def content_of(row: tuple[Any, ...]) -> Content:
    """A content as the ledger's table has it; a reason that only a newer release knows is `internal` here."""
    content, state, instance, study, reason, score, decides, day, positive, read_by = row
    known = reason if reason is None or reason in _REASONS else Reason.INTERNAL.value
    decided = None if positive is None else bool(positive)
    return Content(content, state, instance, study, known, score, bool(decides), day, decided, read_by)


@dataclass(frozen=True, slots=True)
class Study:
    """A study whose summary is to be written.

    Attributes:
        key: of its Study Instance UID.
        changes: how many results no summary holds so far.
        quiet_s: since the last of them, by the monotonic clock.
    """

    key: bytes
    changes: int
    quiet_s: float


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuilt ledger was made from.

    Attributes:
        rows: results that were read.
        skipped: files that are named like a result but hold no valid one.
    """

    rows: int
    skipped: int
