"""One file of the inbox, as a scan saw it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """One regular file found in the inbox.

    Attributes:
        relative: Path below the inbox, with `/` between its parts; what the file is known by in the ledger.
        path: Path to open it by.
        size: Bytes.
        mtime_ns: Time of the last change in ns since the epoch, as the file system tells it.
    """

    relative: str
    path: str
    size: int
    mtime_ns: int
