"""What a long measurement leaves: each file is tried, whatever became of the others."""

from collections.abc import Callable, Iterable
from pathlib import Path

from cxr_edge.cli.console import say
from cxr_edge.errors import OutputError
from cxr_edge.files import write_atomically


def write_each(files: Iterable[tuple[Path | None, Callable[[], bytes]]], *, overwrite: bool) -> bool:
    """Write the files; says what could not be written, a line each.

    Args:
        files: targets, None for one that is not wanted, and what makes their content.
        overwrite: whether existing files are replaced.

    Returns:
        Whether all that were wanted are written.
    """
    complete = True
    for target, content in files:
        if target is None:
            continue
        try:
            write_atomically(target, content(), overwrite=overwrite)
        except OutputError as error:
            say(str(error))
            complete = False
    return complete
