"""When `cxr-edge watch --once` is done."""

import time
from collections.abc import Callable, Mapping

from cxr_edge.watch.backlog import Backlog


class Once:
    """Ends when nothing is left to be done now, and in any case when nothing has been decided for long.

    A file that changes whenever it is looked at would never be at rest.
    """

    def __init__(self, patience_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Wait so long, in seconds, for one more file to be decided."""
        self._patience_s, self._clock = patience_s, clock
        self._states: Mapping[str, int] = {}
        self._since = clock()

    def is_over(self, backlog: Backlog, states: Mapping[str, int], *, done: bool) -> bool:
        """Whether to end.

        Args:
            backlog: of the last scan.
            states: how many files of the ledger are in each.
            done: whether all work of this backlog could be taken.
        """
        decided = {state: count for state, count in states.items() if state not in ("seen", "claimed")}
        if decided != self._states:
            self._states, self._since = decided, self._clock()
        waits = backlog.fresh or backlog.soon or backlog.is_partial or backlog.has_work
        return (done and not waits) or self._clock() - self._since > self._patience_s
