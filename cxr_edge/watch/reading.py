"""One file of the inbox into memory, whole and unchanged, or why not."""

import hashlib
import os
import stat
from dataclasses import dataclass
from enum import StrEnum
from typing import IO, Final

from cxr_edge.watch.entry import Entry

_CHUNK: Final = 1 << 20
# a pipe that took the file's place must not be waited for; Windows reads text unless told otherwise
_FLAGS: Final = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


class Outcome(StrEnum):
    """What became of reading a file."""

    WHOLE = "whole"
    TOO_LARGE = "too_large"  # hashed, but not kept
    CHANGED = "changed"  # it is not what the scan saw: somebody writes it
    GONE = "gone"
    UNREADABLE = "unreadable"  # in use, no permission, its share is away


@dataclass(frozen=True, slots=True)
class Read:
    """A file that was read.

    Attributes:
        outcome: whether that went well.
        content: its bytes, where it is whole.
        sha256: of all of its bytes, where it is whole or too large.
        error: what the system says of a file that is unreadable; never a path.
    """

    outcome: Outcome
    content: bytes = b""
    sha256: bytes = b""
    error: str | None = None


def read(entry: Entry, limit: int) -> Read:
    """Read a file of at most `limit` bytes; hash a larger one. Never raises for what the file is."""
    try:
        with os.fdopen(os.open(entry.path, _FLAGS), "rb", buffering=0) as stream:
            if not _is_still(stream, entry):
                return Read(Outcome.CHANGED)
            if entry.size > limit:
                found = Read(Outcome.TOO_LARGE, sha256=hashlib.file_digest(stream, "sha256").digest())
            else:
                content = _content(stream, entry.size)
                found = Read(Outcome.WHOLE, content, hashlib.sha256(content).digest())
                if len(content) != entry.size:
                    return Read(Outcome.CHANGED)
            return found if _is_still(stream, entry) else Read(Outcome.CHANGED)
    except FileNotFoundError:
        return Read(Outcome.GONE)
    except OSError as error:
        return Read(Outcome.UNREADABLE, error=error.strerror)


def _is_still(stream: IO[bytes], entry: Entry) -> bool:
    status = os.fstat(stream.fileno())
    return stat.S_ISREG(status.st_mode) and (status.st_size, status.st_mtime_ns) == (entry.size, entry.mtime_ns)


def _content(stream: IO[bytes], size: int) -> bytes:
    """At most one byte more than `size`, which tells that the file has grown."""
    chunks: list[bytes] = []
    left = size + 1
    while left and (chunk := stream.read(min(left, _CHUNK * 64))):
        chunks.append(chunk)
        left -= len(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)
