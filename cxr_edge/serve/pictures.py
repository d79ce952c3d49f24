"""What the page shows of a result: the radiograph and the evidence, as PNG files without metadata."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from cxr_edge.contract import Contract
from cxr_edge.errors import OutputError
from cxr_edge.heatmap import check_heat_maps, colours, evidence, spread
from cxr_edge.types import Prediction

if TYPE_CHECKING:
    from numpy.typing import NDArray

LONGEST_SIDE = 2048  # more than a screen or a printed page shows
OVERLAY_SIDE = 512  # the evidence is as coarse as 7 x 7; a browser scales it as smoothly


def for_display(prediction: Prediction) -> Prediction:
    """The same with a radiograph no larger than is shown; it has been classified already."""
    kept = prediction.radiograph
    if kept is None or max(kept.pixels.shape) <= LONGEST_SIDE:
        return prediction
    import cv2

    columns, rows = _fitted(kept.pixels.shape, LONGEST_SIDE)
    pixels = np.asarray(cv2.resize(kept.pixels, (columns, rows), interpolation=cv2.INTER_AREA), np.uint8)
    return replace(prediction, radiograph=replace(kept, pixels=pixels))


def radiograph_png(prediction: Prediction) -> bytes:
    """The radiograph that was kept, 8-bit gray.

    Raises:
        OutputError: none was kept, or OpenCV cannot encode it.
    """
    if prediction.radiograph is None:
        message = "no radiograph was kept"
        raise OutputError(message)
    return _png(prediction.radiograph.pixels)


def overlay_png(prediction: Prediction, contract: Contract, label: str | None = None) -> bytes:
    """The evidence for the positive labels, or for one label: a transparent picture to stretch over the radiograph.

    On the same fixed scale and in the same colours as `cxr_edge.heatmap`, opaque where those are at their densest.

    Raises:
        UsageError: the model has no activation map or no such label, or does not see the whole image.
        OutputError: OpenCV cannot encode it.
    """
    check_heat_maps(contract, label)
    kept = prediction.radiograph
    shape = kept.pixels.shape if kept is not None else (OVERLAY_SIDE, OVERLAY_SIDE)
    columns, rows = _fitted(shape, OVERLAY_SIDE)
    return _png(colours(spread(evidence(prediction, contract, label), prediction.seen, (rows, columns))))


def legend_png() -> bytes:
    """The overlay's colours, from no evidence on the left to full strength on the right.

    Raises:
        OutputError: OpenCV cannot encode it.
    """
    return _png(colours(np.linspace(0, 1, 256, dtype=np.float32)[np.newaxis]))


def _fitted(shape: tuple[int, ...], side: int) -> tuple[int, int]:
    """(columns, rows) of the same proportions, the longer one `side` at most."""
    rows, columns = shape
    scale = min(1.0, side / max(rows, columns))
    return max(1, round(columns * scale)), max(1, round(rows * scale))


def _png(pixels: "NDArray[np.uint8]") -> bytes:
    import cv2

    try:
        done, encoded = cv2.imencode(".png", pixels)
    except (cv2.error, MemoryError):
        done = False
    if not done:
        message = "the picture of one result could not be encoded"
        raise OutputError(message)
    return encoded.tobytes()
