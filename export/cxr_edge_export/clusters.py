"""Parts of a set of images that differ from the rest by themselves: by where they are from, not by what they show."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Masks = dict[str, NDArray[np.bool_]]

BORDER_PIXELS, FLAT = 4, 1.0  # an edge so wide with a smaller standard deviation, in gray levels, is a border


class Look(NamedTuple):
    """What one image looks like at a glance: mean and standard deviation in gray levels, columns per row, a border."""

    exposure: float
    contrast: float
    aspect: float
    bordered: bool


def edges(pixels: "NDArray[np.uint8]") -> "tuple[NDArray[np.uint8], ...]":
    """Upper, lower, left and right edge, `BORDER_PIXELS` wide, of uint8 (rows, columns)."""
    return pixels[:BORDER_PIXELS], pixels[-BORDER_PIXELS:], pixels[:, :BORDER_PIXELS], pixels[:, -BORDER_PIXELS:]


def look(pixels: "NDArray[np.uint8]") -> Look:
    """Of uint8 (rows, columns)."""
    bordered = min(float(edge.std()) for edge in edges(pixels)) < FLAT
    return Look(float(pixels.mean()), float(pixels.std()), pixels.shape[1] / pixels.shape[0], bordered)


def by_look(looks: Sequence[Look]) -> "Masks":
    """By exposure, contrast, borders and aspect ratio: name -> bool [N]; a part may be empty."""
    found: Masks = {}
    for name, values in (("exposure", [one.exposure for one in looks]), ("contrast", [one.contrast for one in looks])):
        low, high = np.quantile(values, [1 / 3, 2 / 3])
        found[f"the third of lowest {name}"] = np.array(values) <= low
        found[f"the third of highest {name}"] = np.array(values) >= high
    bordered, aspect = np.array([one.bordered for one in looks]), np.array([one.aspect for one in looks])
    found |= {"those with a border": bordered, "those without a border": ~bordered}
    if aspect.std() > 0:
        wider = aspect >= np.median(aspect)
        found |= {"the wider half": wider, "the narrower half": ~wider}
    return found


def by_name(names: Sequence[str]) -> "Masks":
    """By file names without their numbers and suffix, as every archive has its own way of naming."""
    families = np.array([re.sub(r"\d+", "#", name.rpartition(".")[0] or name) for name in names])
    return {f"those named {family}": families == family for family in sorted(set(families.tolist()))}
