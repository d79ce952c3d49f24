"""Colour secondary captures -> gray, by the formula that training used (Pillow's conversion to "L")."""

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from cxr_edge.errors import InputError, Reason

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

_PALETTE: Final = "PALETTE COLOR"


def luma(rgb: "NDArray[np.uint8]") -> "NDArray[np.uint8]":
    """Return Pillow's "L" of uint8 (rows, columns, 3): (19595 R + 38470 G + 7471 B + 32768) >> 16."""
    red, green, blue = (rgb[..., channel].astype(np.uint32) for channel in range(3))
    return ((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16).astype(np.uint8)


def colour_to_gray(
    samples: "NDArray[Any]", photometric_interpretation: str, dataset: "Dataset"
) -> "tuple[NDArray[np.uint8], str]":
    """Return uint8 (rows, columns) and the name of the road.

    Args:
        samples: (rows, columns, 3) RGB, or (rows, columns) indices of a palette.
        photometric_interpretation: (0028,0004).
        dataset: holds the palette (PS3.3 C.7.6.3.1.5, C.7.6.3.1.6).

    Raises:
        InputError: `unsupported`, where a sample has more than 8 bits.
    """
    if photometric_interpretation == _PALETTE:
        from pydicom.pixels.processing import apply_color_lut

        samples = apply_color_lut(samples, dataset)
        if samples.dtype.itemsize > 1:  # 16-bit palettes: their high byte is what 8-bit displays show
            samples = samples >> 8
        return luma(samples[..., :3].astype(np.uint8)), "pillow-l/palette"
    if samples.dtype.itemsize > 1:
        message = f"colour samples have {8 * samples.dtype.itemsize} bits; need 8"
        raise InputError(Reason.UNSUPPORTED, message)
    return luma(samples.view(np.uint8)), "pillow-l/rgb"
