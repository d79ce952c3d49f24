"""What is to be done about a file that a scan found, by what the ledger has of it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from cxr_edge.watch.entry import Entry
from cxr_edge.watch.ledger_values import FileState, Look, Status

Row = tuple[bytes, int, int, FileState, bytes | None, int, float, int, int, int | None, int | None]  # of table `files`


@dataclass(slots=True)
class Judge:
    """One look at some files, and what the ledger must then record.

    Attributes:
        now: monotonic seconds.
        today: the day's ordinal.
        move: the final states whose files are to be moved out of the inbox.
        new: rows of new and changed files.
        not_yet_today: (today, key) of files found again that no look of today has found.
        renumbered: (inode, ctime, key) of files that are to be known by other numbers.
    """

    now: float
    today: int
    move: Collection[FileState]
    new: list[tuple[bytes, int, int, float, int, int, int]] = field(default_factory=list)
    not_yet_today: list[tuple[int, bytes]] = field(default_factory=list)
    renumbered: list[tuple[int, int, bytes]] = field(default_factory=list)

    def look(self, key: bytes, entry: Entry, row: Row | None) -> Look:
        """Judge one file; `row` is what the ledger has of it, None where it is new."""
        size, mtime_ns = int64(entry.size), int64(entry.mtime_ns)
        if row is None or row[1] != size or row[2] != mtime_ns or row[8]:
            self.new.append((key, size, mtime_ns, self.now, self.today, *numbers_of(entry)))
            return Look(entry, Status.NEW)
        _, _, _, state, content, tries, since, seen_day, _, inode, ctime_ns = row
        if seen_day != self.today:
            self.not_yet_today.append((self.today, key))
        status = _status(state, tries, self.move)
        if inode != entry.inode or ctime_ns != entry.ctime_ns:
            numbers = numbers_of(entry)
            if _differ((inode, ctime_ns), numbers) and status in (Status.DECIDED, Status.INCOMPLETE):
                status = Status.RECHECK
            elif any(numbers) and numbers != (inode, ctime_ns) and status not in (Status.CLAIMED, Status.MOVE):
                self.renumbered.append((*numbers, key))  # undecided, or not known before
        return Look(entry, status, tries, self.now - since, state, content)


def _status(state: FileState, tries: int, move: Collection[FileState]) -> Status:
    if state == "seen":
        return Status.RETRY if tries else Status.STABLE
    if state == "claimed":
        return Status.CLAIMED
    if state in move:
        return Status.MOVE
    return Status.INCOMPLETE if state == "incomplete" else Status.DECIDED


def numbers_of(entry: Entry) -> tuple[int, int]:
    """A file's inode and ctime, as they are stored."""
    return int64(entry.inode), int64(entry.ctime_ns)


def _differ(before: Sequence[int | None], numbers: tuple[int, int]) -> bool:
    """Whether an inode or a ctime that was known is another one now."""
    return any(one and other and one != other for one, other in zip(before, numbers, strict=True))


def int64(value: int) -> int:
    """What SQLite can hold: a file's time may be any that somebody set, beyond the year 2262 too."""
    return (value + 2**63) % 2**64 - 2**63
