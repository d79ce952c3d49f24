"""The grayscale transform that a data set's attributes ask for (PS3.3 C.11.1, C.11.2, C.11.6, C.7.5.1.1.2)."""

import math
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np

from cxr_edge.decode.rendering import GrayscaleTransform, LookupTable, Rescale, StoredValues, VoiFunction, Window
from cxr_edge.decode.tags import Attributes, as_list, describe
from cxr_edge.errors import InputError, Reason
from cxr_edge.types import Note

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

_VOI_FUNCTIONS: Final = ("LINEAR", "LINEAR_EXACT", "SIGMOID")
_MOST_ENTRIES: Final = 65536  # written as 0 in a LUT Descriptor
_HALF: Final = 32768


def read_transform(attributes: Attributes, stored: StoredValues) -> GrayscaleTransform:
    """Return how stored values become gray; what had to be decided on the way goes to `attributes.notes`.

    Raises:
        InputError: `malformed`, where a lookup table contradicts its descriptor.
    """
    modality = _modality(attributes, stored)
    return GrayscaleTransform(
        stored=stored,
        modality=modality,
        voi=_voi_lut(attributes, modality, stored) or _window(attributes),
        padding=_padding(attributes, stored),
        inverted=_inverted(attributes),
    )


def _modality(attributes: Attributes, stored: StoredValues) -> LookupTable | Rescale | None:
    items = attributes.value("ModalityLUTSequence")
    if items:
        attributes.notes.append(Note("modality_lut", "(0028,3000) Modality LUT Sequence is applied"))
        return _lookup_table(items[0], "ModalityLUTSequence", attributes, lowest_input=stored.low)
    slope, intercept = _first_number(attributes, "RescaleSlope"), _first_number(attributes, "RescaleIntercept")
    if slope is None and intercept is None:
        return None
    rescale = Rescale(slope=1.0 if slope is None else slope, intercept=intercept or 0.0)
    if rescale.slope == 0 or not math.isfinite(rescale.slope) or not math.isfinite(rescale.intercept):
        raise InputError(Reason.MALFORMED, f"{describe('RescaleSlope')} is 0 or no number; need a finite slope")
    return rescale


def _voi_lut(
    attributes: Attributes, modality: LookupTable | Rescale | None, stored: StoredValues
) -> LookupTable | None:
    items = attributes.value("VOILUTSequence")
    if not items:
        return None
    if len(items) > 1:
        attributes.notes.append(Note("several_windows", f"{len(items)} VOI LUTs; the first one is applied"))
    lowest: float = stored.low
    if isinstance(modality, LookupTable):
        lowest = 0
    elif modality is not None:
        lowest = min(modality.slope * v + modality.intercept for v in (stored.low, stored.high))
    return _lookup_table(items[0], "VOILUTSequence", attributes, lowest_input=lowest)


def _lookup_table(item: "Dataset", sequence: str, attributes: Attributes, *, lowest_input: float) -> LookupTable:
    """Read a LUT item (PS3.3 C.11.1.1.1): descriptor (entries, first input, bits per entry) and data."""
    inside = Attributes(item, attributes.notes)
    little = attributes.dataset.original_encoding[1] is not False
    descriptor = _integers(inside.value("LUTDescriptor"), little=little)
    if len(descriptor) != 3:  # noqa: PLR2004 - the three values of a descriptor
        raise InputError(Reason.MALFORMED, f"{describe(sequence)}: LUT Descriptor needs 3 values")
    count = int(descriptor[0]) & 0xFFFF or _MOST_ENTRIES
    first = int(descriptor[1])
    if first >= _HALF and lowest_input < 0:
        first -= 2 * _HALF  # US or SS: the sign follows the input values
    elif first < 0 <= lowest_input:
        first += 2 * _HALF
    entries = _entries(inside.value("LUTData"), count, little=little)
    if len(entries) < count:
        message = f"{describe(sequence)}: LUT Data holds {len(entries)} entries; its descriptor says {count}"
        raise InputError(Reason.MALFORMED, message)
    entries = entries[:count]
    bits = int(descriptor[2]) & 0xFFFF
    needed = int(entries.max()).bit_length()
    if not 1 <= bits <= 16 or needed > bits:  # noqa: PLR2004 - PS3.3 C.11.1.1.1: 8 to 16
        message = f"{describe(sequence)}: the descriptor says {bits} bits per entry; the data need {needed}"
        attributes.notes.append(Note("lut_depth", message))
        bits = max(8, needed)
    return LookupTable(first=first, entries=entries, bits=bits)


def _entries(data: Any, count: int, *, little: bool) -> "NDArray[np.int64]":  # noqa: ANN401 - bytes, int or list
    """Return LUT Data as 16-bit words, or as bytes where its length says that it is packed."""
    if isinstance(data, bytes) and len(data) in (count, count + count % 2):
        return np.frombuffer(data, dtype=np.uint8).astype(np.int64)
    words = _integers(data, little=little) & 0xFFFF
    if len(words) < count <= 2 * len(words) + 1:
        return words.astype("<u2").view(np.uint8).astype(np.int64)
    return words


def _integers(value: Any, *, little: bool) -> "NDArray[np.int64]":  # noqa: ANN401 - bytes, int or list
    if value is None:
        return np.empty(0, dtype=np.int64)
    if isinstance(value, bytes):  # an ambiguous VR (US or SS or OW) that pydicom left alone
        return np.frombuffer(value[: len(value) // 2 * 2], dtype="<u2" if little else ">u2").astype(np.int64)
    return np.atleast_1d(np.asarray(value, dtype=np.int64))


def _window(attributes: Attributes) -> Window | None:
    count = len(as_list(attributes.value("WindowCenter")))
    center, width = _first_number(attributes, "WindowCenter"), _first_number(attributes, "WindowWidth")
    if center is None or width is None:
        if center is not width:
            message = "one of (0028,1050) Window Center, (0028,1051) Window Width is absent; rendered min-max instead"
            attributes.notes.append(Note("illegal_window", message))
        return None
    if count > 1:
        attributes.notes.append(Note("several_windows", f"{count} windows; the first one is applied"))
    function = attributes.text("VOILUTFunction") or "LINEAR"
    if function not in _VOI_FUNCTIONS:
        attributes.notes.append(Note("voi_function", f"{describe('VOILUTFunction')} is not known; LINEAR is applied"))
        function = "LINEAR"
    return Window(center=center, width=width, function=cast("VoiFunction", function))


def _first_number(attributes: Attributes, keyword: str) -> float | None:
    """Return an attribute's first value; NaN where it is no number."""
    values = as_list(attributes.value(keyword))
    if not values:
        return None
    try:
        return float(values[0])
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _padding(attributes: Attributes, stored: StoredValues) -> tuple[int, int] | None:
    """Return the range of Pixel Padding Value and Pixel Padding Range Limit (PS3.3 C.7.5.1.1.2)."""
    little = attributes.dataset.original_encoding[1] is not False
    limits = []
    for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
        found = _integers(attributes.value(keyword), little=little)
        if len(found):
            pattern = int(found[0]) & ((1 << stored.bits_allocated) - 1)
            limits.append(int(stored.of_patterns()[pattern]))
    return (min(limits), max(limits)) if limits else None


def _inverted(attributes: Attributes) -> bool:
    """Whether low values are white. Presentation LUT Shape decides; MONOCHROME1 where it is absent or IDENTITY.

    Never both: a MONOCHROME1 image whose shape is INVERSE is inverted once (PS3.3 C.11.6, C.7.6.3.1.2).
    """
    shape = attributes.text("PresentationLUTShape")
    return shape == "INVERSE" or attributes.text("PhotometricInterpretation") == "MONOCHROME1"
