"""Which of the files that a scan found come next; bounded, however many wait."""

import heapq
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from cxr_edge.watch.entry import Entry
from cxr_edge.watch.ledger_values import Look, Status
from cxr_edge.watch.settings import Order

LENGTH: Final = 4096  # files that are remembered between two scans; the others are found again
SUSPECT_TRIES: Final = 3  # runs that ended over a file: it comes last and alone, so that it cannot hold up the others
MOST_DEFERRED: Final = 10_000
SOON_S: Final = 10.0  # `--once` waits so long for a file that was put off


@dataclass(slots=True)
class Backlog:
    """The outcome of one scan.

    Attributes:
        files: how many were found.
        waiting: how many of them are undecided, or may not be what was decided any more.
        fresh: whether some have to be looked at again soon, because they are new or changed.
        soon: whether some are left alone for a few seconds only.
        moves: decided files that are to leave the inbox.
        next: the files to take, in order.
        suspects: those that runs ended over, to be taken alone.
        rechecks: decided files whose content is to be compared.
    """

    files: int = 0
    waiting: int = 0
    fresh: bool = False
    soon: bool = False
    moves: list[Look] = field(default_factory=list)
    next: list[Look] = field(default_factory=list)
    suspects: list[Look] = field(default_factory=list)
    rechecks: list[Look] = field(default_factory=list)

    @property
    def is_partial(self) -> bool:
        """Whether more files wait than are remembered."""
        return len(self.next) >= LENGTH or len(self.rechecks) >= LENGTH

    @property
    def has_work(self) -> bool:
        """Whether something can be done now."""
        return bool(self.next or self.suspects or self.rechecks)


@dataclass(slots=True)
class _Deferral:
    size: int
    mtime_ns: int
    until: float = 0.0
    times: Counter[str] = field(default_factory=Counter)

    def is_of(self, entry: Entry) -> bool:
        return (self.size, self.mtime_ns) == (entry.size, entry.mtime_ns)


class Deferred:
    """Files to leave alone for a while: not whole yet, in use, or failed over. Forgotten when they change.

    Several threads may use it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with none; `clock` is in seconds."""
        self._clock = clock
        self._lock = threading.Lock()
        self._found: dict[str, _Deferral] = {}

    def put(self, entry: Entry, seconds: float, cause: str = "waiting") -> int:
        """Leave this file alone for so long, unless it changes; how often it was put here for this cause."""
        with self._lock:
            deferral = self._found.pop(entry.relative, None)
            if deferral is None or not deferral.is_of(entry):
                deferral = _Deferral(entry.size, entry.mtime_ns)
            if len(self._found) >= MOST_DEFERRED:
                self._found.pop(next(iter(self._found)), None)  # it is tried sooner, no more
            self._found[entry.relative] = deferral
            deferral.until = self._clock() + seconds
            deferral.times[cause] += 1
            return deferral.times[cause]

    def times(self, entry: Entry, cause: str = "waiting") -> int:
        """How often this very file was put here for this cause."""
        with self._lock:
            deferral = self._found.get(entry.relative)
            return deferral.times[cause] if deferral is not None and deferral.is_of(entry) else 0

    def holds(self, entry: Entry) -> bool:
        """Whether to leave it alone now."""
        return self.left_s(entry) > 0

    def left_s(self, entry: Entry) -> float:
        """For how long to leave it alone; 0 where there is no need to."""
        with self._lock:
            deferral = self._found.get(entry.relative)
            if deferral is None:
                return 0.0
            if not deferral.is_of(entry):
                self._found.pop(entry.relative, None)
                return 0.0
            return max(0.0, deferral.until - self._clock())

    def forget(self, entry: Entry) -> None:
        """It is decided."""
        with self._lock:
            self._found.pop(entry.relative, None)


def choose(looks: Iterable[Look], order: Order, settle_s: float, deferred: Deferred) -> Backlog:
    """Walk through all looks of a scan and remember the next files, oldest or newest change first."""
    found = Backlog()
    sign = 1 if order == "oldest" else -1
    chosen = heapq.nsmallest(
        LENGTH, _candidates(looks, settle_s, deferred, found), key=lambda look: sign * look.entry.mtime_ns
    )
    found.next = [look for look in chosen if look.tries < SUSPECT_TRIES]
    found.suspects = [look for look in chosen if look.tries >= SUSPECT_TRIES]
    return found


def _candidates(looks: Iterable[Look], settle_s: float, deferred: Deferred, found: Backlog) -> Iterator[Look]:
    for look in looks:
        found.files += 1
        if look.status is Status.MOVE and len(found.moves) < LENGTH and not deferred.holds(look.entry):
            found.moves.append(look)
        if look.status in (Status.NEW, Status.STABLE, Status.RETRY, Status.RECHECK):
            found.waiting += 1
            if look.status is Status.NEW or (look.status is not Status.RECHECK and look.unchanged_s < settle_s):
                found.fresh = True
            elif (left_s := deferred.left_s(look.entry)) > 0:
                found.soon = found.soon or left_s <= SOON_S
            elif look.status is not Status.RECHECK:
                yield look
            elif len(found.rechecks) < LENGTH:
                found.rechecks.append(look)
