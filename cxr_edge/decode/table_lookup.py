"""One table entry for each pixel of an image: by numpy, or, once that would have paid for its import, by OpenCV."""

import sys
import threading
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from cxr_edge.shared_work import WORTH_SHARING, in_pieces

if TYPE_CHECKING:
    from numpy.typing import NDArray

PIECE: Final = 1 << 16  # pixels; numpy turns the indices of a piece into 64 bits first, which stay in the cache
SHARE: Final = 1 << 17  # pixels that one thread takes at a time; OpenCV starts threads of its own from 2^18 on
# two threads took 2.9 ms by numpy and 1.2 by OpenCV for 5 million pixels: so many make up for 0.09 s of import
PIXELS_WORTH_AN_IMPORT: Final = 270_000_000
ENTRIES: Final = 1 << 16  # of a table that OpenCV takes for 16-bit patterns

_seen = 0  # pixels
_lock = threading.Lock()


def look_up(table: "NDArray[np.uint8]", patterns: "NDArray[Any]") -> "NDArray[np.uint8]":
    """The table's entry for each pattern.

    Args:
        table: uint8, an entry for every bit pattern: (256,) or (65536,).
        patterns: uint8 or uint16, of any shape.

    Returns:
        uint8, C-contiguous, of the same shape.
    """
    flat = patterns.reshape(-1)
    pixels = np.empty(flat.size, np.uint8)
    opencv = _opencv(flat.size) if table.size == ENTRIES and flat.dtype == np.uint16 else None  # in native order

    def some(first: int, end: int) -> None:
        if opencv is not None:
            opencv.LUT(flat[first:end], table, dst=pixels[first:end])
            return
        for start in range(first, end, PIECE):
            stop = min(start + PIECE, end)
            # every pattern is inside: "clip" only spares the check's copy
            np.take(table, flat[start:stop], out=pixels[start:stop], mode="clip")

    in_pieces(flat.size, SHARE if flat.size >= WORTH_SHARING else flat.size or 1, some)
    return pixels.reshape(patterns.shape)


def _opencv(pixels: int) -> Any:  # noqa: ANN401 - the module
    """OpenCV, where this process has it, or has had so many pixels that its import would have paid; else None."""
    global _seen  # noqa: PLW0603 - of the process, as imports are
    with _lock:
        _seen += pixels
        if _seen < PIXELS_WORTH_AN_IMPORT and "cv2" not in sys.modules:
            return None
    import cv2

    return cv2
