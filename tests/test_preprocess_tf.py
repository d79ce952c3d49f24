"""TensorFlow's and Keras's resizing without TensorFlow: digests of what they gave, and figures worked out by hand.

The digests were taken with TensorFlow 2.21, Keras 3.15.1 and Pillow 13.0; export's tests compare with Keras itself.
"""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cxr_edge.contract import Resize
from cxr_edge.preprocess import resize
from cxr_edge.preprocess.aspect import Box, frame

SIDES = st.integers(1, 160)
PAD_VALUE = 9

# rows, columns, height, width, kernel, aspect, first 16 digits of the SHA-256 over the float32 result
KERAS = [
    (97, 61, 32, 32, "tf-bilinear", "squash", "8a1d5a80ac026f24"),
    (97, 61, 32, 32, "tf-nearest", "squash", "9687483ed25d1603"),
    (97, 61, 32, 32, "tf-bilinear", "crop", "5f561429a759f4f2"),
    (97, 61, 32, 32, "tf-nearest", "crop", "39d95a05304bfcd2"),
    (97, 61, 32, 32, "tf-bilinear", "pad", "39f86301a981be70"),
    (97, 61, 32, 32, "tf-nearest", "pad", "d06ce61e28bbd8f4"),
    (97, 61, 32, 32, "pillow-nearest", "crop", "39d95a05304bfcd2"),
    (97, 61, 32, 32, "pillow-bilinear", "squash", "7f2a964b6c4335cc"),
    (97, 61, 32, 32, "pillow-bilinear", "crop", "8a6eb1326d28353d"),
    (97, 61, 32, 32, "pillow-bicubic", "crop", "716b019634a200ea"),
    (97, 61, 32, 32, "pillow-lanczos", "crop", "146c5ead7c56d9ee"),
    (40, 53, 64, 48, "tf-bilinear", "squash", "4b968a1534433371"),
    (40, 53, 64, 48, "tf-nearest", "squash", "e5f188dded57b78b"),
    (40, 53, 64, 48, "tf-bilinear", "crop", "10b313d4fd4f6d9d"),
    (40, 53, 64, 48, "tf-nearest", "crop", "c729d094ba9d6a42"),
    (40, 53, 64, 48, "tf-bilinear", "pad", "d260ac324d26ff33"),
    (40, 53, 64, 48, "tf-nearest", "pad", "3e308c5a5adfc7c3"),
    (40, 53, 64, 48, "pillow-nearest", "crop", "c729d094ba9d6a42"),
    (40, 53, 64, 48, "pillow-bilinear", "squash", "d4de8e60ecd7f509"),
    (40, 53, 64, 48, "pillow-bilinear", "crop", "ab890db3295a88b5"),
    (40, 53, 64, 48, "pillow-bicubic", "crop", "0c10f934eb0c41e8"),
    (40, 53, 64, 48, "pillow-lanczos", "crop", "27bc619da5951e0f"),
    (301, 203, 24, 56, "tf-bilinear", "squash", "99ba5644ffedafbb"),
    (301, 203, 24, 56, "tf-nearest", "squash", "e7ca6b5a2280a79f"),
    (301, 203, 24, 56, "tf-bilinear", "crop", "f6850b8e7fd4998b"),
    (301, 203, 24, 56, "tf-nearest", "crop", "c97bb1e2f3a0749c"),
    (301, 203, 24, 56, "tf-bilinear", "pad", "4ac47fe607ec6ab9"),
    (301, 203, 24, 56, "tf-nearest", "pad", "12289fa45729780f"),
    (301, 203, 24, 56, "pillow-nearest", "crop", "c97bb1e2f3a0749c"),
    (301, 203, 24, 56, "pillow-bilinear", "squash", "3dcc9577fab6a8ce"),
    (301, 203, 24, 56, "pillow-bilinear", "crop", "7e8a5f47542d5997"),
    (301, 203, 24, 56, "pillow-bicubic", "crop", "ab24740b0def9147"),
    (301, 203, 24, 56, "pillow-lanczos", "crop", "1c61978f410a1f02"),
    (333, 120, 31, 77, "tf-bilinear", "squash", "7f0567166b28ee14"),
    (333, 120, 31, 77, "tf-nearest", "squash", "72acb30eb9d2a554"),
    (333, 120, 31, 77, "tf-bilinear", "crop", "070a2a0bb6c2ef69"),
    (333, 120, 31, 77, "tf-nearest", "crop", "7776643c966517f1"),
    (333, 120, 31, 77, "tf-bilinear", "pad", "d6907225772fb1d3"),
    (333, 120, 31, 77, "tf-nearest", "pad", "b6b6b4c7f210900d"),
    (333, 120, 31, 77, "pillow-nearest", "crop", "a130130784e28f0b"),
    (333, 120, 31, 77, "pillow-bilinear", "squash", "e79ec126eea299b4"),
    (333, 120, 31, 77, "pillow-bilinear", "crop", "a96305ce87f85583"),
    (333, 120, 31, 77, "pillow-bicubic", "crop", "fd3fe5b36972afe4"),
    (333, 120, 31, 77, "pillow-lanczos", "crop", "5ab75ce5b37a2e66"),
    (333, 333, 23, 23, "tf-bilinear", "squash", "b8b7fca32cd58d13"),
    (333, 333, 23, 23, "tf-nearest", "squash", "dc2a0c1d7b2650e9"),
    (333, 333, 23, 23, "tf-bilinear", "crop", "b8b7fca32cd58d13"),
    (333, 333, 23, 23, "tf-nearest", "crop", "dc2a0c1d7b2650e9"),
    (333, 333, 23, 23, "tf-bilinear", "pad", "b8b7fca32cd58d13"),
    (333, 333, 23, 23, "tf-nearest", "pad", "dc2a0c1d7b2650e9"),
    (333, 333, 23, 23, "pillow-nearest", "crop", "dc2a0c1d7b2650e9"),
    (333, 333, 23, 23, "pillow-bilinear", "squash", "6871bc01925e3c2a"),
    (333, 333, 23, 23, "pillow-bilinear", "crop", "6871bc01925e3c2a"),
    (333, 333, 23, 23, "pillow-bicubic", "crop", "7a6e10884d4e114a"),
    (333, 333, 23, 23, "pillow-lanczos", "crop", "c44f3c6f7c7ed955"),
]


def recipe(kernel: str, aspect: str = "squash") -> Resize:
    return Resize(kernel=kernel, pass_order="pillow-13", aspect=aspect, pad_value=PAD_VALUE)  # type: ignore[arg-type]


def pattern(rows: int, columns: int) -> NDArray[np.uint8]:
    y, x = np.ogrid[:rows, :columns]
    return np.asarray((7 * y + 13 * x * x + y * x) % 256, dtype=np.uint8)


@pytest.mark.parametrize(("rows", "columns", "height", "width", "kernel", "aspect", "digest"), KERAS)
def test_what_keras_gave(  # noqa: PLR0913, PLR0917 - one row of the table
    rows: int, columns: int, height: int, width: int, kernel: str, aspect: str, digest: str
) -> None:
    resized = resize(pattern(rows, columns), recipe(kernel, aspect), height, width)
    assert resized.shape == (height, width)
    assert hashlib.sha256(resized.astype(np.float32).tobytes()).hexdigest()[:16] == digest


def test_bilinear_between_half_pixel_centres() -> None:
    pixels = np.array([[0, 100], [200, 50]], np.uint8)
    resized = resize(pixels, recipe("tf-bilinear"), 4, 4)
    assert resized.dtype == np.float32
    assert resized[0].tolist() == [0.0, 25.0, 75.0, 100.0]
    assert resized[:, 0].tolist() == [0.0, 50.0, 150.0, 200.0]
    assert resized[1, 1] == 59.375  # a quarter of the way from 25 to 162.5


def test_bilinear_does_not_antialias() -> None:
    pixels = np.zeros((1, 8), np.uint8)
    pixels[0, 3:5] = 0, 80
    assert resize(pixels, recipe("tf-bilinear"), 1, 2).tolist() == [[0.0, 0.0]]


def test_nearest_takes_the_pixel_under_the_centre() -> None:
    pixels = np.arange(5, dtype=np.uint8)[np.newaxis]
    assert resize(pixels, recipe("tf-nearest"), 1, 3).tolist() == [[0, 2, 4]]
    assert resize(pixels, recipe("tf-nearest"), 1, 10).tolist() == [[0, 0, 1, 1, 2, 2, 3, 3, 4, 4]]


def test_crop_takes_the_middle() -> None:
    pixels = np.repeat(np.arange(6, dtype=np.uint8)[np.newaxis], 2, axis=0)
    for kernel in ("tf-nearest", "pillow-nearest", "tf-bilinear"):
        assert resize(pixels, recipe(kernel, "crop"), 2, 2)[0].tolist() == [2, 3]


def test_pad_surrounds_with_the_pad_value() -> None:
    pixels = np.full((2, 6), 50, np.uint8)
    for kernel in ("tf-nearest", "pillow-nearest", "tf-bilinear", "pillow-bicubic"):
        padded = resize(pixels, recipe(kernel, "pad"), 6, 6)
        assert padded[:, 0].tolist() == [9, 9, 50, 50, 9, 9]


def test_pillow_reads_beyond_the_crop_and_tensorflow_does_not() -> None:
    pixels = np.zeros((4, 12), np.uint8)
    pixels[:, :4] = pixels[:, 8:] = 240
    assert resize(pixels, recipe("tf-bilinear", "crop"), 2, 2).max() == 0
    assert resize(pixels, recipe("pillow-bilinear", "crop"), 2, 2).min() > 0


def test_a_strip_is_cropped_as_keras_does() -> None:
    strip = pattern(1, 9)
    assert frame(strip, recipe("pillow-bilinear", "crop"), 4, 2)[1] == Box(top=0, left=4, bottom=1, right=4)
    assert frame(strip, recipe("tf-bilinear", "crop"), 4, 2)[1] == Box(top=0, left=4, bottom=1, right=5)
    assert resize(strip, recipe("pillow-bilinear", "crop"), 4, 2).shape == (4, 2)


@settings(deadline=None)
@given(SIDES, SIDES, SIDES, SIDES, st.sampled_from(["tf-bilinear", "tf-nearest"]), st.sampled_from(["squash", "crop"]))
def test_no_new_extremes(rows: int, columns: int, height: int, width: int, kernel: str, aspect: str) -> None:
    pixels = pattern(rows, columns)
    resized = resize(pixels, recipe(kernel, aspect), height, width)
    assert resized.shape == (height, width)
    assert pixels.min() <= resized.min()
    assert resized.max() <= pixels.max()
