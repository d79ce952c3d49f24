"""Edges of one gray level, cut off before the resize: bars and borders are made by viewers and exports, not anatomy.

Which lines go is counted in whole gray levels and whole pixels, so that every machine cuts the same ones.
"""

from typing import TYPE_CHECKING

import numpy as np

from cxr_edge.contract.schema import Resize
from cxr_edge.preprocess.aspect import Box
from cxr_edge.types import Part

if TYPE_CHECKING:
    from numpy.typing import NDArray

OUTSIDE_PERCENT = 2  # of a line's pixels that may be darker, and as many that may be brighter: specks, a thin letter
MOST_PERCENT = 30  # of the height or width, on one side; where more is flat, nothing tells an edge from an empty image


def part_seen(pixels: "NDArray[np.uint8]", resize: Resize) -> Box:
    """The part of an image that is resized: all of it, or what `resize.trim` leaves.

    Rows first, then the columns of the rows that stay. A line goes, from the edge inwards up to the first that stays,
    if without its 2 % darkest and 2 % brightest pixels it spans at most `resize.trim` gray levels. A side of which more
    than 30 % would go stays whole.

    Args:
        pixels: uint8 (rows, columns), not empty.
        resize: the contract's.
    """
    rows, columns = pixels.shape
    if resize.trim is None:
        return Box(0, 0, rows, columns)
    top, bottom = _flat_lines(pixels, resize.trim), rows - _flat_lines(pixels[::-1], resize.trim)
    kept = pixels[top:bottom].T
    return Box(top, _flat_lines(kept, resize.trim), bottom, columns - _flat_lines(kept[::-1], resize.trim))


def in_shares(box: Box, shape: tuple[int, ...]) -> Part:
    """A box of an image (rows, columns), in shares of its height and width."""
    rows, columns = shape
    return Part(box.top / rows, box.left / columns, box.bottom / rows, box.right / columns)


def _flat_lines(lines: "NDArray[np.uint8]", levels: int) -> int:
    """How many lines in a row are flat, from the first; 0 where those are too many to be an edge."""
    most = len(lines) * MOST_PERCENT // 100
    return next((count for count in range(most + 1) if not _is_flat(lines[count], levels)), 0)


def _is_flat(line: "NDArray[np.uint8]", levels: int) -> bool:
    if int(line.max()) - int(line.min()) <= levels:  # most lines of a bar, at a tenth of the time
        return True
    low = line.size * OUTSIDE_PERCENT // 100
    high = line.size - 1 - low
    ordered = np.partition(line, (low, high))
    return int(ordered[high]) - int(ordered[low]) <= levels
