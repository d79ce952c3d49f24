"""The runtime's resize against Keras and TensorFlow themselves, on images of random sizes."""

import io
from typing import Any

import numpy as np
import PIL
import pytest
from PIL import Image

from cxr_edge.contract import Resize
from cxr_edge.preprocess import resize

tf = pytest.importorskip("tensorflow", reason="needs the workbench: pip install ./export")

HEIGHT, WIDTH = 96, 80
RNG = np.random.Generator(np.random.PCG64(5))
IMAGES = [
    RNG.integers(0, 256, (int(rows), int(columns)), dtype=np.uint8) for rows, columns in RNG.integers(3, 400, (200, 2))
]


def ours(pixels: Any, kernel: Any) -> Any:
    # Keras calls the installed Pillow, whose pass order is that of its version
    order: Any = "pillow-13" if int(PIL.__version__.split(".")[0]) >= 13 else "horizontal-first"
    return resize(pixels, Resize(kernel=kernel, pass_order=order, aspect="squash"), HEIGHT, WIDTH)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_load_img(keras: Any, interpolation: str) -> None:
    for pixels in IMAGES:
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "PNG", compress_level=1)
        stream.seek(0)
        loaded = keras.utils.load_img(
            stream, color_mode="grayscale", target_size=(HEIGHT, WIDTH), interpolation=interpolation
        )
        np.testing.assert_array_equal(ours(pixels, f"pillow-{interpolation}"), np.asarray(loaded))


@pytest.mark.parametrize("method", ["bilinear", "nearest"])
def test_tf_image_resize(method: str) -> None:
    for pixels in IMAGES:
        expected = tf.image.resize(pixels[:, :, None], (HEIGHT, WIDTH), method=method).numpy()[:, :, 0]
        got = ours(pixels, f"tf-{method}")
        assert got.dtype == expected.dtype
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_resizing_layer(keras: Any, interpolation: str) -> None:
    layer = keras.layers.Resizing(HEIGHT, WIDTH, interpolation=interpolation)
    for pixels in IMAGES:
        expected = np.asarray(layer(pixels[:, :, None].astype(np.float32)))[:, :, 0]
        np.testing.assert_array_equal(ours(pixels, f"tf-{interpolation}").astype(np.float32), expected)
