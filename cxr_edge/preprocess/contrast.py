"""Gray levels brought to those of the training images, whatever the exposure, window or tone curve of the device.

A rule like histogram matching, with few fixed points. All arithmetic is in whole numbers: every machine computes the
same levels.
"""

from itertools import groupby, pairwise
from operator import itemgetter
from typing import TYPE_CHECKING

import numpy as np

from cxr_edge.contract.schema import Contrast

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray


def apply_contrast(gray: "NDArray[np.uint8]", contrast: Contrast) -> "NDArray[np.uint8]":
    """The image through the curve that its own centre asks for.

    Args:
        gray: uint8 (rows, columns), resized, not empty.
        contrast: the contract's.

    Returns:
        uint8 (rows, columns).
    """
    return curve(measured(gray, contrast), contrast.levels)[gray]


def measured(gray: "NDArray[np.uint8]", contrast: Contrast) -> tuple[int, ...]:
    """The gray levels at `contrast.percentiles` of the central part, each one that occurs there, ascending."""
    rows, columns = gray.shape
    top, left = rows * contrast.margin // 100, columns * contrast.margin // 100
    central = gray[top : rows - top, left : columns - left].ravel()
    places = [(central.size - 1) * percent // 100 for percent in contrast.percentiles]
    return tuple(int(level) for level in np.partition(central, places)[places])


def curve(found: tuple[int, ...], wanted: tuple[int, ...]) -> "NDArray[np.uint8]":
    """A table of 256 levels, of straight pieces through (found, wanted); halves are rounded up.

    The first and the last piece go on beyond their ends, up to black and white. Equal found levels become the mean of
    their wanted levels, rounded down. Where only one level was found, all are shifted alike.
    """
    pairs = zip(found, wanted, strict=True)
    points = [(level, _mean(point[1] for point in same)) for level, same in groupby(pairs, itemgetter(0))]
    if len(points) == 1:
        points.append((points[0][0] + 1, points[0][1] + 1))
    levels = np.arange(256)
    table = np.zeros(256, np.int64)
    for (start, low), (stop, high) in pairwise(points):
        later = slice(start if start > points[0][0] else 0, None)
        width = stop - start
        table[later] = low + (2 * (levels[later] - start) * (high - low) + width) // (2 * width)
    return np.clip(table, 0, 255).astype(np.uint8)


def _mean(levels: "Iterable[int]") -> int:
    several = list(levels)
    return sum(several) // len(several)
