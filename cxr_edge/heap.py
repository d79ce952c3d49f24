"""Memory that was freed goes back to the system now and then: glibc keeps it, in ever more pieces."""

import contextlib
import functools
import sys
from collections.abc import Callable

IMAGES_BETWEEN = 64  # rare enough to cost nothing, often enough that images of many sizes leave no trace


def give_back_now_and_then(images_done: int) -> None:
    """After every some images, hand what is free back to the system; elsewhere than on glibc, do nothing.

    Args:
        images_done: how many images this process has finished, this one included.
    """
    if images_done % IMAGES_BETWEEN == 0:
        _trimmer()(0)


@functools.cache
def _trimmer() -> Callable[[int], object]:
    """`malloc_trim` of glibc; musl, macOS and Windows have no such function and do not need it."""
    if sys.platform == "linux":
        with contextlib.suppress(ImportError, OSError, AttributeError):
            import ctypes

            trim: Callable[[int], object] = ctypes.CDLL(None).malloc_trim
            return trim
    return lambda _pad: None
