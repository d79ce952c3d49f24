"""Threads that classify and draw, so that the event loop never waits for either."""

import asyncio
import contextlib
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import TypeVar

from cxr_edge.classifier import Classifier
from cxr_edge.errors import EnvironmentUnusable
from cxr_edge.heap import give_back_now_and_then
from cxr_edge.processors import available_threads
from cxr_edge.serve.pictures import for_display
from cxr_edge.serve.problem import busy
from cxr_edge.types import Prediction, Rejection

Result = TypeVar("Result")
UNUSABLE_SECONDS = 30.0
MOST_TO_DRAW = 32  # of a third of a second each: nobody waits longer than for a page to load


class Workers:
    """One classifier for all requests.

    Attributes:
        threads: images at work at once; one more than decoding processes, so that one is inferred while others decode.
        waiting: images that wait for a thread.
        at_work: images that have one.
    """

    def __init__(self, classifier: Classifier, threads: int | None = None) -> None:
        """Start no thread yet."""
        self._classifier = classifier
        self.threads = threads or available_threads() + 1
        self._classifying = ThreadPoolExecutor(self.threads, thread_name_prefix="cxr-edge-classify")
        self._drawing = ThreadPoolExecutor(1, thread_name_prefix="cxr-edge-draw")
        self.waiting = self.at_work = 0  # changed by the event loop alone
        self._unusable, self._unusable_since = "", -math.inf
        self._begun = self._to_draw = 0

    async def classify(self, content: bytes, *, keep_radiograph: bool) -> Prediction | Rejection:
        """One image. Cancelled while it waits, it is never begun; cancelled later, its result is dropped.

        Raises:
            EnvironmentUnusable: this installation cannot decode.
        """
        loop = asyncio.get_running_loop()

        def work() -> Prediction | Rejection:
            _tell(loop, self._started)
            try:
                return self._classify(content, keep_radiograph=keep_radiograph)
            finally:
                _tell(loop, self._ended)

        self.waiting += 1
        future = self._classifying.submit(work)
        try:
            result = await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            if future.cancel():  # it had not begun
                self.waiting -= 1
            raise
        except EnvironmentUnusable as error:
            self._unusable, self._unusable_since = str(error), monotonic()
            raise
        self._unusable_since = -math.inf
        return result

    def unusable(self) -> str | None:
        """Why the last image could not be classified, for a while: a proxy sends no other before it hears of better."""
        return self._unusable if monotonic() - self._unusable_since < UNUSABLE_SECONDS else None

    async def draw(self, picture: Callable[[], Result]) -> Result:
        """What takes long to draw or to set, one at a time. Cancelled while it waits, it is never begun.

        Raises:
            ProblemError: 503, too many wait.
        """
        if self._to_draw >= MOST_TO_DRAW:
            message = f"{self._to_draw} pictures and reports are waiting to be drawn already; please try again"
            raise busy(message)
        self._to_draw += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._drawing, picture)
        finally:
            self._to_draw -= 1

    def close(self) -> None:
        """Begin nothing more; what is at work ends with the classifier."""
        for executor in (self._classifying, self._drawing):
            executor.shutdown(wait=False, cancel_futures=True)

    def _started(self) -> None:
        self.waiting -= 1
        self.at_work += 1

    def _ended(self) -> None:
        self.at_work -= 1

    def _classify(self, content: bytes, *, keep_radiograph: bool) -> Prediction | Rejection:
        self._begun += 1
        give_back_now_and_then(self._begun)
        # of several, even if there is one: a rejection then comes whole, with gate, hash and latency
        (result,) = self._classifier.classify_many([content], keep_radiograph=keep_radiograph)
        return for_display(result) if isinstance(result, Prediction) else result


def _tell(loop: asyncio.AbstractEventLoop, what: Callable[[], None]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has ended; nobody counts any more
        loop.call_soon_threadsafe(what)
