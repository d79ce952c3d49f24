"""Standard output and standard error, whatever the terminal's encoding and however hostile the text."""

import contextlib
import os
import sys


def printable(text: str) -> str:
    r"""The text without anything that a terminal would act on: control characters become \x1b and the like."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def out(text: str) -> None:
    """Write to standard output at once, so that a reader of the pipe sees each row when it is made."""
    stream = sys.stdout
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding))  # a Windows console may know few letters
    stream.flush()


def say(text: str) -> None:
    """Write one line to standard error."""
    encoding = sys.stderr.encoding or "utf-8"
    line = f"cxr-edge: {printable(text)}\n"
    with contextlib.suppress(OSError, ValueError):  # nobody left to tell
        sys.stderr.write(line.encode(encoding, "backslashreplace").decode(encoding))
        sys.stderr.flush()


def leave_quietly_after_broken_pipe() -> None:
    """Keep the interpreter from complaining, at its end, that the reader of our output went away."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
