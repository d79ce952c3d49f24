"""TensorFlow imported without the lines that its libraries write before they read any setting."""

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from typing import Final

BANNER: Final = re.compile(
    rb"WARNING: All log messages before absl::InitializeLog\(\) is called are written to STDERR"
    rb"|I\d{4} .*\] oneDNN custom operations are on\."
)


@contextlib.contextmanager
def without_banner(module: str) -> Iterator[None]:
    """Hold back what is written to file descriptor 2 in a first import, then let all but TensorFlow's banner through.

    Its C++ libraries write there themselves, whatever `TF_CPP_MIN_LOG_LEVEL` says. Where there is no such
    descriptor, or no room for a temporary file, nothing is held back.

    Args:
        module: what is imported meanwhile; nothing is held back where it is there already.
    """
    if module in sys.modules:
        yield
        return
    with contextlib.ExitStack() as stack:
        try:
            held = stack.enter_context(tempfile.TemporaryFile())
            before = os.dup(2)
        except OSError:
            yield
            return
        stack.callback(os.close, before)
        _flush()
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            _flush()
            os.dup2(before, 2)
            held.seek(0)
            said = b"".join(line for line in held if not BANNER.match(line))
            with contextlib.suppress(OSError):  # nobody reads it
                os.write(2, said)


def _flush() -> None:
    if sys.stderr is not None:  # pythonw has none
        sys.stderr.flush()
