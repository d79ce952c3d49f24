"""The radiograph and its heat map, made small enough for a page."""

import io
from dataclasses import replace
from typing import TYPE_CHECKING

from cxr_edge.contract import Contract
from cxr_edge.heatmap import heat_map, laid_over
from cxr_edge.types import Prediction, Radiograph

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_PIXELS_A_SIDE = 1000  # 290 a inch where the picture is 88 mm wide
JPEG_QUALITY = 90
LEGEND_ROWS, LEGEND_COLUMNS, MID_GRAY = 16, 128, 127


def missing_heat_map(prediction: Prediction, contract: Contract) -> str | None:
    """The catalogue's key of why there is no heat map; None where there is one."""
    if contract.outputs.activation_map is None or prediction.activation_map is None:
        return "picture.no_activation_map"
    if any(member.resize.aspect != "squash" for member in contract.members):
        return "picture.not_squashed"
    return None


def small(prediction: Prediction, radiograph: Radiograph) -> Prediction:
    """The prediction with its radiograph no larger than a page needs."""
    from PIL import Image

    rows, columns = radiograph.pixels.shape
    scale = MOST_PIXELS_A_SIDE / max(rows, columns)
    if scale < 1:
        import numpy as np

        size = max(1, round(columns * scale)), max(1, round(rows * scale))
        image = Image.fromarray(radiograph.pixels).resize(size, Image.Resampling.BOX)
        radiograph = replace(radiograph, pixels=np.asarray(image))
    return replace(prediction, radiograph=radiograph)


def radiograph_jpeg(radiograph: Radiograph) -> bytes:
    """The radiograph as gray JPEG, without any metadata."""
    return _jpeg(radiograph.pixels)


def heat_map_jpeg(prediction: Prediction, contract: Contract, label: str | None = None) -> bytes:
    """The radiograph with its heat map, as `heat_map`, as RGB JPEG, without any metadata.

    Raises:
        UsageError: as `heat_map`.
    """
    return _jpeg(heat_map(prediction, contract, label)[..., ::-1])


def legend_jpeg() -> bytes:
    """The heat map's colours over mid-gray, from no evidence on the left to the strongest shown on the right."""
    import numpy as np

    strength = np.tile(np.linspace(0, 1, LEGEND_COLUMNS, dtype=np.float32), (LEGEND_ROWS, 1))
    return _jpeg(laid_over(np.full(strength.shape, MID_GRAY, np.uint8), strength)[..., ::-1])


def _jpeg(pixels: "NDArray[np.uint8]") -> bytes:
    import numpy as np
    from PIL import Image

    encoded = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(encoded, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return encoded.getvalue()
