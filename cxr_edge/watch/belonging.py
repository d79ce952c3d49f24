"""Which inbox, which results folder and which model a state folder belongs to.

What the ledger calls decided has its result in one results folder. With another one, nothing would be written again,
and nobody would be told. Both folders are known by their path, or under another path by a random number in a hidden
file, which goes along when a folder is moved or copied. A model is known by its name, so that a new version of it goes
on; the results folder's hidden file holds it as well, since a new ledger is made from the results.
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
_MODEL: Final = (
    "{folder} belongs to the model {known}; this one is {name}: need {known}, or for {name} another results and "
    "another state folder (--results, --state), with which all is classified again; both at once need two inboxes"
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

    def take_model(self, name: str) -> None:
        """Remember the model; `remember("results")` was called before.

        Raises:
            UsageError: the state or the results are those of a model of another name.
        """
        results = self._folders["results"][0]
        marked = _read(results / MARK_NAME)
        for folder, memory in (("the state folder", self._known), ("the results folder", marked)):
            if (known := memory.get("model", name)) != name:
                raise UsageError(_MODEL.format(folder=folder, known=known, name=name))
        with contextlib.suppress(OutputError):
            if "model" not in self._known:
                known_now = self._known | {"model": name}
                replace_alone(self._memory, json.dumps(known_now).encode())
                self._known = known_now
            if "id" in marked and "model" not in marked:
                replace_alone(results / MARK_NAME, json.dumps(marked | {"model": name}).encode())


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
