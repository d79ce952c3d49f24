"""The one state that the service is in, of what the threads say of it."""

import threading

from cxr_edge.watch.events import Observer, State, StateChanged


class Condition:
    """A fault of the disk outweighs what the main loop is doing; each change is reported once."""

    def __init__(self, observer: Observer) -> None:
        """Begin in no state; nothing is reported."""
        self._observer = observer
        self._lock = threading.Lock()
        self._work: tuple[State, str | None] = ("starting", None)
        self._fault: tuple[State, str | None] | None = None
        self._reported: tuple[State, str | None] | None = None

    def set(self, state: State, reason: str | None = None) -> None:
        """What the main loop is doing."""
        with self._lock:
            self._work = (state, reason)
            self._report()

    def fail(self, state: State, reason: str) -> None:
        """Something that all has to wait for."""
        with self._lock:
            self._fault = (state, reason)
            self._report()

    def recover(self) -> None:
        """It works again."""
        with self._lock:
            self._fault = None
            self._report()

    def _report(self) -> None:
        now = self._fault or self._work
        if now != self._reported:
            self._reported = now
            self._observer.observe(StateChanged(*now))
