"""The one state that the service is in, of what its parts say of it."""

import threading

from cxr_edge.watch.events import Observer, State, StateChanged


class Condition:
    """A fault outweighs what the main loop is doing, the oldest one all others; each change is reported once."""

    def __init__(self, observer: Observer) -> None:
        """Begin in no state; nothing is reported."""
        self._observer = observer
        self._lock = threading.Lock()
        self._work: tuple[State, str | None] = ("starting", None)
        self._faults: dict[str, tuple[State, str | None]] = {}
        self._reported: tuple[State, str | None] | None = None

    def set(self, state: State, reason: str | None = None) -> None:
        """What the main loop is doing."""
        with self._lock:
            self._work = (state, reason)
            self._report()

    def fail(self, source: str, state: State, reason: str) -> None:
        """Something that this part of the service has to wait for."""
        with self._lock:
            self._faults[source] = (state, reason)
            self._report()

    def recover(self, source: str) -> None:
        """That part works again; what others wait for is no matter of it."""
        with self._lock:
            self._faults.pop(source, None)
            self._report()

    def end(self, reason: str) -> None:
        """The service has stopped, and waits for nothing any more."""
        with self._lock:
            self._faults.clear()
            self._work = ("stopped", reason)
            self._report()

    def _report(self) -> None:
        now = next(iter(self._faults.values()), self._work)
        if now != self._reported:
            self._reported = now
            self._observer.observe(StateChanged(*now))
