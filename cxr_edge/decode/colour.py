"""Colour secondary captures -> gray, by the formula that training used (Pillow's conversion to "L")."""

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from cxr_edge.decode.tags import Attributes
from cxr_edge.errors import InputError, Reason

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PALETTE: Final = "PALETTE COLOR"
_RED: Final = "RedPaletteColorLookupTableData"
_READ_BY_PYDICOM: Final = (
    "PixelPresentation",
    "RedPaletteColorLookupTableDescriptor",
    _RED,
    "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableData",
    "AlphaPaletteColorLookupTableData",
)


def luma(rgb: "NDArray[np.uint8]") -> "NDArray[np.uint8]":
    """Return Pillow's "L" of uint8 (rows, columns, 3): (19595 R + 38470 G + 7471 B + 32768) >> 16."""
    from PIL import Image

    if rgb.strides[2] == 1:
        image = Image.fromarray(rgb)
    else:  # planes, as RLE holds them
        image = Image.merge("RGB", [Image.fromarray(rgb[..., channel]) for channel in range(3)])
    return np.asarray(image.convert("L"))


def colour_to_gray(
    samples: "NDArray[Any]", photometric_interpretation: str, attributes: Attributes
) -> "tuple[NDArray[np.uint8], str]":
    """Return uint8 (rows, columns) and the name of the road.

    Args:
        samples: (rows, columns, 3) RGB, or (rows, columns) indices of a palette.
        photometric_interpretation: (0028,0004).
        attributes: hold the palette (PS3.3 C.7.6.3.1.5, C.7.6.3.1.6).

    Raises:
        InputError: `unsupported`, where a sample has more than 8 bits, or the palette is segmented.
    """
    if photometric_interpretation == _PALETTE:
        from pydicom.pixels.processing import apply_color_lut

        _check_palette(attributes)
        samples = apply_color_lut(samples, attributes.dataset)
        if samples.dtype.itemsize > 1:  # 16-bit palettes: their high byte is what 8-bit displays show
            samples = samples >> 8
        return luma(samples[..., :3].astype(np.uint8)), "pillow-l/palette"
    if samples.dtype.itemsize > 1:
        message = f"colour samples have {8 * samples.dtype.itemsize} bits; need 8"
        raise InputError(Reason.UNSUPPORTED, message)
    return luma(samples.view(np.uint8)), "pillow-l/rgb"


def _check_palette(attributes: Attributes) -> None:
    """Refuse a palette that a few kilobytes could blow up to gigabytes (PS3.3 C.7.9.2), or that is none by its size."""
    if "SegmentedRedPaletteColorLookupTableData" in attributes.dataset and _RED not in attributes.dataset:
        message = "the palette is segmented (0028,1221); need (0028,1201) Red Palette Color Lookup Table Data"
        raise InputError(Reason.UNSUPPORTED, message)
    for keyword in _READ_BY_PYDICOM:
        attributes.check_length(keyword)
