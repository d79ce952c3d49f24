"""The decoding processes of one classifier: lent to one image at a time, more when they are worth it, replaced."""

import contextlib
import queue
import threading
import weakref
from collections.abc import Iterator
from time import perf_counter
from typing import TYPE_CHECKING, Self

from cxr_edge.errors import EnvironmentUnusable
from cxr_edge.isolation.child import Child, ChildFailedError
from cxr_edge.isolation.limits import IsolationLimits
from cxr_edge.processors import available_threads

if TYPE_CHECKING:
    from cxr_edge.isolation.wire import Setup

START_ATTEMPTS = 2  # the first may have met a moment without memory
WORTH_A_START_SECONDS = 0.25  # what one costs; images that waited so long together would have been served by another


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
        self._children: set[Child] = set()
        self._idle: queue.LifoQueue[Child | None] = queue.LifoQueue()  # None: one that has to be started
        weakref.finalize(self, _end_all, self._children)  # a forgotten pool leaves nothing behind
        self._lock = threading.Lock()
        self._in_reserve = self.processes - 1
        self._waited_seconds = 0.0  # by all images together, since the last process was added
        try:
            self._idle.put(self._start())
        except ChildFailedError:  # tried again, and told, when it is needed
            self._idle.put(None)

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
        child = self._next()
        try:
            child = self._ready(child, setup, given_up)
            yield child
        finally:
            if child is not None and not child.is_alive():
                self._forget(child)
                child = None
            self._idle.put(child)

    def close(self) -> None:
        """End all processes, the busy ones as well. They are started again if another image comes."""
        _end_all(self._children)

    def _next(self) -> Child | None:
        """An idle process; None for one to be started, because one is missing or waiting costs more by now."""
        with self._lock:
            patience = max(0.0, WORTH_A_START_SECONDS - self._waited_seconds) if self._in_reserve else None
        began = perf_counter()
        with contextlib.suppress(queue.Empty):
            child = self._idle.get(timeout=patience)
            with self._lock:
                self._waited_seconds += perf_counter() - began
            return child
        with self._lock:
            if self._in_reserve:
                self._in_reserve -= 1
                self._waited_seconds = 0.0
                return None
        return self._idle.get()

    def _ready(self, child: Child | None, setup: "Setup", given_up: threading.Event | None) -> Child:
        """`child` if it is fit, else a new one: what ended between two images is no image's fault.

        Raises:
            EnvironmentUnusable: none can be started.
        """
        why = ""
        for _ in range(START_ATTEMPTS):
            try:
                if child is None or not child.is_alive():
                    self._forget(child)
                    child = self._start()
                child.get_ready(setup, given_up)
            except ChildFailedError as error:  # it is ended; the next round forgets it
                why = str(error)
                if given_up is not None and given_up.is_set():
                    break
            else:
                return child
        message = f"no decoding process can be started: {why}"
        raise EnvironmentUnusable(message)

    def _start(self) -> Child:
        child = Child(self.limits.memory_bytes)
        self._children.add(child)
        return child

    def _forget(self, child: Child | None) -> None:
        if child is not None:
            child.end()
            self._children.discard(child)


def _end_all(children: set[Child]) -> None:
    for child in list(children):
        child.end()
    children.clear()
