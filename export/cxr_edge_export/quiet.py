"""TensorFlow imported without the lines that its libraries write before they read any setting."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Final

BANNER: Final = (
    r"WARNING: All log messages before absl::InitializeLog\(\) is called are written to STDERR"
    r"|I\d{4} .*\] oneDNN custom operations are on\."
)
# a process of its own: where a library ends this one, its last words have gone through
_FILTER: Final = """
import re, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
banner = re.compile(sys.argv[1].encode())
for line in sys.stdin.buffer:
    if not banner.match(line):
        sys.stderr.buffer.write(line)
        sys.stderr.buffer.flush()
"""
PATIENCE_S: Final = 5.0  # for its end, should anything else hold the pipe


@contextlib.contextmanager
def without_banner(module: str) -> Iterator[None]:
    """Let what is written to file descriptor 2 in a first import through, but for TensorFlow's banner.

    Its C++ libraries write there themselves, whatever `TF_CPP_MIN_LOG_LEVEL` says. Where there is no such
    descriptor, or no process can be started, the banner is seen.

    Args:
        module: what is imported meanwhile; nothing is filtered where it is there already.
    """
    if module in sys.modules or (filtering := _start()) is None:
        yield
        return
    process, pipe = filtering
    before = os.dup(2)
    _flush()
    os.dup2(pipe, 2)
    os.close(pipe)
    try:
        yield
    finally:
        _flush()
        os.dup2(before, 2)
        os.close(before)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE_S)


def _start() -> "tuple[subprocess.Popen[bytes], int] | None":
    """The filter, and the end of the pipe to write to; None where there is nothing to filter, or no way."""
    try:
        os.fstat(2)
        reading, writing = os.pipe()
    except OSError:
        return None
    command = (sys.executable, "-I", "-S", "-c", _FILTER, BANNER)
    try:
        return subprocess.Popen(command, stdin=reading, stdout=subprocess.DEVNULL), writing  # noqa: S603 - our own
    except OSError:
        os.close(writing)
        return None
    finally:
        os.close(reading)


def _flush() -> None:
    if sys.stderr is not None:  # pythonw has none
        sys.stderr.flush()
