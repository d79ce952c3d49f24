"""Work on a large image, shared with threads that lend a hand; for calls that leave the interpreter free."""

import contextlib
import threading
from collections.abc import Callable

from cxr_edge.processors import available_threads

WORTH_SHARING = 1 << 21  # pixels; a smaller image is done before a thread has started and found a processor


def in_pieces(total: int, piece: int, work: Callable[[int, int], None]) -> None:
    """Call `work(start, stop)` for consecutive ranges of 0..total, each once, in this thread and some others.

    Whoever is free takes the next range, so that a thread whose processor is busy elsewhere holds up nobody.

    Args:
        total: of whatever is counted: rows, pixels.
        piece: most of it in one call.
        work: safe to be called by several threads for ranges that do not overlap.

    Raises:
        Exception: what `work` raised first; the other threads have ended by then.
    """
    starts = iter(range(0, total, piece))
    lock = threading.Lock()
    failures: list[BaseException] = []

    def take_part() -> None:
        while not failures:
            with lock:
                start = next(starts, None)
            if start is None:
                return
            try:
                work(start, min(start + piece, total))
            except BaseException as error:  # noqa: BLE001 - raised again by whoever asked for the work
                failures.append(error)

    hands = min(available_threads(), -(-total // piece)) - 1
    threads = [threading.Thread(target=take_part, name="cxr-edge-hand") for _ in range(hands)]
    with contextlib.suppress(RuntimeError, MemoryError):  # a limit on threads: with those there are
        for thread in threads:
            thread.start()
    take_part()
    for thread in threads:
        if thread.ident is not None:
            thread.join()
    if failures:
        raise failures[0]
