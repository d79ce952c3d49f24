"""Which files lie in the inbox: a walk over its folders, since network shares deliver no events."""

import os
import stat
from collections import Counter
from collections.abc import Collection, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Final

from cxr_edge.watch.entry import Entry
from cxr_edge.watch.presence import Away, InboxAway, Presence

# Names that copying programs give to what they have not finished, and that systems make on their own; lower case.
TEMPORARY_SUFFIXES: Final = (
    ".part",  # browsers, dcm4che storescp, Nextcloud
    ".partial",  # rsync --partial-dir, Internet Explorer
    ".tmp",
    ".temp",
    ".filepart",  # WinSCP
    ".crdownload",  # Chrome
    ".download",  # Safari
    ".incomplete",
    ".inprogress",
    ".uploading",
    ".writing",
    ".lock",
    ".swp",
    "~",  # editors' backups
)
TEMPORARY_PREFIXES: Final = (".", "~$")  # hidden (rsync, ProFTPD's .in., Syncthing), and Office's locks
SYSTEM_NAMES: Final = frozenset(
    {"thumbs.db", "ehthumbs.db", "desktop.ini", "lost+found", "system volume information", "$recycle.bin", "@eadir"}
)
_PSEUDO_FILES: Final = tuple(f"/{name}/" for name in ("dev", "proc", "sys")) if os.name == "posix" else ()
_JUNCTION: Final = 0xA0000003  # IO_REPARSE_TAG_MOUNT_POINT: Python 3.11 takes a junction for a folder


class ScanProblem(StrEnum):
    """What a scan could not look at; such places are unknown, not empty. The value is a stable code."""

    FOLDER_VANISHED = "folder_vanished"
    FOLDER_UNREADABLE = "folder_unreadable"
    FILE_UNREADABLE = "file_unreadable"


def is_left_alone(name: str) -> bool:
    """Whether a file or folder of this name is not, or not yet, somebody's input."""
    lower = name.lower()
    return lower.startswith(TEMPORARY_PREFIXES) or lower.endswith(TEMPORARY_SUFFIXES) or lower in SYSTEM_NAMES


def scan(
    inbox: Path,
    skip: Collection[Path],
    presence: Presence,
    problems: Counter[ScanProblem],
    unsteady: Collection[int] = (),
) -> Iterator[Entry]:
    """Walk the inbox, however deep, in no particular order and with flat memory for any number of files.

    Regular files count, and links to regular files, which tell size and time of what they point to; links into /dev,
    /proc and /sys do not. Links and junctions to folders are not followed, so a walk ends. Names that `is_left_alone`
    tells are passed over, folders with all that they hold. A file that vanishes meanwhile is nothing special.

    On Windows size and time come from the folder's listing, which lags behind while somebody writes: ask the open
    file again before believing them.

    Args:
        inbox: The folder.
        skip: Folders that are not entered, by whatever path: results and move targets inside the inbox.
        presence: Knows which folder the inbox is.
        problems: Counts what could not be looked at.
        unsteady: Numbers of file systems whose inode numbers and ctimes are not to be told.

    Yields:
        One entry a file.

    Raises:
        InboxAway: the inbox went away, before or during the walk; what was yielded before was there.
    """
    presence.check()
    root = os.path.realpath(inbox)
    skipped = _Skipped(skip)
    folders = [""]
    while folders:
        relative = folders.pop()
        try:
            with os.scandir(os.path.join(root, relative)) as found:  # noqa: PTH118 - strings: thousands of times
                if not relative:
                    presence.check()  # a listing that is open cannot be unmounted; between the checks it was the inbox
                for entry in found:
                    below = f"{relative}/{entry.name}" if relative else entry.name
                    if is_left_alone(entry.name):
                        continue
                    enter = _is_to_enter(entry, skipped, presence, problems)
                    if enter:
                        folders.append(below)
                    elif enter is None and (file := _file(entry, below, problems, unsteady)) is not None:
                        yield file
        except OSError as error:
            presence.check()
            if not relative:
                raise InboxAway(Away.UNREADABLE, error.strerror or "") from None
            problems[_problem(error)] += 1


def _is_to_enter(
    entry: "os.DirEntry[str]", skipped: "_Skipped", presence: Presence, problems: Counter[ScanProblem]
) -> bool | None:
    """Whether the walk goes into a folder; None for what is none."""
    try:
        if not entry.is_dir(follow_symlinks=False):
            return None
        return not skipped.holds(entry.path)
    except OSError as error:  # this one, not the rest of the listing
        presence.check()
        problems[_problem(error)] += 1
        return False


def _file(
    entry: "os.DirEntry[str]", relative: str, problems: Counter[ScanProblem], unsteady: Collection[int]
) -> Entry | None:
    """Return the entry of a regular file; None for links to folders, pipes, devices, and what is gone."""
    try:
        status = entry.stat()
    except FileNotFoundError:
        return None
    except OSError:  # a link in a circle, no permission
        problems[ScanProblem.FILE_UNREADABLE] += 1
        return None
    if not stat.S_ISREG(status.st_mode) or _is_pseudo(entry):
        return None
    if status.st_dev in unsteady:
        return Entry(relative, entry.path, status.st_size, status.st_mtime_ns, device=status.st_dev)
    times = status.st_mtime_ns, status.st_ino, status.st_ctime_ns
    return Entry(relative, entry.path, status.st_size, *times, status.st_dev)


def _is_pseudo(entry: "os.DirEntry[str]") -> bool:
    """Whether it is a link to what the kernel makes up when asked: always another one, and no image."""
    return entry.is_symlink() and os.path.realpath(entry.path).startswith(_PSEUDO_FILES)


def _problem(error: OSError) -> ScanProblem:
    gone = isinstance(error, FileNotFoundError | NotADirectoryError)
    return ScanProblem.FOLDER_VANISHED if gone else ScanProblem.FOLDER_UNREADABLE


class _Skipped:
    """Folders known by what they are, not by how they are spelled; by their path where that cannot be told."""

    def __init__(self, folders: Collection[Path]) -> None:
        self._paths = {os.path.normcase(os.path.realpath(folder)) for folder in folders}
        self._identities = {known for folder in folders if (known := _identity(os.path.realpath(folder)))}

    def holds(self, path: str) -> bool:
        """Whether a folder is not to be entered; true for a junction, too."""
        if os.path.normcase(path) in self._paths:
            return True
        status = os.stat(path, follow_symlinks=False)  # noqa: PTH116
        if getattr(status, "st_reparse_tag", 0) == _JUNCTION:
            return True
        return (status.st_dev, status.st_ino) in self._identities


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)  # noqa: PTH116
    except OSError:  # not made yet
        return None
    return (status.st_dev, status.st_ino) if status.st_ino else None
