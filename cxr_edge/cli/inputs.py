"""Which files a command line names."""

import io
import os
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from cxr_edge.errors import UsageError

STANDARD_INPUT = "-"
SYSTEM_FILES = frozenset({"thumbs.db", "desktop.ini"})  # Windows leaves them in any folder


@dataclass(frozen=True, slots=True)
class Found:
    """Paths in a stable order, and what the user has to know about those left out."""

    paths: tuple[str, ...]
    notices: tuple[str, ...]


def find_images(arguments: list[str], *, recursive: bool, outputs: tuple[Path, ...] = ()) -> Found:
    """Expand folders; files are taken as named, whatever their suffix.

    In folders, hidden files and those that Windows leaves behind are passed over and counted. A path that does not
    exist stays in the list: it becomes a rejection like any other. `outputs`, files or folders of this very call, are
    passed over too.

    Raises:
        UsageError: standard input is named twice.
    """
    if arguments.count(STANDARD_INPUT) > 1:
        message = "standard input (-) can be read only once"
        raise UsageError(message)
    own = tuple(os.path.realpath(path) for path in outputs)
    paths: list[str] = []
    left_out: Counter[str] = Counter()
    for argument in arguments:
        if argument == STANDARD_INPUT or not os.path.isdir(argument):  # noqa: PTH112 - Path.is_dir may raise
            paths.append(argument)
            continue
        for entry in _walk(argument, recursive=recursive):
            why = _left_out(entry, own)
            if why is None:
                paths.append(entry.path)
            else:
                left_out[why] += 1
    return Found(tuple(paths), tuple(why.format(count) for why, count in left_out.items()))


def open_image(path: str) -> str | IO[bytes]:
    """The path itself, or the stream of standard input; an empty one where it is closed."""
    if path != STANDARD_INPUT:
        return path
    return io.BytesIO() if sys.stdin is None else sys.stdin.buffer


@dataclass(frozen=True, slots=True)
class _Entry:
    path: str
    is_entered: bool = True


def _walk(folder: str, *, recursive: bool) -> Iterator[_Entry]:
    """Files of a folder, sorted, and sub-folders that are not entered. Links to folders are not followed."""
    try:
        with os.scandir(folder) as entries:
            ordered = sorted(entries, key=lambda entry: entry.name)
    except OSError:
        yield _Entry(folder)  # becomes a rejection: a folder that cannot be read is not silently left out
        return
    for entry in ordered:
        if not entry.is_dir(follow_symlinks=False):
            yield _Entry(entry.path)
        elif recursive:
            yield from _walk(entry.path, recursive=True)
        else:
            yield _Entry(entry.path, is_entered=False)


def _left_out(entry: _Entry, own: tuple[str, ...]) -> str | None:
    """Why an entry is passed over, as a notice that takes a count; None for an image to be."""
    if not entry.is_entered:
        return "did not enter {} sub-folder(s); --recursive does"
    name = os.path.basename(entry.path)  # noqa: PTH119 - a plain string, thousands of times
    if name.startswith(".") or name.lower() in SYSTEM_FILES:
        return "passed over {} hidden or system file(s)"
    if own:
        real = os.path.realpath(entry.path)
        if any(real == output or real.startswith(output + os.sep) for output in own):
            return "passed over {} output(s) of this very call"
    return None
