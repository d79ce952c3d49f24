"""Writing so that a reader, or a power cut, never meets half a file."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from cxr_edge.errors import OutputError


@contextlib.contextmanager
def atomic_writer(target: Path, *, overwrite: bool) -> Iterator[IO[bytes]]:
    """A binary stream that becomes `target`, whole, when the block ends without an error; else nothing is left.

    The bytes go to a temporary name in the same folder, are flushed to the disk and renamed.

    Raises:
        OutputError: `target` exists and is not to be overwritten, or the folder cannot be written.
    """
    refuse_existing(target, overwrite=overwrite)
    temporary = target.with_name(f".cxr-edge-{secrets.token_hex(8)}.part")
    try:
        with temporary.open("xb") as stream:  # not tempfile: an output is as readable as any file the user makes
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        _publish(temporary, target, overwrite=overwrite)
        _sync_folder(target.parent)
    except OSError as error:
        message = f"cannot write {target}: {error.strerror or error}"
        raise OutputError(message) from error
    finally:
        with contextlib.suppress(OSError):  # after success it is gone already
            temporary.unlink()


def write_atomically(target: Path, content: bytes, *, overwrite: bool) -> None:
    """Write `content` to `target` whole or not at all.

    Raises:
        OutputError: as `atomic_writer`.
    """
    with atomic_writer(target, overwrite=overwrite) as stream:
        stream.write(content)


def refuse_existing(target: Path, *, overwrite: bool) -> None:
    """Say at once, before long work, that an output would be overwritten or its folder is missing.

    Raises:
        OutputError: so.
    """
    if target.is_dir():
        message = f"cannot write {target}: it is a folder"
        raise OutputError(message)
    if not overwrite and os.path.lexists(target):
        message = f"{target} exists already; --overwrite replaces it"
        raise OutputError(message)
    if not target.parent.is_dir():
        message = f"cannot write {target}: its folder does not exist"
        raise OutputError(message)


def _publish(temporary: Path, target: Path, *, overwrite: bool) -> None:
    if overwrite:
        temporary.replace(target)
        return
    try:
        os.link(temporary, target)  # unlike rename, fails when another process was faster
    except FileExistsError:
        message = f"{target} exists already; --overwrite replaces it"
        raise OutputError(message) from None
    except OSError:  # no hard links here (FAT, some shares)
        temporary.rename(target)
    else:
        temporary.unlink()


def _sync_folder(folder: Path) -> None:
    # the rename itself must survive a power cut; Windows has no such call and needs none
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
