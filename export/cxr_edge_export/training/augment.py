"""Random changes of a training image, drawn from a generator that belongs to that image in that epoch alone."""

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from cxr_edge_export.recipe import Augmentation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Gray = NDArray[np.uint8]  # (rows, columns)

WHITE = 255.0


def augment(pixels: "Gray", plan: Augmentation, generator: np.random.Generator) -> "Gray":
    """A changed copy of an image, of the same size.

    Geometry first, then what the detector and the archive do: gray levels, sharpness, noise, compression, borders.

    Args:
        pixels: uint8 (rows, columns), 0 black .. 255 white.
        plan: how much of what.
        generator: whose state decides.
    """
    changed = _geometry(pixels, plan, generator)
    changed = _gray_levels(changed, plan, generator)
    changed = _sharpness(changed, plan, generator)
    if plan.noise:
        sigma = generator.uniform(0, plan.noise)
        changed = rounded(changed + generator.normal(0, sigma, changed.shape))
    if plan.jpeg is not None and generator.random() < 1 / 2:
        changed = _recompressed(changed, int(generator.integers(plan.jpeg, 96)))
    return _covered(changed, plan, generator)


def _geometry(pixels: "Gray", plan: Augmentation, generator: np.random.Generator) -> "Gray":
    if plan.flip and generator.random() < 1 / 2:
        pixels = pixels[:, ::-1]
    if not (plan.rotation or plan.zoom or plan.aspect or plan.shift):
        return np.ascontiguousarray(pixels)
    import cv2

    rows, columns = pixels.shape
    angle = np.deg2rad(generator.uniform(-plan.rotation, plan.rotation))
    zoom = generator.uniform(1 - plan.zoom, 1 + plan.zoom)
    scale = zoom * generator.uniform(1 - plan.zoom / 3, 1 + plan.zoom / 3, 2)  # x, y
    if plan.aspect:
        most = np.log1p(plan.aspect) / 2
        wider = generator.uniform(-most, most)
        scale = scale * np.exp([wider, -wider])
    centre = np.array([(columns - 1) / 2, (rows - 1) / 2])
    shift = generator.uniform(-plan.shift, plan.shift, 2) * (columns, rows)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * scale
    matrix = np.column_stack([turn, centre + shift - turn @ centre])
    moved: Gray = cv2.warpAffine(
        np.ascontiguousarray(pixels), matrix, (columns, rows), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT
    )
    return moved


def _gray_levels(pixels: "Gray", plan: Augmentation, generator: np.random.Generator) -> "Gray":
    if not (plan.brightness or plan.contrast or plan.gamma):
        return pixels
    level = np.arange(256) / WHITE
    level = level ** np.exp(generator.uniform(-plan.gamma, plan.gamma))
    mean = level[pixels].mean() if plan.contrast else 0.0
    level = mean + (level - mean) * generator.uniform(1 - plan.contrast, 1 + plan.contrast)
    level = level + generator.uniform(-plan.brightness, plan.brightness)
    return rounded(level * WHITE)[pixels]


def _sharpness(pixels: "Gray", plan: Augmentation, generator: np.random.Generator) -> "Gray":
    if not (plan.blur or plan.sharpen):
        return pixels
    import cv2

    blur_now = plan.blur > 0 and (not plan.sharpen or generator.random() < 1 / 2)
    if blur_now:
        sigma = generator.uniform(0, plan.blur)
        return cv2.GaussianBlur(pixels, (0, 0), sigma) if sigma > 0.1 else pixels  # noqa: PLR2004 - nothing is seen of less
    weight = generator.uniform(0, plan.sharpen)
    soft = cv2.GaussianBlur(pixels, (0, 0), 1.5).astype(np.float32)
    return rounded(pixels + weight * (pixels - soft))


def _recompressed(pixels: "Gray", quality: int) -> "Gray":
    import cv2

    _, encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cast("Gray", cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE))


def _covered(pixels: "Gray", plan: Augmentation, generator: np.random.Generator) -> "Gray":
    """Borders of one gray level, as collimators and paddings leave them; one rectangle erased."""
    if not (plan.border or plan.erase):
        return pixels
    changed = pixels.copy()
    rows, columns = pixels.shape
    if plan.border and generator.random() < 1 / 2:
        gray = int(generator.choice([0, 0, 255, int(pixels.mean())]))
        top, bottom, left, right = (generator.uniform(0, plan.border, 4) * (rows, rows, columns, columns)).astype(int)
        changed[:top], changed[rows - bottom :] = gray, gray
        changed[:, :left], changed[:, columns - right :] = gray, gray
    if plan.erase and generator.random() < 1 / 2:
        area = generator.uniform(0, plan.erase) * rows * columns
        height = int(min(rows, np.sqrt(area) * generator.uniform(0.5, 2)))
        width = int(min(columns, area / max(height, 1)))
        top, left = generator.integers(0, rows - height + 1), generator.integers(0, columns - width + 1)
        changed[top : top + height, left : left + width] = int(generator.integers(0, 256))
    return changed


def rounded(values: "NDArray[Any]") -> "Gray":
    """Whole gray levels, 0..255."""
    levels: Gray = np.clip(np.rint(values), 0, WHITE).astype(np.uint8)
    return levels
