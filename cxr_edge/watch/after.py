"""`--after`: what was decided leaves the inbox, whole and verified, and nothing is ever replaced."""

import contextlib
import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import IO, Final

from cxr_edge.files import rename_new, sync_folder
from cxr_edge.watch.entry import Entry
from cxr_edge.watch.outbox import probe, publish, require_folder
from cxr_edge.watch.outbox_fault import OutboxFault, OutboxUnavailable, fault_of
from cxr_edge.watch.presence import mount_depth

_WHAT = "the folder that --after moves to"
_CHUNK = 1 << 20
_SHORT = 12  # hex digits of the content in a name; all 64 where even that is taken
_SUFFIX = 16  # longer ones are no suffixes
_depths: Final[dict[Path, int]] = {}  # of the mount points of the folders moved to, as far as this process has seen


class Moved(StrEnum):
    """What became of a move."""

    MOVED = "moved"
    CHANGED = "changed"  # the file is not what was classified any more: it stays, and is a new file
    GONE = "gone"  # it is not there: somebody took it, or the inbox is away
    BLOCKED = "blocked"  # it cannot be read or removed now (locked, no permission, its share away): owed


class _SourceUnavailable(Exception):  # noqa: N818 - never leaves this file; no OSError, which would be the target's
    pass


class _SourceChanged(Exception):  # noqa: N818 - never leaves this file
    pass


def move(entry: Entry, root: Path, content: str) -> Moved:
    """Move a file of the inbox to the same place below `root`: rename on one volume, else copy, verify, unlink.

    A name that is taken by other content gets the content's hash behind it. Done again after a power cut, it ends the
    same way: at every moment the content stands whole in the inbox, below `root`, or in both.

    Args:
        entry: the file as it was when it was read.
        root: an existing folder; sub-folders of the inbox are made again in it.
        content: SHA-256 in hex of the bytes that were classified.

    Raises:
        OutboxUnavailable: `root` cannot be written now.
    """
    check(root)
    try:
        return _move(entry, root, content)
    except _SourceChanged:
        return Moved.CHANGED
    except _SourceUnavailable:
        return Moved.BLOCKED
    except OSError as error:
        return _whose_fault(error, entry, root)


def check(root: Path) -> None:
    """Find out whether files may be moved to `root` now, before any is read; call it once at the start, too.

    An unmounted share leaves no folder, or its bare mount point: a mount point further up than before.

    Raises:
        OutboxUnavailable: it is not there, not mounted any more, or cannot be written.
    """
    require_folder(root, _WHAT)
    depth = mount_depth(root)
    if depth < _depths.setdefault(root, depth):
        raise OutboxUnavailable(OutboxFault.AWAY, f"cannot write to {_WHAT}: its share or disk is not mounted")
    _depths[root] = depth
    if not os.access(root, os.W_OK | os.X_OK):
        raise OutboxUnavailable(OutboxFault.READ_ONLY, f"cannot write to {_WHAT}: it is read-only")


def _move(entry: Entry, root: Path, content: str) -> Moved:
    if not _is_unchanged(entry, content):
        return Moved.CHANGED
    for target in _targets(entry.relative, root, content):
        ended = _try_target(entry, target, root, content)
        if ended is not None:
            return ended
    raise OutboxUnavailable(OutboxFault.OTHER, f"cannot write to {_WHAT}: every name is taken by something else")


def _whose_fault(error: OSError, entry: Entry, root: Path) -> Moved:
    if isinstance(error, FileNotFoundError) and not os.path.lexists(entry.path):
        return Moved.GONE
    if fault_of(error) is OutboxFault.FULL:
        raise OutboxUnavailable.of(error, _WHAT) from None
    probe(root, _WHAT)  # raises where it is the target's
    return Moved.BLOCKED


def _targets(relative: str, root: Path, content: str) -> Iterator[Path]:
    """Names to try, the last of which no other content has by chance."""
    inside = PurePosixPath(relative)
    if inside.is_absolute() or ".." in inside.parts or not inside.name:
        message = "a path below the inbox is needed"
        raise ValueError(message)
    suffix = inside.suffix if len(inside.suffix) <= _SUFFIX else ""
    folder = root.joinpath(*inside.parent.parts)
    if _make_folders(root, folder):
        yield folder / inside.name
        yield folder / f"{inside.stem}-{content[:_SHORT]}{inside.suffix}"
        yield folder / f"{content}{suffix}"
    yield root / f"{content}{suffix}"


def _make_folders(root: Path, folder: Path) -> bool:
    """Make the folders below `root` that lack, on the disk; False where a file is in the way of one."""
    lacking = root
    for part in folder.relative_to(root).parts:
        above, lacking = lacking, lacking / part
        try:
            lacking.mkdir()
        except FileExistsError:
            if not stat.S_ISDIR(os.stat(lacking).st_mode):  # noqa: PTH116 - `Path.is_dir` raises or lies
                return False
        else:
            sync_folder(above)
    return True


def _try_target(entry: Entry, target: Path, root: Path, content: str) -> Moved | None:
    """Move to this name; None where it is taken or cannot be."""
    try:
        there = target.lstat()
    except FileNotFoundError:
        return _place(entry, target, root, content)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return None
        raise
    if not stat.S_ISREG(there.st_mode) or there.st_size != entry.size or _sha256(target, sync=True) != content:
        return None
    if there.st_nlink == 1 and os.path.samefile(target, entry.path) and not os.path.islink(entry.path):  # noqa: PTH114, PTH121
        return Moved.BLOCKED  # the folder is the inbox itself: there is no second name to remove
    sync_folder(target.parent)  # an earlier run may have been killed before it did
    return _unlink(entry)


def _place(entry: Entry, target: Path, root: Path, content: str) -> Moved | None:
    """Move to a name that is free."""
    try:
        if not os.path.islink(entry.path):  # noqa: PTH114 - a link is not carried away, what it points to is copied
            try:
                rename_new(Path(entry.path), target)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
            else:
                return Moved.MOVED
        _copy(entry, target, root, content)
    except FileExistsError:  # somebody was faster
        return None
    return _unlink(entry)


def _copy(entry: Entry, target: Path, root: Path, content: str) -> None:
    """Copy, bring it to the disk, and read back what stands there."""
    with _open_source(entry) as source, publish(target, root, overwrite=False, what=_WHAT) as stream:
        copy = Path(stream.name)
        with contextlib.suppress(
            OSError
        ):  # FAT and some shares cannot hold it; else no moment more readable than it was
            copy.chmod(stat.S_IMODE(os.fstat(source.fileno()).st_mode) | stat.S_IWUSR)
        digest = hashlib.sha256()
        for chunk in _chunks(source):
            digest.update(chunk)
            stream.write(chunk)
        if digest.hexdigest() != content:
            raise _SourceChanged
        stream.flush()
        os.fsync(stream.fileno())
        if hasattr(os, "posix_fadvise"):  # read back from the disk, not from memory
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        if _sha256(copy) != content:
            raise OutboxUnavailable(OutboxFault.OTHER, f"{_WHAT} reads back something else than was written")
        _copy_times_and_mode(entry, copy)


def _open_source(entry: Entry) -> IO[bytes]:
    try:
        return Path(entry.path).open("rb")
    except FileNotFoundError:
        raise
    except OSError:
        raise _SourceUnavailable from None


def _chunks(source: IO[bytes]) -> Iterator[bytes]:
    while True:
        try:
            chunk = source.read(_CHUNK)
        except OSError:
            raise _SourceUnavailable from None
        if not chunk:
            return
        yield chunk


def _copy_times_and_mode(entry: Entry, copy: Path) -> None:
    try:
        shutil.copystat(entry.path, copy)
    except OSError:  # FAT and some shares cannot hold them; the content is what matters
        return


def _is_unchanged(entry: Entry, content: str) -> bool:
    """Whether the file is still what was read: first by size and time, then by every byte."""
    if not _looks_unchanged(entry):
        return False
    try:
        return _sha256(Path(entry.path)) == content
    except FileNotFoundError:
        raise
    except OSError:
        raise _SourceUnavailable from None


def _looks_unchanged(entry: Entry) -> bool:
    try:
        now = os.stat(entry.path)  # noqa: PTH116 - a text is at hand
    except FileNotFoundError:
        raise
    except OSError:
        raise _SourceUnavailable from None
    return stat.S_ISREG(now.st_mode) and (now.st_size, now.st_mtime_ns) == (entry.size, entry.mtime_ns)


def _unlink(entry: Entry) -> Moved:
    """Remove the source, whose content stands in the target, unless it was changed meanwhile."""
    try:
        if not _looks_unchanged(entry):
            return Moved.CHANGED
        os.unlink(entry.path)  # noqa: PTH108 - a text is at hand
    except FileNotFoundError:
        return Moved.MOVED
    except OSError:
        return Moved.BLOCKED
    return Moved.MOVED


def _sha256(path: Path, *, sync: bool = False) -> str:
    with path.open("rb") as stream:
        if sync and os.name == "posix":
            os.fsync(stream.fileno())
        return hashlib.file_digest(stream, "sha256").hexdigest()
