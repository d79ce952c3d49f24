"""What `Classifier.classify_many` gives: an iterator that waits for its threads when closed, but not when forgotten."""

import threading
from collections.abc import Callable, Generator
from types import TracebackType

from cxr_edge.types import Prediction, Rejection

Results = Generator[Prediction | Rejection, None, None]


class ResultsOfMany(Results):
    """Hands on what a generator gives, and knows who ended it.

    The garbage collector may come inside a thread's own start or end, where no other thread can end: a generator that
    waited for its threads there would wait for ever. `Generator.close`, which it calls, is the same for both.
    """

    def __init__(self, begin: Callable[[threading.Event], Results]) -> None:
        """Begin nothing yet; `begin` is given an event that is set once the owner has asked for the end."""
        self._closed = threading.Event()
        self._results = begin(self._closed)

    def send(self, value: None) -> Prediction | Rejection:
        """The next result."""
        return self._results.send(value)

    def throw(  # type: ignore[override] # of the three signatures only the one that is not deprecated
        self, error: BaseException, value: object = None, traceback: TracebackType | None = None, /
    ) -> Prediction | Rejection:
        """Raise it where the generator waits."""
        del value, traceback
        return self._results.throw(error)

    def close(self) -> None:
        """End the threads, and wait for that."""
        self._closed.set()
        self._results.close()
