"""The first signal asks the service to stop, the second ends it at once."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

from cxr_edge.stopping import stopping_signals

INTERRUPTED = 130
_END = b"\0"  # no signal has number 0


@contextlib.contextmanager
def stop_on_signals(stop: threading.Event) -> Iterator[None]:
    """Set `stop` at the first of `stopping_signals`; at the second end the process with code 130.

    A thread does both, woken by a pipe that the interpreter's own handler writes to: `Event.set` in a Python handler
    could meet the lock it needs held by the code it interrupted, and no Python handler runs while the main thread waits
    on Windows, or is inside a library in C.

    Raises:
        ValueError: called outside the main thread.
    """
    asking = stopping_signals()
    reading, writing = os.pipe()
    listener = threading.Thread(target=_listen, args=(reading, asking, stop), name="cxr-edge-signals", daemon=True)
    try:
        if os.name == "posix":  # required there; Windows before Python 3.12 has no such call
            os.set_blocking(writing, False)
        before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        handlers = {number: signal.signal(number, _noted) for number in asking}
    except BaseException:
        os.close(reading)
        os.close(writing)
        raise
    listener.start()
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before)
        os.write(writing, _END)
        listener.join()
        os.close(reading)
        os.close(writing)


def _noted(_number: int, _frame: object) -> None:
    """A Python handler must exist, else the interpreter writes nothing to the pipe."""


def _listen(reading: int, asking: tuple[int, ...], stop: threading.Event) -> None:
    asked = False
    while (byte := os.read(reading, 1)) not in (_END, b""):
        if byte[0] not in asking:
            continue  # another signal with a Python handler
        if asked:
            os._exit(INTERRUPTED)
        asked = True
        stop.set()
