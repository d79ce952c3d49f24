"""What can be wrong with the state folder: with the ledger itself, or with the disk below it."""

import contextlib
import errno
import sqlite3
from collections.abc import Iterator
from typing import Final, Literal

from cxr_edge.errors import CxrEdgeError, OutputError

StateFault = Literal["full", "read_only", "busy", "other"]


class LedgerDamaged(CxrEdgeError):  # noqa: N818 - named after what happened, as the package's other errors are
    """The ledger is no ledger, contradicts itself, or belongs to another version or salt; `rebuild` makes a new one."""

    exit_code = 6


class LedgerGone(LedgerDamaged):
    """The open ledger's file is not in the state folder any more; one that is there may be whole."""


class StateUnusable(OutputError):  # noqa: N818 - the same
    """The state folder cannot be read or written; nothing was changed, and the same call may succeed later.

    Attributes:
        kind: full (no space, quota), read_only (also: no permission), busy (another process), or other.
        strerror: what the system says; never a path.
    """

    def __init__(self, message: str, kind: StateFault = "other", strerror: str | None = None) -> None:
        """Keep the kind beside the message."""
        super().__init__(message)
        self.kind = kind
        self.strerror = strerror


_BY_ERRNO: Final[dict[int | None, StateFault]] = {
    errno.ENOSPC: "full",
    errno.EDQUOT: "full",
    errno.EROFS: "read_only",
    errno.EACCES: "read_only",
    errno.EPERM: "read_only",
}
_BY_SQLITE: Final[dict[int, StateFault]] = {
    sqlite3.SQLITE_FULL: "full",
    sqlite3.SQLITE_READONLY: "read_only",
    sqlite3.SQLITE_PERM: "read_only",
    sqlite3.SQLITE_BUSY: "busy",
    sqlite3.SQLITE_LOCKED: "busy",
}
_DAMAGE: Final = frozenset((sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT))


def unusable(error: OSError, what: str) -> StateUnusable:
    """The system's error, without the path that its text holds."""
    message = f"{what} in the state folder cannot be used: {error.strerror}"
    return StateUnusable(message, _BY_ERRNO.get(error.errno, "other"), error.strerror)


@contextlib.contextmanager
def sqlite_errors() -> Iterator[None]:
    """Tell a damaged file from a disk that cannot be used; a fault of the program's own stays what it is.

    Raises:
        LedgerDamaged: SQLite says so.
        StateUnusable: the disk is full, read-only or broken, or another process holds the ledger.
    """
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF  # the extended codes' lowest byte
        if code in _DAMAGE:
            message = f"the ledger is damaged: {error}"
            raise LedgerDamaged(message) from error
        if code in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISUSE):
            raise
        message = f"the ledger cannot be used: {error}"
        raise StateUnusable(message, _BY_SQLITE.get(code, "other"), str(error)) from error
