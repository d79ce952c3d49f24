"""Writing so that a reader, or a power cut, never meets half a file."""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from cxr_edge.errors import OutputError


@contextlib.contextmanager
def atomic_writer(target: Path, *, overwrite: bool, temporary: Path | None = None) -> Iterator[IO[bytes]]:
    """A binary stream that becomes `target`, whole, when the block ends without an error; else nothing is left.

    The bytes go to a temporary name in the same folder, are flushed to the disk and renamed.

    Args:
        target: the file to make.
        overwrite: whether an existing file is replaced.
        temporary: the temporary name instead, for who cleans up after a power cut; on the volume of `target`.

    Raises:
        OutputError: `target` exists and is not to be overwritten, or the folder cannot be written.
    """
    refuse_existing(target, overwrite=overwrite)
    target = Path(os.path.realpath(target))  # what a link points to is replaced, not the link
    temporary = temporary or target.with_name(f".cxr-edge-{os.urandom(8).hex()}.part")
    try:
        with temporary.open("xb") as stream:  # not tempfile: an output is as readable as any file the user makes
            if os.name == "posix" and os.path.isfile(target):  # noqa: PTH113 - a file only its owner may read stays so
                temporary.chmod(stat.S_IMODE(os.stat(target).st_mode))  # noqa: PTH116
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        _publish(temporary, target, overwrite=overwrite)
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


def replace_alone(target: Path, content: bytes) -> None:
    """As `write_atomically`, for a file that one process writes at a time: what a kill left goes with the next writing.

    Raises:
        OutputError: as `atomic_writer`.
    """
    temporary = target.with_name(f".{target.name}.part")
    with contextlib.suppress(OSError):  # mostly there is none; else writing says why
        temporary.unlink()
    with atomic_writer(target, overwrite=True, temporary=temporary) as stream:
        stream.write(content)


def refuse_existing(target: Path, *, overwrite: bool) -> None:
    """Say at once, before long work, that an output would be overwritten or its folder is missing.

    Raises:
        OutputError: so.
    """
    if os.path.isdir(target):  # noqa: PTH112 - the methods of Path raise on names that are too long
        message = f"cannot write {target}: it is a folder"
        raise OutputError(message)
    if os.path.lexists(target):
        if not overwrite:
            message = f"{target} exists already; --overwrite replaces it"
            raise OutputError(message)
        if os.path.exists(target) and not os.path.isfile(target):  # noqa: PTH110, PTH113
            message = f"cannot write {target}: it is a device, pipe or socket"
            raise OutputError(message)
    if not os.path.isdir(target.parent):  # noqa: PTH112
        message = f"cannot write {target}: its folder does not exist"
        raise OutputError(message)


def _publish(temporary: Path, target: Path, *, overwrite: bool) -> None:
    if overwrite:
        temporary.replace(target)
        sync_folder(target.parent)
        return
    try:
        rename_new(temporary, target)
    except FileExistsError:
        message = f"{target} exists already; --overwrite replaces it"
        raise OutputError(message) from None


def rename_new(source: Path, target: Path) -> None:
    """Rename within one volume, and never replace: of two processes with one target, the second fails.

    `target` is on the disk before `source` goes; a power cut between the two leaves both names.

    Raises:
        FileExistsError: something stands at `target`.
        OSError: any other cause; EXDEV where the two lie on different volumes.
    """
    if os.name != "nt":  # there a rename refuses by itself
        try:
            os.link(source, target)  # unlike rename, fails when another process was faster
        except OSError:  # or no hard links here (FAT, some shares)
            if os.path.lexists(target):  # a rename would replace silently
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
        else:
            sync_folder(target.parent)
            with contextlib.suppress(FileNotFoundError):  # a share that repeats a call whose answer was lost
                source.unlink()
            return
    source.rename(target)
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk: a rename must survive a power cut. Windows has no such call."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network shares cannot; the file itself is written
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
