"""The aspect policy: which part of the image is resized, or what is put around it first.

Keras has two roads that differ by a pixel, and each kernel takes the road it was trained on:

- `crop` under a Pillow kernel: `keras.utils.load_img(keep_aspect_ratio=True)`. Integer arithmetic; the crop is Pillow's
  `box`, so that the kernel still reads pixels outside of it.
- `crop` under a tf kernel: `keras.layers.Resizing(crop_to_aspect_ratio=True)`. float32 arithmetic; crop, then resize.
- `pad`, which `load_img` lacks: `keras.layers.Resizing(pad_to_aspect_ratio=True)` for every kernel. float32 arithmetic;
  equally much on both sides, so an odd remainder leaves the padded image one pixel short of the exact ratio.

Source: keras 3.15 `utils/image_utils.py` and `backend/tensorflow/image.py`.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cxr_edge.contract.schema import Resize
from cxr_edge.errors import InputError, Reason

if TYPE_CHECKING:
    from numpy.typing import NDArray

PADDED_PIXELS_MAX = 2**27  # twice the largest image that is decoded; a strip of 1 x 60000 would pad to 3.6e9


class Box(NamedTuple):
    """Half-open pixel ranges: rows top .. bottom, columns left .. right."""

    top: int
    left: int
    bottom: int
    right: int

    def of(self, pixels: "NDArray[np.uint8]") -> "NDArray[np.uint8]":
        """The part inside the box, a view; `pixels` itself where that is all of it."""
        if self == (0, 0, *pixels.shape):
            return pixels
        return pixels[self.top : self.bottom, self.left : self.right]


def frame(pixels: "NDArray[np.uint8]", resize: Resize, height: int, width: int) -> tuple["NDArray[np.uint8]", Box]:
    """The image, padded where the policy says so, and the box of it that becomes (height, width).

    Raises:
        InputError: padding would make the image too large.
    """
    rows, columns = pixels.shape
    match resize.aspect:
        case "squash":
            return pixels, Box(0, 0, rows, columns)
        case "crop" if resize.kernel.startswith("pillow-"):
            return pixels, _load_img_crop(rows, columns, height, width)
        case "crop":
            return pixels, _resizing_crop(rows, columns, height, width)
        case "pad":
            padded = _resizing_pad(pixels, height, width, resize.pad_value)
            return padded, Box(0, 0, *padded.shape)


def _load_img_crop(rows: int, columns: int, height: int, width: int) -> Box:
    """The crop of `keras.utils.load_img`; empty on an extremely narrow image, which Pillow resizes all the same."""
    crop_height = min(rows, columns * height // width)
    crop_width = min(columns, rows * width // height)
    top, left = (rows - crop_height) // 2, (columns - crop_width) // 2
    return Box(top, left, top + crop_height, left + crop_width)


def _resizing_crop(rows: int, columns: int, height: int, width: int) -> Box:
    """The crop of `keras.layers.Resizing`."""
    crop_height = max(min(rows, _ratio(columns, height, width)), 1)
    crop_width = max(min(columns, _ratio(rows, width, height)), 1)
    top, left = (rows - crop_height) // 2, (columns - crop_width) // 2
    return Box(top, left, top + crop_height, left + crop_width)


def _resizing_pad(pixels: "NDArray[np.uint8]", height: int, width: int, pad_value: int) -> "NDArray[np.uint8]":
    """The padding of `keras.layers.Resizing`. A strip that would grow beyond all measure is refused."""
    rows, columns = pixels.shape
    above = (max(rows, _ratio(columns, height, width)) - rows) // 2
    beside = (max(columns, _ratio(rows, width, height)) - columns) // 2
    if above == beside == 0:
        return pixels
    shape = (rows + 2 * above, columns + 2 * beside)
    if shape[0] * shape[1] > PADDED_PIXELS_MAX:
        message = (
            f"{rows} x {columns} pixels become {shape[0]} x {shape[1]} when padded; need {PADDED_PIXELS_MAX} at most"
        )
        raise InputError(Reason.TOO_LARGE, message)
    padded = np.full(shape, pad_value, dtype=np.uint8)
    padded[above : above + rows, beside : beside + columns] = pixels
    return padded


def _ratio(length: int, numerator: int, denominator: int) -> int:
    """Truncated length * numerator / denominator in float32, as TensorFlow computes it."""
    return int(np.float32(length * numerator) / np.float32(denominator))
