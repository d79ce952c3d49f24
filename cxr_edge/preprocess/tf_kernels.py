"""TensorFlow's resize kernels, bit-equal: float32, half-pixel centres, its order of operations, no antialiasing.

What `tf.image.resize(antialias=False)`, `keras.layers.Resizing` and `image_dataset_from_directory` compute on a CPU.
Source: tensorflow/core/kernels/image/resize_bilinear_op.cc, resize_nearest_neighbor_op.cc, image_resizer_state.h.
"""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def bilinear(pixels: "NDArray[np.uint8]", height: int, width: int) -> "NDArray[np.float32]":
    """uint8 (rows, columns) -> float32 (height, width), 0 .. 255."""
    upper, lower, down = _neighbours(pixels.shape[0], height)
    left, right, across = _neighbours(pixels.shape[1], width)
    top = _lerp(pixels[upper], left, right, across)
    bottom = _lerp(pixels[lower], left, right, across)
    bottom -= top
    bottom *= down[:, np.newaxis]
    top += bottom
    return top


def nearest(pixels: "NDArray[np.uint8]", height: int, width: int) -> "NDArray[np.uint8]":
    """uint8 (rows, columns) -> uint8 (height, width)."""
    rows, columns = (
        np.minimum(np.floor(_scaled_centres(inputs, outputs)).astype(np.intp), inputs - 1)
        for inputs, outputs in zip(pixels.shape, (height, width), strict=True)
    )
    return np.asarray(pixels[rows][:, columns])


def _scaled_centres(inputs: int, outputs: int) -> "NDArray[np.float32]":
    """Centres of the output's pixels in the input's coordinates, float32 (outputs,)."""
    scale = np.float32(inputs) / np.float32(outputs)
    return (np.arange(outputs, dtype=np.float32) + np.float32(0.5)) * scale


def _neighbours(inputs: int, outputs: int) -> tuple["NDArray[np.intp]", "NDArray[np.intp]", "NDArray[np.float32]"]:
    """Indices of the pixels before and after each output, and the weight of the one after."""
    position = _scaled_centres(inputs, outputs) - np.float32(0.5)
    before = np.floor(position)
    low = np.maximum(before, 0).astype(np.intp)
    high = np.minimum(np.ceil(position), inputs - 1).astype(np.intp)
    return low, high, position - before


def _lerp(
    rows: "NDArray[np.uint8]", left: "NDArray[np.intp]", right: "NDArray[np.intp]", weight: "NDArray[np.float32]"
) -> "NDArray[np.float32]":
    """Interpolated along the columns, left + (right - left) * weight; float32."""
    start = rows[:, left].astype(np.float32)
    between = rows[:, right].astype(np.float32)
    between -= start
    between *= weight
    start += between
    return start
