"""What was decided reaches the disk: results, ledger, moves, daily CSV and study summaries, in a thread of their own.

Writing waits for the disk, and inference need not. Where the disk cannot be written, the thread tries again until it
can; what is handed over meanwhile fills a short queue, and then the service takes no new work.
"""

import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final, Literal, Self

from cxr_edge.errors import Reason
from cxr_edge.results import Row
from cxr_edge.watch import after
from cxr_edge.watch.condition import Condition
from cxr_edge.watch.entry import Entry
from cxr_edge.watch.events import (
    Classified,
    Conflict,
    Duplicate,
    Fault,
    Incomplete,
    Moved,
    Rejected,
)
from cxr_edge.watch.ledger_values import Content, FileState, Look, Outcome
from cxr_edge.watch.outbox import Outbox
from cxr_edge.watch.outbox_fault import OutboxUnavailable
from cxr_edge.watch.parts import Parts
from cxr_edge.watch.patience import Patience
from cxr_edge.watch.state_errors import LedgerDamaged, StateUnusable
from cxr_edge.watch.summing_up import SummingUp

LENGTH: Final = 8  # decided images that wait for the disk
TICK_S: Final = 0.5
MOVE_PAUSE_S: Final = 60.0
CONFLICT_NOTE: Final = {
    "code": "sop_instance_uid_conflict",
    "message": "another image with the same SOP Instance UID and other content was received",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """A file and what became of it.

    Attributes:
        entry: the file.
        outcome: for the ledger.
        row: for its result file.
        heat_map: a PNG.
        label_index: number of the label that the heat map was asked for; None: of none.
        latency_ms: from reading to result.
    """

    entry: Entry
    outcome: Outcome
    row: Row
    heat_map: bytes | None = None
    label_index: int | None = None
    latency_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Repeated:
    """A file whose content has a result already."""

    entry: Entry
    known: Content


@dataclass(frozen=True, slots=True)
class Owed:
    """A decided file that is still to leave the inbox."""

    look: Look


Parcel = Decided | Repeated | Owed


@dataclass(frozen=True, slots=True)
class _Leaving:
    """A decided file that is to leave the inbox, if `--after` says so."""

    entry: Entry
    content: bytes
    kind: Literal["done", "rejected"]


class Delivery:
    """Takes parcels, in order. One thread; whoever hands over waits while it is behind."""

    def __init__(self, parts: Parts, outbox: Outbox, condition: Condition) -> None:
        """Nothing runs before `with`."""
        self._settings, self._ledger, self._observer = parts.settings, parts.ledger, parts.observer
        self._parts, self._outbox = parts, outbox
        self.under_way: set[bytes] = set()  # contents on their way; a second file with one of them waits
        self.undelivered = 0
        self._published: bytes | None = None  # content whose result is on the disk, and not in the ledger so far
        self._summing_up = SummingUp(parts, outbox, condition)
        self._patience = Patience("delivery", condition, parts.observer)
        self._queue: queue.Queue[Parcel | None] = queue.Queue(LENGTH)
        self._given_up = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="cxr-edge-delivery")

    def __enter__(self) -> Self:
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Deliver what was handed over and end; what cannot be written now is given up, and done again next time."""
        self._given_up.set()
        while self._thread.is_alive():
            with suppress(queue.Full):
                self._queue.put(None, timeout=TICK_S)
                break
        self._thread.join()
        if kind is None and self._failure is not None:
            raise self._failure

    def put(self, parcel: Parcel) -> None:
        """Hand over; waits while the thread is behind.

        Raises:
            LedgerDamaged: found by the thread.
            Exception: a defect in it.
        """
        if isinstance(parcel, Decided) and parcel.outcome.content is not None:
            self.under_way.add(parcel.outcome.content)
        while True:
            if self._failure is not None:
                self._give_back(parcel)
                raise self._failure
            if self._parts.stop.is_set():
                self._given_up.set()  # else a full disk would hold up the end
            with suppress(queue.Full):
                self._queue.put(parcel, timeout=TICK_S)
                return

    def check(self) -> None:
        """Raise what ended the thread, if anything did."""
        if self._failure is not None:
            raise self._failure

    @property
    def is_idle(self) -> bool:
        """Whether all that was handed over is on the disk."""
        return self._queue.unfinished_tasks == 0

    def _run(self) -> None:
        try:
            while True:
                try:
                    parcel = self._queue.get(timeout=TICK_S)
                except queue.Empty:
                    self._summing_up.work()
                    continue
                if parcel is None:
                    break
                self._deliver(parcel)
                self._queue.task_done()
                self._summing_up.work()
            self.undelivered += not self._summing_up.work(last=True)
        except BaseException as error:  # noqa: BLE001 - raised again in the main thread
            self._failure = error
            with suppress(queue.Empty):
                while True:
                    if (parcel := self._queue.get_nowait()) is not None:
                        self._give_back(parcel)

    def _deliver(self, parcel: Parcel) -> None:
        """The record first, then the move: what is on the disk is not done again when the move fails."""
        if isinstance(parcel, Owed) and self._parts.stop.is_set():
            return  # found again by the next run
        leaving: list[_Leaving | None] = []
        try:
            recorded = self._insist(lambda: leaving.append(self._record(parcel)))
        except (OutboxUnavailable, StateUnusable):
            self._give_back(parcel)
            raise
        if not recorded:
            self._give_back(parcel)
        for file in leaving:
            if file is not None and self._move(file):
                self._insist(lambda entry=file.entry: self._ledger.moved(entry))  # type: ignore[misc]

    def _insist(self, step: Callable[[], None]) -> bool:
        """Do it as soon as the disks let it; whether they did before it had to be given up."""
        while True:
            try:
                step()
            except (OutboxUnavailable, StateUnusable) as error:
                pause = self._patience.failed(error)
                if self._settings.once:
                    raise
                if self._given_up.wait(pause):
                    return False
            else:
                self._patience.succeeded()
                return True

    def _give_back(self, parcel: Parcel) -> None:
        """For the next run, which is not to hold it against the file."""
        self.undelivered += 1
        if not isinstance(parcel, Owed):
            with suppress(StateUnusable, LedgerDamaged):
                self._ledger.release(parcel.entry)

    def _record(self, parcel: Parcel) -> "_Leaving | None":
        """On the disk and in the ledger; returns the file if it is to leave the inbox now."""
        kind: FileState
        match parcel:
            case Decided(entry=entry, outcome=outcome):
                same = self._write(parcel)
                content, kind = outcome.content, outcome.state
            case Repeated(entry, known):
                same = self._ledger.finish_duplicate(entry, known)
                self._observer.observe(Duplicate(self._parts.name_of(entry), known.content.hex()))
                content, kind = known.content, "done" if known.state == "classified" else "rejected"
            case Owed(look):
                same, entry, content, kind = True, look.entry, look.content, look.state
        self._parts.deferred.forget(entry)
        if same and content is not None and (kind in {"done", "rejected"}):
            return _Leaving(entry, content, kind)
        return None

    def _write(self, decided: Decided) -> bool:
        """The result to the disk, then to the ledger; whether the file is still the one that was read."""
        entry, outcome, row = decided.entry, decided.outcome, decided.row
        content = outcome.content
        if content is None:
            message = "a decided file without a content"
            raise ValueError(message)
        whole = outcome.instance is not None and outcome.state != "incomplete"  # a part conflicts with nothing
        other = self._ledger.other_content_of(outcome.instance, content) if outcome.instance and whole else None
        if other is not None and "warnings" in row:
            row = {**row, "warnings": [*row["warnings"], CONFLICT_NOTE]}
        if content != self._published:  # never again because of what failed after it: somebody may have taken it away
            self._outbox.write_result(row, decided.heat_map, decided.label_index)
            self._published = content
        same = self._ledger.finish(entry, replace(outcome, day=self._outbox.written_on(content.hex())))
        self._published = None
        self.under_way.discard(content)
        self._tell(decided, content)
        if other is not None and outcome.instance is not None:
            self._observer.observe(Conflict(content.hex(), other.hex(), outcome.instance.hex()))
        return same

    def _tell(self, decided: Decided, content: bytes) -> None:
        name, outcome = self._parts.name_of(decided.entry), decided.outcome
        if outcome.state == "done":
            self._observer.observe(Classified(content.hex(), decided.latency_ms))
            return
        reason = Reason(outcome.reason or Reason.INTERNAL)
        if outcome.state == "incomplete":
            self._observer.observe(Incomplete(name, reason.value))
        self._observer.observe(Rejected(name, content.hex(), reason, decided.latency_ms))

    def _move(self, file: "_Leaving") -> bool:
        """As `--after` says; what cannot be moved now is owed, and found again by a later scan."""
        root = self._settings.after_done if file.kind == "done" else self._settings.after_rejected
        if root is None:
            return False
        try:
            moved = after.move(file.entry, root, file.content.hex())
        except OutboxUnavailable:
            moved = after.Moved.BLOCKED
        if moved is after.Moved.MOVED:
            self._observer.observe(Moved(file.content.hex(), file.kind))
        elif moved is after.Moved.BLOCKED:
            self._parts.deferred.put(file.entry, MOVE_PAUSE_S, "move_failed")
            self._observer.observe(Fault("move_failed", pause_s=MOVE_PAUSE_S))
        elif moved is after.Moved.CHANGED:
            self._observer.observe(Fault("file_changed_before_move"))
            self._ledger.reopen(file.entry)  # it is a new file
        return moved is after.Moved.MOVED
