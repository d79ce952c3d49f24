"""Pillow's resize in a stated pass order, whatever version of Pillow is installed.

Pillow resamples one axis after the other and rounds to 8 bits between. Which axis comes first changed with version 13
(python-pillow/Pillow#9549), which shifts results by a level. Asked for one axis at a time, it has nothing to choose.
"""

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from cxr_edge.contract.schema import PassOrder
from cxr_edge.preprocess import fixed_point
from cxr_edge.preprocess.aspect import Box
from cxr_edge.shared_work import WORTH_SHARING, in_pieces

if TYPE_CHECKING:
    from numpy.typing import NDArray

RESAMPLING = {  # PIL.Image.Resampling, whose numbers are part of Pillow's interface
    "pillow-nearest": 0,
    "pillow-bilinear": 2,
    "pillow-bicubic": 3,
    "pillow-lanczos": 1,
}
ROWS_SHARED = 128  # of a large image, that one thread takes at a time
HORIZONTAL, VERTICAL = 1, 0  # axes of (rows, columns)


def resample(
    pixels: "NDArray[np.uint8]", kernel: str, pass_order: PassOrder, box: Box, size: tuple[int, int]
) -> "NDArray[np.uint8]":
    """Resizes as `PIL.Image.resize(size, kernel, box)` does in the given pass order, byte for byte.

    Args:
        pixels: uint8 (rows, columns).
        kernel: a key of `RESAMPLING`.
        pass_order: which axis comes first.
        box: the part of `pixels` that fills the result.
        size: (height, width) of the result.

    Returns:
        uint8 (height, width); `pixels` itself where there is nothing to do.
    """
    one_axis = _by_pillow if pillow_arithmetic_matches() else fixed_point.resample_axis
    spans = {HORIZONTAL: (box.left, box.right), VERTICAL: (box.top, box.bottom)}
    resampled = pixels
    for axis in _passes(pass_order, pixels.shape, size):
        if spans[axis] != (0, size[axis]) or pixels.shape[axis] != size[axis]:
            resampled = one_axis(resampled, kernel, axis, spans[axis], size[axis])
    return resampled


@cache
def pillow_arithmetic_matches() -> bool:
    """Whether the installed Pillow computes exactly what `fixed_point` does, tried once a process on a small image.

    True: Pillow resizes. False: `fixed_point` does, as exactly but more slowly.
    """
    image = np.random.Generator(np.random.PCG64(0)).integers(0, 256, (41, 37), dtype=np.uint8)
    return all(
        np.array_equal(_by_pillow(image, *one_pass), fixed_point.resample_axis(image, *one_pass))
        for kernel in RESAMPLING
        for one_pass in ((kernel, VERTICAL, (0, 41), 17), (kernel, HORIZONTAL, (3, 34), 53))
    )


def _passes(pass_order: PassOrder, shape: tuple[int, ...], size: tuple[int, int]) -> tuple[int, int]:
    """The axes in their order. Pillow 13 goes by the whole image, whatever the box (found by experiment)."""
    removed_rows, removed_columns = shape[0] - size[0], shape[1] - size[1]
    match pass_order:
        case "horizontal-first":
            return HORIZONTAL, VERTICAL
        case "vertical-first":
            return VERTICAL, HORIZONTAL
        case "pillow-13" if removed_rows > 0 and removed_rows > 2 * removed_columns:
            return VERTICAL, HORIZONTAL
        case "pillow-13":
            return HORIZONTAL, VERTICAL


def _by_pillow(
    pixels: "NDArray[np.uint8]", kernel: str, axis: int, span: tuple[int, int], outputs: int
) -> "NDArray[np.uint8]":
    """`fixed_point.resample_axis`, computed by Pillow."""
    from PIL import Image

    pixels, resampling = np.ascontiguousarray(pixels), Image.Resampling(RESAMPLING[kernel])
    rows, columns = pixels.shape
    if axis == VERTICAL:
        image = Image.fromarray(pixels)
        return np.asarray(image.resize((columns, outputs), resampling, (0, span[0], columns, span[1])))
    resampled = np.empty((rows, outputs), np.uint8)

    def some_rows(start: int, stop: int) -> None:  # each row by itself: however many at a time
        image = Image.fromarray(pixels[start:stop])
        size, box = (outputs, stop - start), (span[0], 0, span[1], stop - start)
        resampled[start:stop] = np.asarray(image.resize(size, resampling, box))

    in_pieces(rows, ROWS_SHARED if pixels.size >= WORTH_SHARING else rows, some_rows)
    return resampled
