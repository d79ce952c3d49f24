"""Images prepared in threads while the network runs on earlier ones: in order, with bounded memory."""

import itertools
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from cxr_edge.errors import EnvironmentUnusable
from cxr_edge.heap import give_back_now_and_then
from cxr_edge.prepare import Image, Prepared, Preparer
from cxr_edge.types import Rejection

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future, ThreadPoolExecutor

    Prepare = Callable[[Image], Prepared | Rejection]

AHEAD_PER_WORKER = 2  # decoded images waiting for inference: bounds memory, whatever the batch


def read_ahead(
    images: Iterable[Image], preparer: Preparer, workers: int, *, keep_radiograph: bool, closed: threading.Event
) -> Generator[Prepared | Rejection, None, None]:
    """Prepare images in order, several at once, a few ahead of whoever takes the results.

    Args:
        images: read lazily.
        preparer: prepares one.
        workers: threads.
        keep_radiograph: keep the decoded images, too.
        closed: set where whoever closes the generator before its end waits for its threads, too.

    Raises:
        EnvironmentUnusable: this installation cannot decode, or no thread can be started.
        Exception: what `images` itself raised, after the results of those it gave before.
    """
    failures: list[Exception] = []
    waiting_images = _until_failure(images, failures)
    given_up = threading.Event()
    prepare = partial(preparer.prepare_safely, keep_radiograph=keep_radiograph, given_up=given_up)
    head = list(itertools.islice(waiting_images, 2))
    if len(head) < 2:  # noqa: PLR2004 - a single image needs no pool, nor the time to import one
        for image in head:
            yield prepare(image)
    else:
        yield from _in_threads(itertools.chain(head, waiting_images), prepare, workers, given_up, closed)
    if failures:
        raise failures[0]


def _in_threads(
    images: Iterable[Image], prepare: "Prepare", workers: int, given_up: threading.Event, closed: threading.Event
) -> Iterator[Prepared | Rejection]:
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(workers, thread_name_prefix="cxr-edge-decode")
    waiting: deque[Future[Prepared | Rejection]] = deque()
    waits = True
    try:
        for images_begun, image in enumerate(images):
            give_back_now_and_then(images_begun)
            waiting.append(_submitted(pool, prepare, image))
            if len(waiting) > workers * AHEAD_PER_WORKER:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except GeneratorExit:
        waits = closed.is_set()  # the garbage collector may come where no thread can end
        raise
    finally:
        given_up.set()  # a decoder that hangs must not hold up an interrupt
        pool.shutdown(wait=waits, cancel_futures=True)


def _until_failure(images: Iterable[Image], failures: list[Exception]) -> Iterator[Image]:
    """The images; where the iterable itself raises, its end, so that those already read get their results first."""
    try:
        yield from images
    except Exception as error:  # noqa: BLE001 - raised again once the results are out
        failures.append(error)


def _submitted(pool: "ThreadPoolExecutor", prepare: "Prepare", image: Image) -> "Future[Prepared | Rejection]":
    try:
        return pool.submit(prepare, image)
    except RuntimeError as error:  # a limit on memory or processes
        message = f"no decoding thread can be started: {error}"
        raise EnvironmentUnusable(message) from error
