"""The command line: parse, call, print, exit code. The only part of the package that prints or exits."""

import contextlib
import os
import signal
from typing import NoReturn

from cxr_edge.stopping import stopping_signals

__all__ = ["main"]

INTERRUPTED = 130


def main() -> NoReturn:
    """Run the command line and exit with the documented code, even when interrupted while it is still being read."""
    with contextlib.suppress(ValueError):  # in another thread no handler can be set
        for number in stopping_signals():
            if number != signal.SIGINT:  # a KeyboardInterrupt already
                signal.signal(number, lambda *_: os._exit(INTERRUPTED))
    try:
        from cxr_edge.cli.app import main as run
    except KeyboardInterrupt:
        os._exit(INTERRUPTED)
    run()
