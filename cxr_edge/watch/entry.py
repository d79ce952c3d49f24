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
        inode: Its number in the file system; 0 where that is not known or not to be trusted, as in `ctime_ns`.
        ctime_ns: Time of the last change of its data or attributes (on Windows, of its creation), in ns.
        device: Number of its file system; 0 where that is not known.
    """

    relative: str
    path: str
    size: int
    mtime_ns: int
    inode: int = 0
    ctime_ns: int = 0
    device: int = 0
