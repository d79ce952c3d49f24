"""Gray levels brought to those of the training images, whatever the exposure, window or tone curve of the device.

A rule like histogram matching, with few fixed points. All arithmetic is in whole numbers: every machine computes the
same levels.
"""

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from cxr_edge.contract.schema import Contrast

if TYPE_CHECKING:
    from numpy.typing import NDArray


STEEPEST = 4  # levels for one level


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

    Where a piece would be steeper than `STEEPEST`, its upper end is taken to be brighter than it was found, and what
    lies above it likewise, as far as this needs: a nearly flat image, of a blank film say, does not become a textured
    one. The first and the last piece go on beyond their ends, to black and white. With one level alone, the slope is 1.
    """
    points = [(found[0], wanted[0])]
    for level, target in zip(found[1:], wanted[1:], strict=True):
        least = -((points[-1][1] - target) // STEEPEST)
        points.append((max(level, points[-1][0] + least), target))
    if len(points) == 1:
        points.append((found[0] + 1, wanted[0] + 1))
    levels = np.arange(256)
    table = np.zeros(256, np.int64)
    for (start, low), (stop, high) in pairwise(points):
        later = levels >= start if start > found[0] else levels >= 0
        width = stop - start
        table[later] = low + (2 * (levels[later] - start) * (high - low) + width) // (2 * width)
    return np.clip(table, 0, 255).astype(np.uint8)
