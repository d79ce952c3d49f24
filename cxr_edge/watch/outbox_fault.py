"""Why a folder that is written to cannot be written now."""

import errno
from enum import StrEnum

from cxr_edge.errors import OutputError


class OutboxFault(StrEnum):
    """Why a folder cannot be written now."""

    FULL = "full"
    READ_ONLY = "read_only"  # or no permission
    AWAY = "away"  # gone, unmounted, the server does not answer
    OTHER = "other"


_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}
_AWAY = {
    getattr(errno, name)
    for name in (
        "ENOENT", "ENOTDIR", "ENXIO", "ENODEV", "ESTALE", "ENOTCONN", "ETIMEDOUT", "ECONNRESET", "ECONNABORTED",
        "ECONNREFUSED", "EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN", "ENETUNREACH", "ENETRESET", "ESHUTDOWN", "EREMOTEIO",
    )
    if hasattr(errno, name)
}  # fmt: skip
# Windows' own numbers, of which errno tells only some apart (winerror.h)
_WINDOWS: dict[int, OutboxFault] = {
    19: OutboxFault.READ_ONLY,  # ERROR_WRITE_PROTECT
    21: OutboxFault.AWAY,  # ERROR_NOT_READY
    39: OutboxFault.FULL,  # ERROR_HANDLE_DISK_FULL
    51: OutboxFault.AWAY,  # ERROR_REM_NOT_LIST
    53: OutboxFault.AWAY,  # ERROR_BAD_NETPATH
    55: OutboxFault.AWAY,  # ERROR_DEV_NOT_EXIST
    59: OutboxFault.AWAY,  # ERROR_UNEXP_NET_ERR
    64: OutboxFault.AWAY,  # ERROR_NETNAME_DELETED
    67: OutboxFault.AWAY,  # ERROR_BAD_NET_NAME
    112: OutboxFault.FULL,  # ERROR_DISK_FULL
    121: OutboxFault.AWAY,  # ERROR_SEM_TIMEOUT
    1231: OutboxFault.AWAY,  # ERROR_NETWORK_UNREACHABLE
    1232: OutboxFault.AWAY,  # ERROR_HOST_UNREACHABLE
    1295: OutboxFault.FULL,  # ERROR_DISK_QUOTA_EXCEEDED
}


class OutboxUnavailable(OutputError):  # noqa: N818 - it names a state that ends, as EnvironmentUnusable does
    """A folder that is written to cannot be written now; the work waits, nothing is lost.

    Attributes:
        kind: what is wrong with the folder.
    """

    def __init__(self, kind: OutboxFault, message: str) -> None:
        """Keep the kind beside the message, which holds no path."""
        super().__init__(message)
        self.kind = kind

    @classmethod
    def of(cls, error: OSError, what: str = "the results folder") -> "OutboxUnavailable":
        """From what the operating system said; of that only `strerror`, because the rest may name a patient."""
        return cls(fault_of(error), f"cannot write to {what}: {error.strerror or 'unknown error'}")


def fault_of(error: OSError) -> OutboxFault:
    """Which of the four faults an error of the operating system is."""
    windows = getattr(error, "winerror", None)
    if windows in _WINDOWS:
        return _WINDOWS[windows]
    kinds: tuple[tuple[set[int], OutboxFault], ...] = (
        (_FULL, OutboxFault.FULL),
        (_READ_ONLY, OutboxFault.READ_ONLY),
        (_AWAY, OutboxFault.AWAY),
    )
    return next((kind for numbers, kind in kinds if error.errno in numbers), OutboxFault.OTHER)
