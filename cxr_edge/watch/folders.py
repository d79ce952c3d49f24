"""The folders that the service writes to: found, locked and tidied before anything is written."""

import contextlib
import hashlib
import os
from pathlib import Path
from typing import Final, Self

from cxr_edge.errors import OutputError, UsageError
from cxr_edge.watch import after
from cxr_edge.watch.events import Notice, Observer
from cxr_edge.watch.lock import hold
from cxr_edge.watch.outbox import remove_leftovers
from cxr_edge.watch.outbox_fault import OutboxFault, OutboxUnavailable
from cxr_edge.watch.presence import InboxAway, Presence
from cxr_edge.watch.settings import Settings
from cxr_edge.watch.state_errors import StateUnusable, unusable

RESULTS: Final = "the results folder"
AFTER: Final = "the folder that --after moves to"


def require_inbox(inbox: Path) -> None:
    """An inbox that was never there is a mistake; one that was there before is awaited.

    Raises:
        UsageError: it does not exist or is no folder.
    """
    if not inbox.is_dir():
        message = f"the inbox {inbox} does not exist or is no folder"
        raise UsageError(message)


def make_state_folder(folder: Path) -> None:
    """Make it where it is lacking.

    Raises:
        StateUnusable: the disk does not let it, or something else stands in its place.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        message = f"the state folder {folder} is no folder; need a folder on a local disk"
        raise StateUnusable(message, strerror=error.strerror) from error
    except OSError as error:
        message = f"the state folder cannot be made: {error.strerror}"
        raise StateUnusable(message, unusable(error, "it").kind, error.strerror) from error


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
    with contextlib.ExitStack() as attempt:  # another attempt must not meet this one's lock
        _find(settings.results, state, RESULTS)
        try:
            attempt.enter_context(hold(settings.results, "results folder"))
        except OSError as error:
            raise OutboxUnavailable.of(error) from None
        remove_leftovers(settings.results)
        for root in (settings.after_done, settings.after_rejected):
            if root is not None:
                _find(root, state, AFTER)
                after.check(root)
                remove_leftovers(root, AFTER)
        stack.enter_context(attempt.pop_all())


class InboxLock:
    """Keeps a watcher with another state and other results from the same files; a hidden file in the inbox does.

    Held only while the inbox is there: an open file keeps a share from being unmounted.
    """

    def __init__(self, inbox: Path, presence: Presence, observer: Observer) -> None:
        """Take nothing yet."""
        self._inbox, self._presence, self._observer = inbox, presence, observer
        self._stack = contextlib.ExitStack()
        self._is_held = self._is_told = False

    def __enter__(self) -> Self:
        """Take it, if the inbox is there already.

        Raises:
            UsageError: another watcher is at work in it.
        """
        with contextlib.suppress(InboxAway):
            self.take()
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of it."""
        self.drop()

    def take(self) -> None:
        """Take it unless it is held; one that cannot be had is told once.

        Raises:
            InboxAway: there is nothing to be locked.
            UsageError: another watcher is at work in it.
        """
        if self._is_held:
            return
        self._presence.check()
        try:
            self._stack.enter_context(hold(self._inbox, "inbox"))
        except OSError as error:  # read-only
            if not self._is_told:
                message = f"the inbox cannot be locked against another watcher: {error.strerror}"
                self._observer.observe(Notice("inbox_not_locked", message))
            self._is_told = True
        else:
            self._is_held = True

    def drop(self) -> None:
        """The inbox is away, or not wanted any more."""
        self._stack.close()
        self._is_held = False


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
