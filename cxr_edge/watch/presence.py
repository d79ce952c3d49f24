"""Whether the inbox is there, and is the folder it was: an unmounted share leaves an empty folder in its place."""

import contextlib
import json
import os
import stat
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from cxr_edge.errors import CxrEdgeError, OutputError
from cxr_edge.files import replace_alone

MAX_BYTES = 4096


class Away(StrEnum):
    """Why nothing that is seen of the inbox may be believed. The value is a stable code."""

    MISSING = "missing"
    NOT_A_FOLDER = "not_a_folder"
    UNREADABLE = "unreadable"
    UNMOUNTED = "unmounted"
    REPLACED = "replaced"


_MESSAGES = {
    Away.MISSING: "the inbox does not exist",
    Away.NOT_A_FOLDER: "the inbox is no folder",
    Away.UNREADABLE: "the inbox cannot be listed",
    Away.UNMOUNTED: "the share or disk that holds the inbox is not mounted",
    Away.REPLACED: "an empty folder stands in the inbox's place",
}


class InboxAway(CxrEdgeError):  # noqa: N818 - named after the state
    """The inbox is away: nothing is taken for deleted or new until it is back.

    Attributes:
        why: which way it is away.
    """

    exit_code = 8

    def __init__(self, why: Away, detail: str = "") -> None:
        """Say it without a path: the caller knows which inbox."""
        super().__init__(_MESSAGES[why] + (f": {detail}" if detail else ""))
        self.why = why


@dataclass(frozen=True, slots=True)
class Identity:
    """What a folder is known again by.

    Attributes:
        mount_depth: how many parts the path of its mount point has; 1 where it lies on the root file system.
        device: `st_dev`, which changes when a share is mounted again.
        inode: `st_ino`.
    """

    mount_depth: int
    device: int
    inode: int


class Presence:
    """Remembers which folder the inbox is, over restarts too, and says when another one stands in its place.

    Away is a folder on a mount point further up than before (the share is not mounted), and an empty folder of
    another inode on the same mounted file system. Taken for the inbox, and remembered instead, is one on a mount
    point further down (the share came up after the start), one on the same mount point but another device (mounted
    again), and one of another inode that holds something (somebody made the inbox anew).

    To move an inbox from a share to the local disk under the same path, delete the file that remembers.
    """

    def __init__(self, inbox: Path, memory: Path | None = None) -> None:
        """Look at nothing yet but the memory.

        Args:
            inbox: The folder.
            memory: File that remembers over restarts, in the state folder; it holds numbers alone.
        """
        self._inbox = inbox
        self._memory = memory
        self._known = _recall(memory) if memory else None

    def check(self) -> None:
        """Return if the inbox is there.

        Raises:
            InboxAway: it is not, or another folder stands in its place.
        """
        found = self._identify()
        known = self._known
        if found == known:
            return
        if known is not None:
            if found.mount_depth < known.mount_depth:
                raise InboxAway(Away.UNMOUNTED)
            same_mount = (found.mount_depth, found.device) == (known.mount_depth, known.device)
            if same_mount and self._is_empty():
                raise InboxAway(Away.REPLACED)
        self._known = found
        self._remember(found)

    def _identify(self) -> Identity:
        try:
            status = self._inbox.stat()
        except (FileNotFoundError, NotADirectoryError):
            raise InboxAway(Away.MISSING) from None
        except OSError as error:
            raise InboxAway(Away.UNREADABLE, error.strerror or "") from None
        if not stat.S_ISDIR(status.st_mode):
            raise InboxAway(Away.NOT_A_FOLDER)
        return Identity(mount_depth(self._inbox), status.st_dev, status.st_ino)

    def _is_empty(self) -> bool:
        try:
            with os.scandir(self._inbox) as entries:
                return next(entries, None) is None
        except OSError as error:
            raise InboxAway(Away.UNREADABLE, error.strerror or "") from None

    def _remember(self, identity: Identity) -> None:
        if self._memory is not None:
            with contextlib.suppress(OutputError):  # then it is known until this process ends
                replace_alone(self._memory, json.dumps(asdict(identity)).encode())


def mount_depth(folder: Path) -> int:
    """How many parts the path of the mount point has that holds `folder`; on Windows, of the drive or share."""
    real = Path(os.path.realpath(folder))
    return next((len(above.parts) for above in (real, *real.parents) if os.path.ismount(above)), 0)


def _recall(memory: Path) -> Identity | None:
    try:
        with memory.open("rb") as stream:
            held = json.loads(stream.read(MAX_BYTES))
        depth, device, inode = (held[name] for name in ("mount_depth", "device", "inode"))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):  # absent, or no memory of ours: start anew
        return None
    if not all(type(number) is int for number in (depth, device, inode)):
        return None
    return Identity(depth, device, inode)
