"""The decoding processes of one classifier: lent to one image at a time, more when they are worth it, replaced."""

import contextlib
import threading
import weakref
from collections.abc import Iterator
from time import monotonic
from typing import TYPE_CHECKING, Self

from cxr_edge.errors import EnvironmentUnusable, Reason
from cxr_edge.isolation.child import Child, ChildFailedError
from cxr_edge.isolation.limits import IsolationLimits
from cxr_edge.processors import available_threads

if TYPE_CHECKING:
    from cxr_edge.isolation.wire import Setup

START_ATTEMPTS = 5  # while none lives; a moment without memory or file descriptors passes
FIRST_PAUSE_SECONDS = 0.2  # before the second attempt, then twice as long each time: 3 s together
GROWTH_PAUSE_SECONDS = 5.0  # after another one could not be started beside those that live
WORTH_A_START_SECONDS = 0.25  # what one costs; images that waited so long together would have been served by another
STEP_SECONDS = 0.02


class _Loan:
    """Whoever has a process. Known to the pool weakly: one that an interrupt kept from giving back is forgotten."""

    __slots__ = ("__weakref__",)


class Pool:
    """Some processes. The first is started at once, without waiting for it: it imports while the model is loaded.

    Attributes:
        limits: what each may take.
        processes: how many there may be.
    """

    def __init__(self, limits: IsolationLimits) -> None:
        """Start the first.

        Raises:
            EnvironmentUnusable: there is no interpreter to start.
        """
        self.limits = limits
        self.processes = limits.processes or available_threads()
        # all there are, each from before it starts, and who has it; None: nobody. Read and added to under the lock
        self._children: dict[Child, weakref.ref[_Loan] | None] = {}
        weakref.finalize(self, _end_all, self._children)  # a forgotten pool leaves nothing behind
        self._lock = threading.Lock()
        self._freed = threading.Lock()  # wakes one who waits. No Condition: an interrupt can leave one locked
        self._waited_seconds = 0.0  # by all images together, since the last process was added
        self._failures = 0  # to start one while none lived, in a row
        self._start_after = self._grow_after = 0.0
        child = Child(limits.memory_bytes)
        self._children[child] = None
        with contextlib.suppress(ChildFailedError):  # tried again, and told, when it is needed
            child.start()

    def __enter__(self) -> Self:
        """Return the pool itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the pool."""
        self.close()

    @contextlib.contextmanager
    def lend(self, setup: "Setup", given_up: threading.Event | None = None) -> Iterator[Child]:
        """A process that knows its contract; waits while all are busy. `given_up`, when set, cuts a start short.

        Raises:
            EnvironmentUnusable: no process can be started.
        """
        loan = _Loan()
        try:
            yield self._ready(loan, setup, given_up)
        finally:
            self._give_back(loan)

    def close(self) -> None:
        """End all processes; who waits for a busy one gets `EnvironmentUnusable`. Another image starts them again."""
        _end_all(self._children)

    def _ready(self, loan: _Loan, setup: "Setup", given_up: threading.Event | None) -> Child:
        """A process that knows its contract. What ended between two images, or cannot be started, is no image's fault.

        Raises:
            EnvironmentUnusable: none lives, and none can be started.
        """
        while True:
            child = self._take(loan)
            try:
                child.get_ready(setup, given_up)
            except ChildFailedError as error:
                self._forget(child)
                if not self._may_go_on(error) or (given_up is not None and given_up.is_set()):
                    message = f"no decoding process can be started: {error}"
                    raise EnvironmentUnusable(message) from None
            else:
                self._failures = 0
                return child

    def _take(self, loan: _Loan) -> Child:
        """A free process; a new one where none lives, or where waiting costs more by now."""
        while True:
            self._forget_unfit()
            with self._lock:
                child = next((child for child in self._free() if child.is_fit()), None)
                if child is None and self._may_start():
                    child, self._waited_seconds = Child(self.limits.memory_bytes), 0.0
                if child is not None:
                    self._children[child] = weakref.ref(loan)
                    return child
            began = monotonic()
            self._freed.acquire(timeout=STEP_SECONDS)
            with self._lock:
                self._waited_seconds += monotonic() - began

    def _give_back(self, loan: _Loan) -> None:
        with self._lock:
            for child, borrower in list(self._children.items()):
                if borrower is not None and borrower() is loan:
                    self._children[child] = None
        with contextlib.suppress(RuntimeError):  # free already: nobody waits
            self._freed.release()
        self._forget_unfit()

    def _free(self) -> list[Child]:
        return [child for child, loan in list(self._children.items()) if loan is None or loan() is None]

    def _may_start(self) -> bool:
        if not self._children:
            return monotonic() >= self._start_after
        is_worth_it = self._waited_seconds >= WORTH_A_START_SECONDS and monotonic() >= self._grow_after
        return is_worth_it and len(self._children) < self.processes

    def _may_go_on(self, error: ChildFailedError) -> bool:
        """After a start that failed: with those that live, or else with another attempt, after a pause."""
        with self._lock:
            if self._children:
                self._grow_after = monotonic() + GROWTH_PAUSE_SECONDS
                return True
            # one that hung has cost a minute: two are enough
            self._failures += START_ATTEMPTS // 2 + 1 if error.reason is Reason.DECODE_TIMEOUT else 1
            if self._failures >= START_ATTEMPTS:
                return False
            self._start_after = monotonic() + FIRST_PAUSE_SECONDS * 2 ** (self._failures - 1)
            return True

    def _forget_unfit(self) -> None:
        with self._lock:  # found free, a process must not be lent before it is looked at: busy, it would look unfit
            unfit = [child for child in self._free() if not child.is_fit()]
            for child in unfit:
                self._children.pop(child, None)
        for child in unfit:
            child.end()

    def _forget(self, child: Child) -> None:
        child.end()
        self._children.pop(child, None)


def _end_all(children: dict[Child, weakref.ref[_Loan] | None]) -> None:
    for child in list(children):
        child.end(closed=True)
        children.pop(child, None)
