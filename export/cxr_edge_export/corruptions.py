"""Images shifted on purpose: other exposures, crops, borders, sharpness, compression. Each is the same every time."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]  # (rows, columns), 0 black .. 255 white
Change = Callable[["Pixels"], "Pixels"]


def gray_levels(function: Callable[["NDArray[np.float64]"], "NDArray[np.float64]"]) -> Change:
    """A change of gray levels, 0..1 to 0..1."""
    table = np.clip(np.rint(function(np.arange(256) / 255) * 255), 0, 255).astype(np.uint8)
    return lambda pixels: np.asarray(table[pixels], np.uint8)


def crop(share: float) -> Change:
    """So much cut off at each side."""

    def change(pixels: "Pixels") -> "Pixels":
        rows, columns = (round(n * share) for n in pixels.shape)
        return np.ascontiguousarray(pixels[rows : pixels.shape[0] - rows, columns : pixels.shape[1] - columns])

    return change


def pad(share: float, gray: int) -> Change:
    """So much of one gray level added at each side."""

    def change(pixels: "Pixels") -> "Pixels":
        rows, columns = (round(n * share) for n in pixels.shape)
        padded: Pixels = np.pad(pixels, ((rows, rows), (columns, columns)), constant_values=gray)
        return padded

    return change


def side_pad(share: float) -> Change:
    """Black bars left and right: another aspect ratio."""
    return lambda pixels: np.pad(pixels, ((0, 0), (round(pixels.shape[1] * share),) * 2))


def blur(sigma: float) -> Change:
    """Gaussian, in pixels."""
    import cv2

    return lambda pixels: np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma), np.uint8)


def sharpen(weight: float) -> Change:
    """Unsharp mask."""
    import cv2

    def change(pixels: "Pixels") -> "Pixels":
        soft = cv2.GaussianBlur(pixels, (0, 0), 1.5).astype(np.float64)
        sharp: Pixels = np.clip(np.rint(pixels + weight * (pixels - soft)), 0, 255).astype(np.uint8)
        return sharp

    return change


def jpeg(quality: int) -> Change:
    """Compressed once more."""
    import cv2

    def change(pixels: "Pixels") -> "Pixels":
        _, encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
        return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE), np.uint8)

    return change


def smaller(share: float) -> Change:
    """A coarser original."""
    from PIL import Image

    def change(pixels: "Pixels") -> "Pixels":
        size = (round(pixels.shape[1] * share), round(pixels.shape[0] * share))
        return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC), np.uint8)

    return change


def turned(degrees: float) -> Change:
    """About the centre; the corners become black."""
    from PIL import Image

    return lambda pixels: np.asarray(Image.fromarray(pixels).rotate(degrees, Image.Resampling.BILINEAR), np.uint8)


def noisy(sigma: float) -> Change:
    """Gaussian, in gray levels; the same for each image."""

    def change(pixels: "Pixels") -> "Pixels":
        generator = np.random.Generator(np.random.PCG64(0))
        return np.clip(np.rint(pixels + generator.normal(0, sigma, pixels.shape)), 0, 255).astype(np.uint8)

    return change


def marker(pixels: "Pixels") -> "Pixels":
    """A white letter in a corner, as technicians leave it."""
    import cv2

    changed = pixels.copy()
    scale = pixels.shape[0] / 224
    where = (round(8 * scale), round(34 * scale))
    cv2.putText(changed, "R", where, cv2.FONT_HERSHEY_SIMPLEX, scale, 255, max(1, round(3 * scale)))
    return changed


CORRUPTIONS: Final[dict[str, Change]] = {
    "as they are": lambda pixels: pixels,
    "darker, gamma 1.6": gray_levels(lambda x: x**1.6),
    "brighter, gamma 0.6": gray_levels(lambda x: x**0.6),
    "contrast x 0.6": gray_levels(lambda x: 0.5 + (x - 0.5) * 0.6),
    "contrast x 1.5": gray_levels(lambda x: 0.5 + (x - 0.5) * 1.5),
    "cropped 6 % at each side": crop(0.06),
    "cropped 12 % at each side": crop(0.12),
    "black border 8 %": pad(0.08, 0),
    "white border 8 %": pad(0.08, 255),
    "black bars left and right, 15 %": side_pad(0.15),
    "blurred, sigma 1.5": blur(1.5),
    "sharpened": sharpen(1.2),
    "JPEG quality 20": jpeg(20),
    "half the pixels each way": smaller(0.5),
    "turned by 8 degrees": turned(8),
    "noise, sigma 8": noisy(8),
    "a marker": marker,
}
