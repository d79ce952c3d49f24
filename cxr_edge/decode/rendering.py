"""From stored values to 8-bit gray as DICOM PS3.3 C.11 says, collapsed into one lookup table.

    stored value --Modality LUT | rescale--> modality value --VOI LUT | window | min-max--> 0..1 --polarity--> floor

The table has one entry per bit pattern of the container (8 or 16 bits), so masking junk bits, sign extension and
clamping of lossy overshoot cost nothing per pixel.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from cxr_edge.decode.table_lookup import look_up
from cxr_edge.types import Note

if TYPE_CHECKING:
    from numpy.typing import NDArray

RENDERING_NAME: Final = "ps3.3-c11-floor8"
_WHITE: Final = 255
VoiFunction = Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredValues:
    """What a bit pattern of the container means (PS3.5 8.1.1).

    Attributes:
        bits_allocated: 8 or 16, the container.
        bits_stored: 1..bits_allocated.
        high_bit: index of the most significant stored bit.
        signed: two's complement (Pixel Representation 1).
        clamp: the decoder gave whole numbers that may overshoot the range, as lossy codecs do; else bits beyond
            `high_bit` are junk or overlays and are cut off.
    """

    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    clamp: bool

    @property
    def low(self) -> int:
        """Smallest stored value."""
        return -(1 << (self.bits_stored - 1)) if self.signed else 0

    @property
    def high(self) -> int:
        """Largest stored value."""
        return (1 << (self.bits_stored - 1)) - 1 if self.signed else (1 << self.bits_stored) - 1

    def of_patterns(self) -> "NDArray[np.int64]":
        """Return the stored value of each of the 2^bits_allocated bit patterns, in the order of the patterns."""
        patterns = np.arange(1 << self.bits_allocated, dtype=np.int64)
        if self.clamp:
            decoded = _sign_extend(patterns, self.bits_allocated) if self.signed else patterns
            return np.clip(decoded, self.low, self.high)
        shifted = patterns >> (self.high_bit + 1 - self.bits_stored)
        masked = shifted & ((1 << self.bits_stored) - 1)
        return _sign_extend(masked, self.bits_stored) if self.signed else masked


@dataclass(frozen=True, slots=True, kw_only=True)
class LookupTable:
    """A Modality or VOI LUT (PS3.3 C.11.1.1, C.11.2.1.1): `entries` [n], for inputs from `first` on, `bits` deep."""

    first: int
    entries: "NDArray[np.int64]"
    bits: int

    def apply(self, values: "NDArray[np.float64]") -> "NDArray[np.float64]":
        """Return the entry for each value; inputs outside the table take its first or last entry."""
        index = np.clip(np.floor(values) - self.first, 0, len(self.entries) - 1).astype(np.int64)
        found: NDArray[np.int64] = self.entries[index]
        return found.astype(np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescale:
    """modality value = slope x stored value + intercept (PS3.3 C.11.1.1.2)."""

    slope: float
    intercept: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A window in modality values with its function (PS3.3 C.11.2.1.2, C.11.2.1.3)."""

    center: float
    width: float
    function: VoiFunction

    @property
    def is_legal(self) -> bool:
        """C.11.2.1.2.1: a LINEAR width is at least 1; the other functions need one above 0."""
        if not (np.isfinite(self.center) and np.isfinite(self.width)):
            return False
        return self.width >= 1 if self.function == "LINEAR" else self.width > 0

    def apply(self, values: "NDArray[np.float64]") -> "NDArray[np.float64]":
        """Return 0..1 for each modality value."""
        if self.function == "SIGMOID":
            with np.errstate(over="ignore"):
                gray: NDArray[np.float64] = 1 / (1 + np.exp(-4 * (values - self.center) / self.width))
            return gray
        if self.function == "LINEAR_EXACT":
            return np.clip((values - self.center) / self.width + 0.5, 0, 1)
        center, width = self.center - 0.5, self.width - 1
        if width == 0:  # a threshold: C.11.2.1.2.1 allows width 1
            return (values > center).astype(np.float64)
        return np.clip((values - center) / width + 0.5, 0, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class GrayscaleTransform:
    """Everything that decides how stored values become gray.

    Attributes:
        stored: what the container's bit patterns mean.
        modality: Modality LUT or rescale; None is the identity.
        voi: VOI LUT or window; None is min-max over the image without its padding.
        padding: stored values (low, high), both included, that are no image (PS3.3 C.7.5.1.1.2).
        inverted: low values are white.
    """

    stored: StoredValues
    modality: LookupTable | Rescale | None
    voi: LookupTable | Window | None
    padding: tuple[int, int] | None
    inverted: bool


def render(samples: "NDArray[Any]", transform: GrayscaleTransform) -> "tuple[NDArray[np.uint8], str, list[Note]]":
    """Render an image to 8-bit gray.

    Args:
        samples: (rows, columns) integers of `bits_allocated` bits, as the decoder gave them.
        transform: how stored values become gray.

    Returns:
        uint8 (rows, columns), C-contiguous; the name of the road taken; notes.
    """
    patterns = samples.view(np.dtype(f"u{samples.dtype.itemsize}"))
    stored = transform.stored.of_patterns()
    values = _modality(stored, transform.modality)
    notes: list[Note] = []
    voi = transform.voi
    if isinstance(voi, Window) and not voi.is_legal:
        message = f"{voi.function} window of illegal width or center (PS3.3 C.11.2.1.2); rendered min-max instead"
        notes.append(Note("illegal_window", message))
        voi = None
    if voi is None:
        road, (low, high) = "minmax", _extent(patterns, stored, values, transform.padding)
        if low == high:
            notes.append(Note("constant_image", "every pixel of the image has the same value"))
        gray = np.clip((values - low) / (high - low or 1), 0, 1)
    elif isinstance(voi, LookupTable):
        road, gray = "voi-lut", np.clip(voi.apply(values) / ((1 << voi.bits) - 1), 0, 1)
    else:
        road, gray = "window", voi.apply(values)
    gray = 1 - gray if transform.inverted else gray
    # a product that is a whole number must not fall below it by a rounding error of float64
    table = np.floor(gray * _WHITE + 1e-9).astype(np.uint8)
    return look_up(table, patterns), f"{RENDERING_NAME}/{road}{'+inverted' if transform.inverted else ''}", notes


def _modality(stored: "NDArray[np.int64]", modality: LookupTable | Rescale | None) -> "NDArray[np.float64]":
    values = stored.astype(np.float64)
    if modality is None:
        return values
    if isinstance(modality, LookupTable):
        return modality.apply(values)
    return values * modality.slope + modality.intercept


def _extent(
    patterns: "NDArray[Any]",
    stored: "NDArray[np.int64]",
    values: "NDArray[np.float64]",
    padding: tuple[int, int] | None,
) -> tuple[float, float]:
    """Return the smallest and largest modality value of the image, without its padding."""
    if padding is None:
        first, last = int(patterns.min()), int(patterns.max())
        between = values[first : last + 1]
        steps = np.diff(between)
        if (steps >= 0).all() or (steps <= 0).all():  # then the extreme patterns, which occur, have the extreme values
            return float(min(between[0], between[-1])), float(max(between[0], between[-1]))
    present = np.zeros(len(stored), dtype=np.bool_)
    present[patterns] = True
    if padding is not None:
        outside = present & ((stored < padding[0]) | (stored > padding[1]))
        present = outside if outside.any() else present  # all padding: then it is the image
    found = values[present]
    return float(found.min()), float(found.max())


def _sign_extend(values: "NDArray[np.int64]", bits: int) -> "NDArray[np.int64]":
    half = 1 << (bits - 1)
    return (values ^ half) - half
