"""Decided files under another inode or ctime than before: read again, and known by what they hold.

Another image may come under the name, size and time of one that was decided (`mv` over it, `cp -p`, `touch -d`). Some
file systems (FUSE, SMB without server inode numbers) give a file other numbers whenever it is asked for; those are
found out by files that hold the same again and again, and believed no more.
"""

import time
from collections.abc import Callable, Sequence
from typing import Final

from cxr_edge.watch.entry import Entry
from cxr_edge.watch.events import Notice, Retry
from cxr_edge.watch.ledger_values import Look
from cxr_edge.watch.parts import Parts
from cxr_edge.watch.patience import pause_after
from cxr_edge.watch.reading import Outcome, read

IN_VAIN: Final = 3  # times that one file held the same again, within the time below
WITHIN_S: Final = 86_400.0  # programs that set attributes once a night leave the numbers worth asking
MOST_REMEMBERED: Final = 10_000
_CAUSE: Final = "recheck"


class Unsteady:
    """The file systems whose inode numbers or ctimes say nothing, as far as this run has seen."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Trust all; `clock` is in seconds."""
        self.devices: set[int] = set()
        self._clock = clock
        self._in_vain: dict[str, list[float]] = {}

    def count(self, entry: Entry) -> bool:
        """A file holds what it held; whether its file system is to be believed no more, from now on."""
        now = self._clock()
        times = [moment for moment in self._in_vain.pop(entry.relative, []) if now - moment < WITHIN_S]
        if len(self._in_vain) >= MOST_REMEMBERED:
            self._in_vain.pop(next(iter(self._in_vain)))
        self._in_vain[entry.relative] = [*times, now]
        if len(times) + 1 < IN_VAIN or entry.device in self.devices:
            return False
        self.devices.add(entry.device)
        return True


class Rechecker:
    """Looks again at decided files. Used by one thread."""

    def __init__(self, parts: Parts, unsteady: Unsteady) -> None:
        """Keep what it works with."""
        self._parts, self._unsteady = parts, unsteady

    def work(self, looks: Sequence[Look], until: float) -> bool:
        """Look at them until this moment of the monotonic clock, at one at least; whether at all.

        Raises:
            LedgerDamaged, StateUnusable: found by the way.
        """
        for number, look in enumerate(looks):
            if self._parts.stop.is_set() or (number and time.monotonic() >= until):
                return False
            if look.entry.device not in self._unsteady.devices:
                self._look_again(look)
        return True

    def _look_again(self, look: Look) -> None:
        entry = look.entry
        found = read(entry, 0)  # hashed, not kept
        match found.outcome:
            case Outcome.WHOLE | Outcome.TOO_LARGE if found.sha256 == look.content:
                self._parts.ledger.remember(entry)
                self._parts.deferred.forget(entry)
                if self._unsteady.count(entry):
                    message = "the inbox's file system gives files other inode numbers or ctimes than before"
                    self._parts.observer.observe(Notice("file_numbers_unsteady", message))
            case Outcome.WHOLE | Outcome.TOO_LARGE:
                self._parts.deferred.forget(entry)
                self._parts.ledger.reopen(entry)
            case Outcome.GONE:
                pass
            case _:
                pause = pause_after(self._parts.deferred.times(entry, _CAUSE))
                times = self._parts.deferred.put(entry, pause, _CAUSE)
                if found.outcome is Outcome.UNREADABLE:
                    name = self._parts.name_of(entry)
                    self._parts.observer.observe(Retry(name, "file_unreadable", times, pause))
