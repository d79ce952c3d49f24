"""A numpy array, handed over by a script, as a Radiograph."""

from typing import TYPE_CHECKING

import numpy as np

from cxr_edge.decode.colour import luma
from cxr_edge.decode.limits import DecodeLimits
from cxr_edge.errors import InputError, Reason
from cxr_edge.types import Note, Radiograph

if TYPE_CHECKING:
    from numpy.typing import NDArray

GRAY, COLOUR = 2, 3


def decode_array(pixels: "NDArray[np.generic]", limits: DecodeLimits) -> Radiograph:
    """Take uint8 pixels as they are.

    Args:
        pixels: uint8, (rows, columns) gray with 0 black .. 255 white, or (rows, columns, 3) RGB.
        limits: its `pixels` and `side` are checked.

    Raises:
        InputError: `unsupported`, for another dtype or shape, as no rendering is guessed; or `too_large`.
    """
    is_colour = pixels.ndim == COLOUR and pixels.shape[2] == COLOUR
    if pixels.dtype != np.uint8 or not (pixels.ndim == GRAY or is_colour) or 0 in pixels.shape:
        message = f"the array is {pixels.dtype} {pixels.shape}; need uint8 (rows, columns) or (rows, columns, 3) RGB"
        raise InputError(Reason.UNSUPPORTED, message)
    limits.check_size(pixels.shape[0], pixels.shape[1], "array")
    if not is_colour:
        return Radiograph(np.ascontiguousarray(pixels, np.uint8), "array/gray")
    note = Note("colour_converted", "the array is RGB; converted to gray")
    return Radiograph(luma(pixels.view(np.uint8)), "array/rgb", notes=(note,))
