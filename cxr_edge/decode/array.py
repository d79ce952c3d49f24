"""A numpy array, handed over by a script, as a Radiograph."""

from typing import TYPE_CHECKING

import numpy as np

from cxr_edge.decode.colour import luma
from cxr_edge.errors import InputError, Reason
from cxr_edge.types import Note, Radiograph

if TYPE_CHECKING:
    from numpy.typing import NDArray

GRAY, COLOUR = 2, 3


def decode_array(pixels: "NDArray[np.generic]", max_pixels: int) -> Radiograph:
    """Take uint8 pixels as they are.

    Args:
        pixels: uint8, (rows, columns) gray with 0 black .. 255 white, or (rows, columns, 3) RGB.
        max_pixels: more rows x columns than this are refused.

    Raises:
        InputError: another dtype or shape; no rendering is guessed.
    """
    is_colour = pixels.ndim == COLOUR and pixels.shape[2] == COLOUR
    if pixels.dtype != np.uint8 or not (pixels.ndim == GRAY or is_colour) or 0 in pixels.shape:
        message = f"the array is {pixels.dtype} {pixels.shape}; need uint8 (rows, columns) or (rows, columns, 3) RGB"
        raise InputError(Reason.UNSUPPORTED, message)
    if pixels.shape[0] * pixels.shape[1] > max_pixels:
        message = f"the array is {pixels.shape[0]} x {pixels.shape[1]}; at most {max_pixels:,} pixels are read"
        raise InputError(Reason.TOO_LARGE, message)
    if not is_colour:
        return Radiograph(np.ascontiguousarray(pixels, np.uint8), "array/gray")
    note = Note("colour_converted", "the array is RGB; converted to gray")
    return Radiograph(luma(pixels.view(np.uint8)), "array/rgb", notes=(note,))
