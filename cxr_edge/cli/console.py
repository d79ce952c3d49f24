"""Standard output and standard error, whatever the terminal's encoding and however hostile the text."""

import contextlib
import errno
import os
import sys
from typing import TextIO

import typer

from cxr_edge.errors import OutputError

STANDARD_ERROR = 2
READER_GONE = 141  # 128 + SIGPIPE, as a shell reports it


def printable(text: str) -> str:
    r"""The text without anything that a terminal would act on: control characters become \x1b and the like."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def out(text: str) -> None:
    """Write to standard output at once, so that a reader of the pipe sees each row when it is made.

    Raises:
        typer.Exit: the reader went away.
        OutputError: standard output cannot be written.
    """
    stream = sys.stdout
    if stream is None:
        message = "standard output is closed"
        raise OutputError(message)
    encoding = stream.encoding or "utf-8"
    try:
        # a Windows console may know few letters
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()
    except OSError as error:
        _forget_output()
        if error.errno in (errno.EPIPE, errno.EINVAL):  # Windows says EINVAL of a closed pipe
            raise typer.Exit(READER_GONE) from None
        message = f"cannot write to standard output: {error.strerror or error}"
        raise OutputError(message) from error


def say(text: str, program: str = "cxr-edge") -> None:
    """Write one line to standard error."""
    if sys.stderr is None:  # a service without one
        return
    encoding = sys.stderr.encoding or "utf-8"
    line = f"{program}: {printable(text)}\n"
    with contextlib.suppress(OSError, ValueError):  # nobody left to tell
        sys.stderr.write(line.encode(encoding, "backslashreplace").decode(encoding))
        sys.stderr.flush()


def is_terminal(stream: TextIO | None) -> bool:
    """Whether people read this stream; a closed one is None."""
    return stream is not None and stream.isatty()


def occupy_closed_descriptors() -> None:
    """Open what is closed of descriptors 0 to 2: else an output file takes that number, and C libraries print there."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= STANDARD_ERROR:
        pass
    os.close(descriptor)


def _forget_output() -> None:
    """Keep the interpreter from complaining, at its end, about what is still in its buffer."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
