"""A progress bar for whoever watches a terminal."""

import sys
from collections.abc import Iterable
from typing import TypeVar

from cxr_edge.cli.console import is_terminal

T = TypeVar("T")


def with_progress(items: Iterable[T], what: str, total: int) -> Iterable[T]:
    """The same items; while they are gone through, a bar on standard error if that is a terminal."""
    if not is_terminal(sys.stderr):
        return items
    from rich.console import Console
    from rich.progress import track

    return track(items, what, total=total, console=Console(stderr=True), transient=True)
