"""Whether the ledger's file is where it was opened: what is written to a deleted file is lost without an error."""

from pathlib import Path

from cxr_edge.watch.state_errors import LedgerGone, unusable


class Place:
    """The place of an open ledger."""

    def __init__(self, path: Path) -> None:
        """Remember which file it is."""
        self._path = path
        self._found = _identity(path)

    def check(self) -> None:
        """Return if the same file is there still.

        Raises:
            LedgerGone: it was deleted, alone or with its folder, moved away, or replaced.
            StateUnusable: its folder cannot be looked at.
        """
        found = _identity(self._path)
        if found is None or found != self._found:
            message = "the ledger is gone from the state folder"
            raise LedgerGone(message)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise unusable(error, "the ledger") from error
    return status.st_dev, status.st_ino
