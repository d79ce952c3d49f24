"""The folders that the service writes to: found, locked and tidied before anything is written."""

import contextlib
import hashlib
import os
from pathlib import Path
from typing import Final

from cxr_edge.errors import OutputError
from cxr_edge.watch.lock import hold
from cxr_edge.watch.outbox import OutboxFault, OutboxUnavailable, remove_leftovers
from cxr_edge.watch.presence import InboxAway, Presence
from cxr_edge.watch.settings import Settings

RESULTS: Final = "the results folder"
AFTER: Final = "the folder that --after moves to"


def take_folders(settings: Settings, state: Path, stack: contextlib.ExitStack) -> None:
    """Find, lock and tidy the folder of results and those that `--after` moves to.

    Args:
        settings: they name the folders.
        state: the state folder, which remembers them.
        stack: takes the lock.

    Raises:
        UsageError: another watcher writes its results there.
        OutboxUnavailable: one of them cannot be used now.
        OutputError: one of them is no folder.
    """
    _find(settings.results, state, RESULTS)
    try:
        stack.enter_context(hold(settings.results, "results folder"))
    except OSError as error:
        raise OutboxUnavailable.of(error) from None
    remove_leftovers(settings.results)
    for root in (settings.after_done, settings.after_rejected):
        if root is not None:
            _find(root, state, AFTER)
            remove_leftovers(root, AFTER)


def _find(folder: Path, state: Path, what: str) -> None:
    """Make it when it is named for the first time, never later: an unmounted share leaves an empty folder."""
    name = hashlib.sha256(os.fsencode(os.path.realpath(folder))).hexdigest()[:16]
    memory = state / f"folder-{name}.json"
    if not memory.exists():
        _make_folder(folder, what)
    try:
        Presence(folder, memory).check()
    except InboxAway:
        raise OutboxUnavailable(OutboxFault.AWAY, f"cannot write to {what}: it is not there") from None


def _make_folder(folder: Path, what: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        message = f"{what} {folder} is no folder"
        raise OutputError(message) from None
    except OSError as error:
        raise OutboxUnavailable.of(error, what) from None
