"""The folder of results: a file stands in it whole or not at all, once for each content."""

import contextlib
import errno
import json
import os
import re
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO

from cxr_edge.errors import OutputError
from cxr_edge.files import atomic_writer, sync_folder
from cxr_edge.results.rows import Row, heat_map_name
from cxr_edge.watch.outbox_fault import OutboxFault, OutboxUnavailable
from cxr_edge.watch.stored_row import parse_row

LEFTOVER = re.compile(r"\.cxr-edge-watch-[0-9a-f]{16}\.part")  # not classify's `.cxr-edge-*.part`, which may be in use
MAX_RESULT_BYTES = 1 << 20  # a row has some 2 KB; more is no result of ours
PROBE_BYTES = 16384


def require_folder(folder: Path, what: str = "the results folder") -> tuple[int, int]:
    """What the folder is known again by: `st_dev` and `st_ino`.

    Raises:
        OutboxUnavailable: it is not there, is no folder, or cannot be looked at.
    """
    try:
        status = os.stat(folder)  # noqa: PTH116 - `Path.is_dir` raises or lies, by the release of Python
    except (FileNotFoundError, NotADirectoryError):
        raise OutboxUnavailable(OutboxFault.AWAY, f"cannot write to {what}: it is not there") from None
    except OSError as error:
        raise OutboxUnavailable.of(error, what) from None
    if not stat.S_ISDIR(status.st_mode):
        raise OutboxUnavailable(OutboxFault.AWAY, f"cannot write to {what}: it is no folder") from None
    return status.st_dev, status.st_ino


@contextlib.contextmanager
def publish(
    target: Path, root: Path, *, overwrite: bool = True, what: str = "the results folder"
) -> Iterator[IO[bytes]]:
    """As `atomic_writer`, with its temporary file in `root`, where `remove_leftovers` finds it after a power cut.

    Raises:
        OutboxUnavailable: for any fault of the file system.
        FileExistsError: `target` exists and is not to be overwritten.
    """
    try:
        with atomic_writer(target, overwrite=overwrite, temporary=_temporary(root)) as stream:
            yield stream
    except OutputError as error:
        if isinstance(error, OutboxUnavailable):
            raise
        if isinstance(error.__cause__, OSError):
            raise OutboxUnavailable.of(error.__cause__, what) from None  # both of them hold paths
        require_folder(root, what)
        if not overwrite and os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
        raise OutboxUnavailable(OutboxFault.OTHER, f"cannot write to {what}: a folder or device has the name") from None


def remove_leftovers(root: Path, what: str = "the results folder") -> int:
    """Remove the temporary files that a killed run left in `root`; only while its lock is held.

    Returns:
        How many there were.

    Raises:
        OutboxUnavailable: the folder cannot be listed or changed.
    """
    try:
        with os.scandir(root) as entries:
            found = [entry.path for entry in entries if LEFTOVER.fullmatch(entry.name)]
        for path in found:
            os.unlink(path)  # noqa: PTH108 - a text is at hand
    except OSError as error:
        raise OutboxUnavailable.of(error, what) from None
    return len(found)


def probe(root: Path, what: str = "the results folder", room: int = PROBE_BYTES) -> None:
    """Find out whether `room` bytes can be written in `root` now, and leave nothing.

    Raises:
        OutboxUnavailable: they cannot.
    """
    temporary = _temporary(root)
    try:
        try:
            with temporary.open("xb") as stream:
                stream.write(os.urandom(room))  # some file systems store zeros in no room
                stream.flush()
                os.fsync(stream.fileno())
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise OutboxUnavailable.of(error, what) from None


@dataclass(slots=True)
class Outbox:
    """The folder of results.

    Attributes:
        folder: the folder, which exists; it is never made again, because an unmounted share leaves an empty folder.
        marker: the name of a file that stands in the right one, such as its lock; None for none. The folder in which
            it stood is known again without it: somebody may have removed it with the old results.
    """

    folder: Path
    marker: str | None = None
    _known: tuple[int, int] | None = field(default=None, init=False, repr=False, compare=False)

    def write_result(self, row: Row, heat_map: bytes | None = None, label_index: int | None = None) -> bool:
        """Write `<content_sha256>.json`, and `<content_sha256>.png` before it.

        A valid row of the same content that stands there already is kept: what was told once is never told otherwise.

        Args:
            row: of one image whose bytes were read.
            heat_map: a PNG.
            label_index: number of the label that was asked for; the PNG is then `<content_sha256>-<number>.png`.

        Returns:
            Whether the row was written now. Either way it is on the disk.

        Raises:
            OutboxUnavailable: it cannot be written now.
            ValueError: the row names no content.
        """
        content = row["source"]["content_sha256"]
        if content is None:
            message = "a result file is named after the content, which this row does not name"
            raise ValueError(message)
        self.check()
        if self.read_row(content) is not None:
            self._sync()  # the run that wrote it may have been killed before it did
            return False
        if heat_map is not None:
            self.write(heat_map_name(content, label_index), heat_map)
        self.write(f"{content}.json", to_json(row))
        return True

    def written_on(self, content: str) -> str:
        """The day of `<content>.json`, YYYY-MM-DD, local: the same whenever it is asked, as after a rebuilt ledger.

        Today where it is not there any more: whoever takes results away may be quicker than the question.

        Raises:
            OutboxUnavailable: the folder is not there, or the file cannot be looked at.
        """
        try:
            changed = (self.folder / f"{content}.json").stat().st_mtime
        except FileNotFoundError:
            self.check()
            changed = time.time()
        except OSError as error:
            raise OutboxUnavailable.of(error) from None
        return datetime.fromtimestamp(changed).astimezone().date().isoformat()

    def read_row(self, content: str) -> Row | None:
        """The row in `<content>.json`; None where there is none or it is damaged.

        Raises:
            OutboxUnavailable: the folder cannot be read now.
        """
        data = self.read(f"{content}.json", MAX_RESULT_BYTES)
        return None if data is None else parse_row(data, content)

    def read(self, name: str, limit: int) -> bytes | None:
        """The bytes of a regular file of at most `limit` bytes; None where it is none.

        Raises:
            OutboxUnavailable: the folder cannot be read now.
        """
        path = self.folder / name
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode) or status.st_size > limit:
                return None  # a pipe would be waited for without end
            return path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise OutboxUnavailable.of(error) from None

    def write(self, name: str, data: bytes) -> None:
        """Write a file whole or not at all; one that holds the same bytes is left alone.

        Raises:
            OutboxUnavailable: it cannot be written now.
        """
        if self.read(name, len(data)) == data:
            self._sync()
            return
        with self.open(name) as stream:
            stream.write(data)

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """A stream that becomes the file `name`, whole, when the block ends without an error.

        Raises:
            OutboxUnavailable: it cannot be written now.
        """
        self.check()
        with publish(self.folder / name, self.folder) as stream:
            yield stream

    def check(self) -> None:
        """Raises `OutboxUnavailable` where the folder is not there, or another one has its place."""
        found = require_folder(self.folder)
        if self.marker is None or (found == self._known and found[1]):
            return
        try:
            os.stat(self.folder / self.marker)  # noqa: PTH116 - `Path.exists` raises some errors
        except FileNotFoundError:
            raise OutboxUnavailable(
                OutboxFault.AWAY, "cannot write to the results folder: another folder has its place"
            ) from None
        except OSError as error:
            raise OutboxUnavailable.of(error) from None
        self._known = found

    def _sync(self) -> None:
        try:
            sync_folder(self.folder)
        except OSError as error:
            raise OutboxUnavailable.of(error) from None


def _temporary(root: Path) -> Path:
    return root / f".cxr-edge-watch-{os.urandom(8).hex()}.part"


def to_json(row: Row) -> bytes:
    """The bytes of a result file: one row, ASCII, with a line's end."""
    return (json.dumps(row, allow_nan=False) + "\n").encode()
