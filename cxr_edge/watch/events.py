"""What the service reports while it works: events, and who takes them.

No event holds a path, a file name, a UID or the text of another program's error. `file`, `instance` and `study` are
salted hashes (`Keys.of`, in hexadecimal), `content` is the SHA-256 of a file's bytes. All may be logged.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

from cxr_edge.errors import Reason
from cxr_edge.types import ModelIdentity

State = Literal[
    "starting",
    "running",
    "waiting",
    "idle",
    "inbox_away",
    "outbox_unavailable",
    "state_unavailable",
    "decoding_unavailable",
    "stopping",
    "stopped",
]
STATES: tuple[State, ...] = get_args(State)
FaultCode = Literal[
    "csv_delayed",
    "decoder_failed",
    "file_unreadable",
    "file_changed_before_move",
    "heat_map_failed",
    "inbox_away",
    "inbox_partly_unreadable",
    "ledger_damaged",
    "ledger_missing",
    "model_failed",
    "move_failed",
    "outbox_away",
    "outbox_full",
    "outbox_other",
    "outbox_read_only",
    "run_ended",
    "state_busy",
    "state_full",
    "state_other",
    "state_read_only",
]


@dataclass(frozen=True, slots=True)
class StateChanged:
    """The service's state is another one. The first event of all is `starting`, sent when the locks are held.

    Attributes:
        state: the new one.
        reason: the code of a fault for `inbox_away` and each `..._unavailable`.
    """

    state: State
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class ModelLoaded:
    """The classifier is ready."""

    model: ModelIdentity
    execution_provider: str


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that whoever started the service has to know. The log takes the code alone."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Scanned:
    """A scan of the inbox ended.

    Attributes:
        files: how many files it found.
        seconds: how long it took.
        problems: folders and files that could not be looked at.
        states: how many files and contents the ledger holds in each state; empty where it was not counted.
    """

    files: int
    seconds: float
    problems: int = 0
    states: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Undecided:
    """`--once` ended, and some of the inbox could not be decided.

    Attributes:
        files: that are not whole, not readable, or never at rest.
        places: folders and files that could not even be looked at.
    """

    files: int
    places: int


@dataclass(frozen=True, slots=True)
class Queued:
    """How much work there is; also the sign of life: send it, or anything else, at least once a minute.

    Attributes:
        waiting: files known to wait for being classified.
        in_flight: files that were claimed and have no result so far.
    """

    waiting: int
    in_flight: int


@dataclass(frozen=True, slots=True)
class Classified:
    """A result stands on the disk and in the ledger."""

    content: str
    latency_ms: float


@dataclass(frozen=True, slots=True)
class Rejected:
    """A rejection stands on the disk and in the ledger; `content` is None where the file could not be read."""

    file: str
    content: str | None
    reason: Reason
    latency_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A file with a content that has a result already."""

    file: str
    content: str


@dataclass(frozen=True, slots=True)
class Conflict:
    """The SOP Instance UID of this content belongs to another content, too. Both have a result."""

    content: str
    other: str
    instance: str


@dataclass(frozen=True, slots=True)
class Incomplete:
    """A file was not whole at its deadline; it is looked at again when it changes. `reason` says what is missing."""

    file: str
    reason: str


@dataclass(frozen=True, slots=True)
class Retry:
    """A file will be tried again: it was in use, or an earlier run ended over it."""

    file: str
    code: FaultCode
    tries: int
    pause_s: float = 0.0


@dataclass(frozen=True, slots=True)
class StudySummarised:
    """A study's summary was written."""

    study: str
    images: int


@dataclass(frozen=True, slots=True)
class StudyNotSummarised:
    """The result of the image that decides a study is gone: no summary was written, an earlier one stays as it is.

    Attributes:
        study: what it is known by.
        images: how many the ledger knows.
    """

    study: str
    images: int


@dataclass(frozen=True, slots=True)
class CsvRowMissing:
    """Results that were taken away, or damaged, before the daily CSV had them: it lacks so many `rows`."""

    rows: int


@dataclass(frozen=True, slots=True)
class Moved:
    """A decided file was moved, as `--after` says."""

    content: str
    after: Literal["done", "rejected"]


@dataclass(frozen=True, slots=True)
class LedgerRebuilt:
    """A ledger that was damaged or missing was made again from the results.

    Attributes:
        rows: results that were read.
        skipped: files among them that hold no valid result.
    """

    rows: int
    skipped: int


@dataclass(frozen=True, slots=True)
class Fault:
    """Something outside went wrong; the service goes on, or tries again.

    Attributes:
        code: what failed.
        error: `OSError.strerror`, or the name of an exception's type; never its text, which may name files.
        pause_s: until the next try; None where none is due.
    """

    code: FaultCode
    error: str | None = None
    pause_s: float | None = None


@dataclass(frozen=True, slots=True)
class Crashed:
    """The service itself failed: a defect. `place` is `module:line` of this package's code, innermost last."""

    error: str
    place: str


Event = (
    StateChanged
    | ModelLoaded
    | Notice
    | Scanned
    | Undecided
    | Queued
    | Classified
    | Rejected
    | Duplicate
    | Conflict
    | Incomplete
    | Retry
    | StudySummarised
    | StudyNotSummarised
    | CsvRowMissing
    | Moved
    | LedgerRebuilt
    | Fault
    | Crashed
)


class Observer(Protocol):
    """Takes events as they happen, quickly and without raising. Several threads may report."""

    def observe(self, event: Event) -> None:
        """Take one event."""


class Observers:
    """Hands every event to several observers, in order."""

    def __init__(self, *observers: Observer) -> None:
        """Keep them."""
        self._observers = observers

    def observe(self, event: Event) -> None:
        """Hand it on."""
        for observer in self._observers:
            observer.observe(event)


def crash_of(error: BaseException) -> Crashed:
    """An exception without its text: its type, and the places in this package that it came through."""
    places: list[str] = []
    traceback = error.__traceback__
    while traceback is not None:
        module = traceback.tb_frame.f_globals.get("__name__", "")
        if module.partition(".")[0] == "cxr_edge":
            places.append(f"{module}:{traceback.tb_lineno}")
        traceback = traceback.tb_next
    return Crashed(type(error).__name__, " ".join(places))
