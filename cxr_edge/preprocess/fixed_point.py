"""Pillow's resampling redone: the reference that the installed Pillow is checked against, and the fallback.

Separable; per axis, weights in 22-bit fixed point, 32-bit sums, uint8 between the passes.
Source: Pillow `src/libImaging/Resample.c` (bilinear, bicubic, lanczos) and `Geometry.c` (nearest), 12.0 and 13.0 alike.
"""

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

PRECISION_BITS = 32 - 8 - 2
ONE = 1 << PRECISION_BITS
HALF = 1 << (PRECISION_BITS - 1)


def resample_axis(
    pixels: "NDArray[np.uint8]", kernel: str, axis: int, span: tuple[int, int], outputs: int
) -> "NDArray[np.uint8]":
    """One pass: pixels `span[0]` .. `span[1]` along `axis` become `outputs` pixels.

    Pixels outside the span still count where the kernel reaches them, as with Pillow's `box`.

    Args:
        pixels: uint8 (rows, columns).
        kernel: `pillow-nearest`, `pillow-bilinear`, `pillow-bicubic` or `pillow-lanczos`.
        axis: 0 resamples vertically, 1 horizontally.
        span: half-open range along the axis.
        outputs: pixels along the axis afterwards.

    Returns:
        uint8, as `pixels` but with `outputs` along the axis.
    """
    if kernel == "pillow-nearest":
        return np.take(pixels, _nearest_indices(span, outputs), axis=axis)
    inputs = pixels.shape[axis]
    first, weights = _fixed_point_weights(kernel, inputs, span, outputs)
    along = (-1, 1) if axis == 0 else (1, -1)
    shape = (outputs, pixels.shape[1]) if axis == 0 else (pixels.shape[0], outputs)
    total = np.full(shape, HALF, dtype=np.int32)
    for tap, weight in enumerate(weights.T):
        index = np.minimum(first + tap, inputs - 1)
        total += np.take(pixels, index, axis=axis) * weight.reshape(along)
    return np.asarray(np.clip(total >> PRECISION_BITS, 0, 255), dtype=np.uint8)


def _nearest_indices(span: tuple[int, int], outputs: int) -> "NDArray[np.intp]":
    """Positions found by adding the step again and again, as Pillow does; a product would round otherwise."""
    start, stop = span
    step = (stop - start) / outputs
    positions = np.full(outputs, step)
    positions[0] = start + step * 0.5
    return np.add.accumulate(positions).astype(np.intp)


def _fixed_point_weights(
    kernel: str, inputs: int, span: tuple[int, int], outputs: int
) -> tuple["NDArray[np.intp]", "NDArray[np.int32]"]:
    """Index of the first pixel of each output (outputs,), and the weights from there on, int32 (outputs, taps)."""
    weigh, reach = KERNELS[kernel]
    scale = (span[1] - span[0]) / outputs
    stretch = max(scale, 1.0)
    support = reach * stretch
    centre = span[0] + (np.arange(outputs) + 0.5) * scale
    first = np.maximum((centre - support + 0.5).astype(np.intp), 0)
    stop = np.minimum((centre + support + 0.5).astype(np.intp), inputs)
    index = first[:, np.newaxis] + np.arange((stop - first).max())
    weights = weigh((index - centre[:, np.newaxis] + 0.5) * (1.0 / stretch))
    weights[index >= stop[:, np.newaxis]] = 0.0
    total = np.add.accumulate(weights, axis=1)[:, -1:]  # one after the other: np.sum adds pairwise and rounds otherwise
    weights = np.divide(weights, total, out=weights, where=total != 0.0)
    return first, np.trunc(weights * ONE + np.where(weights < 0.0, -0.5, 0.5)).astype(np.int32)


def _bilinear(x: "NDArray[np.float64]") -> "NDArray[np.float64]":
    x = np.abs(x)
    return np.where(x < 1.0, 1.0 - x, 0.0)


def _bicubic(x: "NDArray[np.float64]") -> "NDArray[np.float64]":
    """Catmull-Rom (a = -0.5), factored as Pillow has it."""
    a = -0.5
    x = np.abs(x)
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    far = (((x - 5.0) * x + 8.0) * x - 4.0) * a
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))  # noqa: PLR2004 - the kernel's own reach


def _lanczos(x: "NDArray[np.float64]") -> "NDArray[np.float64]":
    """A sinc windowed by a sinc three times as wide."""
    return np.where((x >= -3.0) & (x < 3.0), _sinc(x) * _sinc(x / 3.0), 0.0)  # noqa: PLR2004 - the kernel's own reach


def _sinc(x: "NDArray[np.float64]") -> "NDArray[np.float64]":
    angle = x * math.pi
    # libm's sine, which Pillow calls too: numpy's vectorised one may differ in the last bit.
    sine = np.fromiter(map(math.sin, angle.flat), dtype=np.float64, count=angle.size).reshape(angle.shape)
    return np.divide(sine, angle, out=np.ones_like(angle), where=angle != 0.0)


KERNELS: "dict[str, tuple[Callable[[NDArray[np.float64]], NDArray[np.float64]], float]]" = {
    "pillow-bilinear": (_bilinear, 1.0),
    "pillow-bicubic": (_bicubic, 2.0),
    "pillow-lanczos": (_lanczos, 3.0),
}
