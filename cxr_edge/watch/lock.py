"""One watcher at a time: a lock of the operating system, which ends with its process however that ends."""

import contextlib
import json
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cxr_edge.errors import OutputError, UsageError
from cxr_edge.files import replace_alone

LOCK_NAME: Final = ".cxr-edge-watch.lock"
HOLDER_NAME: Final = ".cxr-edge-watch.holder.json"
_MAX_BYTES: Final = 4096


@contextlib.contextmanager
def hold(folder: Path, what: str) -> Iterator[None]:
    """Hold the lock of `folder` inside the block.

    On a share it excludes other machines too, where the share passes locks on (SMB and NFS 4 do unless mounted with
    `nobrl` or `nolock`). The lock's file stays when it is released: it is the lock that counts. Beside it stands who
    holds it, for the message to the next who wants it.

    Args:
        folder: Exists and can be written.
        what: What is locked, for the message: "results folder".

    Raises:
        UsageError: another process holds it; the message names its process id and host.
        OSError: the folder does not exist or cannot be written, or its file system has no locks.
    """
    from filelock import FileLock, Timeout

    folder.stat()  # filelock would make it, where a share is away
    lock = FileLock(folder / LOCK_NAME, timeout=0, thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        message = f"the {what} is in use by {_holder(folder)}; one watcher at a time"
        raise UsageError(message) from None
    try:
        _leave_name(folder)
        yield
    finally:
        with contextlib.suppress(OSError):
            (folder / HOLDER_NAME).unlink()
        with contextlib.suppress(OSError):  # the share is away: the lock went with it
            lock.release()


def _leave_name(folder: Path) -> None:
    holder = {"pid": os.getpid(), "host": platform.node()}
    with contextlib.suppress(OutputError):  # only the message to others is poorer
        replace_alone(folder / HOLDER_NAME, json.dumps(holder).encode())


def _holder(folder: Path) -> str:
    try:
        with (folder / HOLDER_NAME).open("rb") as stream:
            held = json.loads(stream.read(_MAX_BYTES))
        pid, host = held["pid"], held["host"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):  # not written yet, or no name of ours
        return "another process"
    if type(pid) is not int or not isinstance(host, str) or not host.isprintable():
        return "another process"
    return f"process {pid} on {host}"
