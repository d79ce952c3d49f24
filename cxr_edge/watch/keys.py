"""Salted hashes, which stand for paths and UIDs wherever those must not be in the clear."""

import contextlib
import hmac
import os
from pathlib import Path
from typing import Final

from cxr_edge.files import sync_folder
from cxr_edge.watch.state_errors import unusable

SALT_NAME: Final = "salt"
SALT_BYTES: Final = 32
KEY_BYTES: Final = 16
_TEMPORARY: Final = "salt-{}.part"


class Keys:
    """Names files, instances and studies by HMAC-SHA256 (RFC 2104) under a salt that never leaves the state folder.

    Whoever has a log or a ledger, but not the salt, cannot test whether a known UID or file name stands in it.
    """

    __slots__ = ("_salt",)

    def __init__(self, salt: bytes) -> None:
        """Take a salt of 32 bytes.

        Raises:
            ValueError: it has another length.
        """
        if len(salt) != SALT_BYTES:
            message = f"a salt of {len(salt)} bytes; need {SALT_BYTES}"
            raise ValueError(message)
        self._salt = salt

    @classmethod
    def open(cls, folder: Path) -> "Keys":
        """The keys of a state folder; made there, once, where it has none.

        A salt of a wrong length is replaced by a new one; a ledger made with the lost one says so when it is opened.

        Args:
            folder: the state folder, which exists and whose lock the caller holds.

        Raises:
            StateUnusable: the folder cannot be read or written.
        """
        path = folder / SALT_NAME
        try:
            with contextlib.suppress(FileNotFoundError, ValueError):
                return cls(path.read_bytes())
            _write_salt(path)
            return cls(path.read_bytes())
        except OSError as error:
            raise unusable(error, "the salt") from error

    def of(self, text: str) -> bytes:
        """16 bytes that stand for `text`, which may hold lone surrogates as file names do; never fails."""
        # surrogatepass, not surrogateescape: NTFS allows any unpaired UTF-16 unit, and this encodes each to its own
        return hmac.digest(self._salt, text.encode("utf-8", "surrogatepass"), "sha256")[:KEY_BYTES]

    def __repr__(self) -> str:
        """Without the salt."""
        return "Keys()"


def _write_salt(path: Path) -> None:
    """A new salt that becomes `path` whole, readable for its owner alone from its first moment on."""
    for left in path.parent.glob(_TEMPORARY.format("*")):  # of a run that was killed right here
        left.unlink(missing_ok=True)
    temporary = path.with_name(_TEMPORARY.format(os.urandom(8).hex()))
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0)
    try:
        with os.fdopen(os.open(temporary, flags, 0o600), "wb") as stream:
            stream.write(os.urandom(SALT_BYTES))
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    sync_folder(path.parent)
