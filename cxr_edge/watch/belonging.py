"""Which inbox and which results folder a state folder belongs to.

What the ledger calls decided has its result in one results folder. With another one, nothing would be written again,
and nobody would be told. Both folders are known by their path, or under another path by a random number in a hidden
file, which goes along when a folder is moved or copied.
"""

import contextlib
import hashlib
import json
import os
import secrets
from pathlib import Path
from typing import Final

from cxr_edge.errors import OutputError, UsageError
from cxr_edge.files import replace_alone
from cxr_edge.watch.settings import Settings

MARK_NAME: Final = ".cxr-edge-watch.id"
MEMORY_NAME: Final = "belongs.json"
_MAX_BYTES: Final = 4096
_MARK_BYTES: Final = 16
_RESULTS: Final = (
    "the state folder belongs to another results folder than {folder}; need the one it was used with (moved along with "
    "its hidden {mark}), or another state folder by --state, with which all is classified again"
)
_INBOX: Final = (
    "the state folder belongs to another inbox than {folder}; need the one it was used with (moved along with its "
    "hidden {mark}), or another state folder by --state"
)


class Belonging:
    """The folders of one state folder, which somebody holds the lock of."""

    def __init__(self, settings: Settings, state: Path) -> None:
        """Read what is remembered."""
        self._memory = state / MEMORY_NAME
        self._known = _read(self._memory)
        self._remembered: set[str] = set()  # in this run
        self._folders = {"inbox": (settings.inbox, _INBOX), "results": (settings.results, _RESULTS)}

    def check(self) -> None:
        """Return if they are those of before, or if nothing is remembered.

        Raises:
            UsageError: one of them is another folder.
        """
        for name, (folder, message) in self._folders.items():
            path, mark = self._known.get(f"{name}_path"), self._known.get(f"{name}_mark")
            if path in (None, _path_of(folder)):
                continue
            if mark is None or _mark_of(folder) != mark:
                raise UsageError(message.format(folder=folder, mark=MARK_NAME))

    def remember(self, name: str) -> None:
        """Mark a folder, which is there, and remember it. What cannot be written is known by its path alone."""
        if name in self._remembered:
            return
        folder = self._folders[name][0]
        with contextlib.suppress(OutputError):
            found = {f"{name}_path": _path_of(folder), f"{name}_mark": _mark(folder)}
            known = self._known | {key: value for key, value in found.items() if value is not None}
            if known != self._known:
                replace_alone(self._memory, json.dumps(known).encode())
                self._known = known
            self._remembered.add(name)


def _path_of(folder: Path) -> str:
    return hashlib.sha256(os.fsencode(os.path.normcase(os.path.realpath(folder)))).hexdigest()[:16]


def _mark(folder: Path) -> str | None:
    if (mark := _mark_of(folder)) is not None:
        return mark
    with contextlib.suppress(OutputError):  # an inbox that is read-only
        replace_alone(folder / MARK_NAME, json.dumps({"id": secrets.token_hex(_MARK_BYTES)}).encode())
    return _mark_of(folder)


def _mark_of(folder: Path) -> str | None:
    return _read(folder / MARK_NAME).get("id")


def _read(file: Path) -> dict[str, str]:
    """What was remembered; nothing where that is no memory of ours."""
    try:
        with file.open("rb") as stream:
            held = json.loads(stream.read(_MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(held, dict):
        return {}
    return {name: value for name, value in held.items() if isinstance(value, str)}
