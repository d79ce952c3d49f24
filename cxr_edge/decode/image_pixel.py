"""The Image Pixel module (PS3.3 C.7.6.3) of a data set, checked before any pixel is touched."""

from dataclasses import dataclass
from typing import Final

from cxr_edge.decode.codecs import RLE
from cxr_edge.decode.limits import DecodeLimits
from cxr_edge.decode.tags import Attributes, describe
from cxr_edge.errors import InputError, Reason

GRAY: Final = ("MONOCHROME1", "MONOCHROME2")
_COLOUR: Final = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_PALETTE: Final = "PALETTE COLOR"
_CONTAINERS: Final = (8, 16)
_COLOUR_SAMPLES: Final = 3
_PIXEL_VRS: Final = ("OB", "OW", "OB or OW", "UN")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePixel:
    """What the data set says about its pixels. Field names are the standard's."""

    transfer_syntax: str
    rows: int
    columns: int
    samples_per_pixel: int
    photometric_interpretation: str
    planar_configuration: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    pixel_representation: int
    pixel_vr: str

    @property
    def is_encapsulated(self) -> bool:
        """Whether the pixel data are fragments of a compressed stream."""
        return self.transfer_syntax.startswith("1.2.840.10008.1.2.4.") or self.transfer_syntax == RLE


def read_image_pixel(attributes: Attributes, transfer_syntax: str, limits: DecodeLimits) -> ImagePixel:
    """Read and check the module.

    Raises:
        InputError: `malformed`, `unsupported` or `too_large`.
    """
    photometric = attributes.text("PhotometricInterpretation")
    if photometric is None:
        message = f"{describe('PhotometricInterpretation')} is absent; need MONOCHROME1 or MONOCHROME2"
        raise InputError(Reason.MALFORMED, message)
    bits_allocated = _required(attributes, "BitsAllocated")
    bits_stored = _required(attributes, "BitsStored", default=bits_allocated)
    image = ImagePixel(
        transfer_syntax=transfer_syntax,
        rows=_required(attributes, "Rows"),
        columns=_required(attributes, "Columns"),
        samples_per_pixel=_required(attributes, "SamplesPerPixel", default=_samples(photometric)),
        photometric_interpretation=photometric,
        planar_configuration=attributes.integer("PlanarConfiguration") or 0,
        bits_allocated=bits_allocated,
        bits_stored=bits_stored,
        high_bit=_required(attributes, "HighBit", default=bits_stored - 1),
        pixel_representation=attributes.integer("PixelRepresentation") or 0,
        pixel_vr=_pixel_vr(attributes),
    )
    _check_size(image)
    limits.check_size(image.rows, image.columns)
    _check_samples(image)
    return image


def _required(attributes: Attributes, keyword: str, default: int | None = None) -> int:
    found = attributes.integer(keyword)
    found = default if found is None else found
    if found is None:
        raise InputError(Reason.MALFORMED, f"{describe(keyword)} is absent; need a number")
    return found


def _pixel_vr(attributes: Attributes) -> str:
    found = str(attributes.dataset.get_item("PixelData").VR or "OW")  # implicit VR names none
    if found not in _PIXEL_VRS:  # as text or numbers, a list of millions of values would be made of the pixels
        raise InputError(Reason.MALFORMED, f"{describe('PixelData')} has no VR of pixels; need OB or OW")
    return found


def _samples(photometric_interpretation: str) -> int:
    return _COLOUR_SAMPLES if photometric_interpretation in _COLOUR else 1


def _check_size(image: ImagePixel) -> None:
    if image.rows < 1 or image.columns < 1:
        raise InputError(Reason.MALFORMED, f"the image is {image.rows} x {image.columns}; need at least 1 x 1")


def _check_samples(image: ImagePixel) -> None:
    photometric = image.photometric_interpretation
    if photometric not in (*GRAY, *_COLOUR, _PALETTE):
        message = f"{describe('PhotometricInterpretation')} is none that can be rendered"
        raise InputError(Reason.UNSUPPORTED, f"{message}; need MONOCHROME1 or MONOCHROME2")
    if image.samples_per_pixel != _samples(photometric):
        message = f"{describe('SamplesPerPixel')} is {image.samples_per_pixel}"
        raise InputError(Reason.MALFORMED, f"{message}; {photometric} needs {_samples(photometric)}")
    if image.bits_allocated not in _CONTAINERS:
        message = f"{describe('BitsAllocated')} is {image.bits_allocated}; need 8 or 16"
        raise InputError(Reason.UNSUPPORTED, message)
    for keyword, found, low, high in (
        ("BitsStored", image.bits_stored, 1, image.bits_allocated),
        ("HighBit", image.high_bit, image.bits_stored - 1, image.bits_allocated - 1),
        ("PixelRepresentation", image.pixel_representation, 0, 1),
        ("PlanarConfiguration", image.planar_configuration, 0, 1),
    ):
        if not low <= found <= high:
            raise InputError(Reason.MALFORMED, f"{describe(keyword)} is {found}; need {low} to {high}")
