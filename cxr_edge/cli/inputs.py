"""Which files a command line names."""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cxr_edge.errors import UsageError

STANDARD_INPUT = "-"
SYSTEM_FILES = frozenset({"thumbs.db", "desktop.ini"})  # Windows leaves them in any folder


@dataclass(frozen=True, slots=True)
class Found:
    """Paths in a stable order, and what the user has to know about those left out."""

    paths: tuple[str, ...]
    notices: tuple[str, ...]


def find_images(arguments: list[str], *, recursive: bool) -> Found:
    """Expand folders; files are taken as named, whatever their suffix.

    In folders, hidden files and those that Windows leaves behind are passed over and counted. A path that does not
    exist stays in the list: it becomes a rejection like any other.

    Raises:
        UsageError: standard input is named twice.
    """
    if arguments.count(STANDARD_INPUT) > 1:
        message = "standard input (-) can be read only once"
        raise UsageError(message)
    paths: list[str] = []
    hidden = folders = 0
    for argument in arguments:
        if argument == STANDARD_INPUT or not Path(argument).is_dir():
            paths.append(argument)
            continue
        for entry in _walk(argument, recursive=recursive):
            if entry is None:
                folders += 1
            elif _is_hidden(entry):
                hidden += 1
            else:
                paths.append(entry)
    notices = []
    if hidden:
        notices.append(f"passed over {hidden} hidden or system file(s)")
    if folders:
        notices.append(f"did not enter {folders} sub-folder(s); --recursive does")
    return Found(tuple(paths), tuple(notices))


def open_image(path: str) -> str | bytes:
    """The path itself, or the bytes of standard input."""
    return sys.stdin.buffer.read() if path == STANDARD_INPUT else path


def _walk(folder: str, *, recursive: bool) -> Iterator[str | None]:
    """Files of a folder, sorted; None for a sub-folder that is not entered. Links to folders are not followed."""
    with os.scandir(folder) as entries:
        ordered = sorted(entries, key=lambda entry: entry.name)
    for entry in ordered:
        if not entry.is_dir(follow_symlinks=False):
            yield entry.path
        elif recursive:
            yield from _walk(entry.path, recursive=True)
        else:
            yield None


def _is_hidden(path: str) -> bool:
    name = os.path.basename(path)  # noqa: PTH119 - a plain string, thousands of times
    return name.startswith(".") or name.lower() in SYSTEM_FILES
