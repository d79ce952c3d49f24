"""Where the network saw evidence: the class activation map laid over the radiograph.

Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016: for a network that ends in global
average pooling and one dense layer, the last feature map times the dense kernel sums up exactly to the logits.
"""

import functools
from typing import TYPE_CHECKING

import numpy as np

from cxr_edge.contract import Contract
from cxr_edge.errors import OutputError, UsageError
from cxr_edge.types import Part, Prediction

if TYPE_CHECKING:
    from numpy.typing import NDArray

FULL_SCALE_LOGITS = 10.0  # evidence shown at full strength; fixed, so that two heat maps can be compared
MAX_OPACITY = 0.6
# strength 0 .. 1, and there red, green, blue, opacity: no gray; the stronger, the brighter, in gray print, too
_HUES = ((0.2, 205, 40, 30, 0), (0.5, 240, 85, 20, 150), (0.75, 255, 160, 10, 255), (1.0, 255, 240, 60, 255))
BAND_ROWS = 512  # blended at a time: floats of a whole radiograph would take 200 MB


def evidence(prediction: Prediction, contract: Contract, label: str | None = None) -> "NDArray[np.float32]":
    """Evidence for the positive labels, or for one label, against the others, in logits by place.

    Its mean plus the dense layer's bias is the logit of the decision between the two labels compared.

    Args:
        prediction: with an activation map.
        contract: of the model that made it.
        label: the one that evidence is for; None: the most probable positive label.

    Returns:
        float32 (h, w): the map of that label minus the map of the most probable label of the other side; for a `label`
        that is given, of all other labels.

    Raises:
        UsageError: the model has no activation map, or no such label.
    """
    maps = prediction.activation_map
    if maps is None:
        message = f"the model {prediction.model.name} has no activation map; no heat map can be drawn"
        raise UsageError(message)
    compared = compared_labels(prediction, contract, label)
    positive, negative = (maps[..., contract.labels.index(name)] for name in compared)
    return np.asarray(positive - negative, np.float32)


def compared_labels(prediction: Prediction, contract: Contract, label: str | None = None) -> tuple[str, str]:
    """The label that `evidence` is for, and the one that it is against.

    Raises:
        UsageError: the model has no such label.
    """
    wanted = contract.positive_labels if label is None else (label,)
    if not set(wanted) <= set(contract.labels):
        message = f"the model has no label {label!r}; it has {', '.join(contract.labels)}"
        raise UsageError(message)
    others = tuple(name for name in contract.labels if name not in wanted)
    for_, against = (max(names, key=prediction.probabilities.__getitem__) for names in (wanted, others))
    return for_, against


def check_heat_maps(contract: Contract, label: str | None = None) -> None:
    """Whether a model's heat maps can be drawn, for one label where that is given.

    Raises:
        UsageError: it has no activation map or no such label, or does not see the whole image.
    """
    if label is not None and label not in contract.labels:
        message = f"the model has no label {label!r}; it has {', '.join(contract.labels)}"
        raise UsageError(message)
    if contract.outputs.activation_map is None:
        message = f"the model {contract.identity.name} has no activation map; no heat map can be drawn"
        raise UsageError(message)
    if any(member.resize.aspect != "squash" for member in contract.members):
        message = "heat maps are drawn only for models that see the whole image (aspect squash)"
        raise UsageError(message)


def heat_map(prediction: Prediction, contract: Contract, label: str | None = None) -> "NDArray[np.uint8]":
    """The radiograph with the evidence for the positive labels, or for one label, laid over it.

    Args:
        prediction: made with `keep_radiograph=True`.
        contract: of the model that made it.
        label: as for `evidence`.

    Returns:
        uint8 (rows, columns, 3), BGR as OpenCV has it, of the radiograph's own size.

    Raises:
        UsageError: no activation map, no radiograph kept, or a model that does not see the whole image.
    """
    check_heat_maps(contract, label)
    if prediction.radiograph is None:
        message = "a heat map needs the radiograph: classify with keep_radiograph=True"
        raise UsageError(message)
    pixels = prediction.radiograph.pixels
    rows, columns = pixels.shape
    strength = spread(evidence(prediction, contract, label), prediction.seen, (rows, columns))
    picture = np.empty((rows, columns, 3), np.uint8)
    for top in range(0, rows, BAND_ROWS):
        band = slice(top, top + BAND_ROWS)
        picture[band] = laid_over(pixels[band], strength[band])
    return picture


def spread(logits: "NDArray[np.float32]", seen: Part, shape: tuple[int, int]) -> "NDArray[np.float32]":
    """The strength of evidence, 0 none .. 1 full, over a whole radiograph; none where the network was shown nothing.

    Args:
        logits: (h, w), of `evidence`.
        seen: the part of the radiograph that they cover.
        shape: (rows, columns) of the result.

    Returns:
        float32 (rows, columns).
    """
    import cv2

    rows, columns = shape
    place = slice(round(seen.top * rows), round(seen.bottom * rows))
    beside = slice(round(seen.left * columns), round(seen.right * columns))
    size = max(1, beside.stop - beside.start), max(1, place.stop - place.start)
    strength = np.zeros(shape, np.float32)
    coarse = np.clip(logits / FULL_SCALE_LOGITS, 0, 1)
    strength[place, beside] = cv2.resize(coarse, size, interpolation=cv2.INTER_LINEAR)
    return strength


def colours(strength: "NDArray[np.float32]") -> "NDArray[np.uint8]":
    """The colour of evidence: red, orange, yellow; transparent below a fifth of full strength.

    Args:
        strength: (rows, columns), 0 none .. 1 full.

    Returns:
        uint8 (rows, columns, 4), BGRA as OpenCV has it.
    """
    return _colour_table()[np.rint(strength * 255).astype(np.uint8)]


@functools.cache
def _colour_table() -> "NDArray[np.uint8]":
    places, *channels = np.array(_HUES).T
    red, green, blue, opacity = (np.interp(np.linspace(0, 1, 256), places, channel) for channel in channels)
    return np.asarray(np.rint(np.stack([blue, green, red, opacity], axis=-1)), np.uint8)


def laid_over(pixels: "NDArray[np.uint8]", strength: "NDArray[np.float32]") -> "NDArray[np.uint8]":
    """Gray pixels (rows, columns) with the colour of evidence over them, as BGR (rows, columns, 3)."""
    colour = colours(strength)
    opacity = colour[..., 3:] * np.float32(MAX_OPACITY / 255)
    blended: NDArray[np.float32] = pixels[..., np.newaxis] * (1 - opacity) + colour[..., :3] * opacity
    return np.rint(blended).astype(np.uint8)


def heat_map_png(prediction: Prediction, contract: Contract, label: str | None = None) -> bytes:
    """`heat_map` as the bytes of a PNG file, without any metadata.

    Raises:
        UsageError: as `heat_map`.
        OutputError: OpenCV cannot encode the image.
    """
    import cv2

    try:
        done, encoded = cv2.imencode(".png", heat_map(prediction, contract, label))
    except (cv2.error, MemoryError):
        done = False
    if not done:
        message = "the heat map of one image could not be drawn"
        raise OutputError(message)
    return encoded.tobytes()
