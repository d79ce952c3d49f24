"""A DICOM data set -> Radiograph, or one clear reason why not."""

from typing import TYPE_CHECKING, Any, Final

from cxr_edge.decode.codecs import LOSSY, RLE
from cxr_edge.decode.dataset import parse_file
from cxr_edge.decode.foreign import foreign
from cxr_edge.decode.grayscale import read_transform
from cxr_edge.decode.hush import hushed
from cxr_edge.decode.image_pixel import GRAY, ImagePixel, read_image_pixel
from cxr_edge.decode.limits import DecodeLimits
from cxr_edge.decode.pixel_data import Frame, decode_samples, read_frame, read_pixel_data
from cxr_edge.decode.rendering import StoredValues, render
from cxr_edge.decode.sniff import FileFormat
from cxr_edge.decode.tags import Attributes, describe, read_source, read_tags
from cxr_edge.errors import InputError, Reason
from cxr_edge.types import Note, Radiograph

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

_EXPLICIT_LITTLE: Final = "1.2.840.10008.1.2.1"
_EXPLICIT_BIG: Final = "1.2.840.10008.1.2.2"
_OVERLAY_GROUPS: Final = range(0x6000, 0x6100)


def decode_file(data: bytes, file_format: FileFormat, path: str | None, limits: DecodeLimits) -> Radiograph:
    """Decode the bytes of a DICOM file.

    Raises:
        InputError: with the reason why it cannot be classified.
    """
    with hushed():
        with foreign(Reason.MALFORMED, "the data set cannot be parsed"):
            parsed = parse_file(data, file_format, limits)
        attributes = Attributes(parsed.dataset, list(parsed.notes))
        return _decode(attributes, parsed.transfer_syntax, path, limits)


def decode_pydicom(dataset: "Dataset", limits: DecodeLimits) -> Radiograph:
    """Decode a caller's data set without changing it.

    Raises:
        InputError: with the reason why it cannot be classified.
    """
    with hushed():
        with foreign(Reason.MALFORMED, "the data set cannot be read"):
            from pydicom.dataset import Dataset as PydicomDataset

            # Elements are converted on access: in a copy, so that the caller's stay as they are
            private = PydicomDataset({element.tag: element for element in dataset.values()})
            little = dataset.original_encoding[1] is not False
            private.set_original_encoding(dataset.original_encoding[0] is True, little)
            meta = getattr(dataset, "file_meta", None) or {}
            assumed = _EXPLICIT_LITTLE if little else _EXPLICIT_BIG
            transfer_syntax = str(meta.get("TransferSyntaxUID") or assumed)
        return _decode(Attributes(private), transfer_syntax, None, limits)


def _decode(attributes: Attributes, transfer_syntax: str, path: str | None, limits: DecodeLimits) -> Radiograph:
    with foreign(Reason.MALFORMED, "the data set cannot be read"):
        tags, source = read_tags(attributes), read_source(attributes, path)
    try:
        pixels, rendering = _decode_pixels(attributes, transfer_syntax, limits)
    except InputError as error:  # a rejection, too, belongs to its study
        error.sop_instance_uid, error.study_instance_uid = source.sop_instance_uid, source.study_instance_uid
        raise
    return Radiograph(pixels=pixels, rendering=rendering, source=source, tags=tags, notes=tuple(attributes.notes))


def _decode_pixels(
    attributes: Attributes, transfer_syntax: str, limits: DecodeLimits
) -> "tuple[NDArray[np.uint8], str]":
    with foreign(Reason.MALFORMED, "the data set cannot be read"):
        _refuse_what_is_no_single_image_for_presentation(attributes)
        image = read_image_pixel(attributes, transfer_syntax, limits)
        value = read_pixel_data(attributes, image)
        pixel_data: bytes | memoryview | Frame = read_frame(bytes(value), image) if image.is_encapsulated else value
        _note_what_is_not_shown(attributes)
    with foreign(Reason.DECODE_FAILED, "the pixel data cannot be decoded"):
        samples = decode_samples(pixel_data, image)
    with foreign(Reason.MALFORMED, "the image cannot be rendered"):
        return _to_gray(samples, image, attributes)


def _refuse_what_is_no_single_image_for_presentation(attributes: Attributes) -> None:
    if "PixelData" not in attributes.dataset:
        if "FloatPixelData" in attributes.dataset or "DoubleFloatPixelData" in attributes.dataset:
            raise InputError(Reason.UNSUPPORTED, "pixel data are floating point; need (7FE0,0010) Pixel Data")
        raise InputError(Reason.NO_PIXEL_DATA, "(7FE0,0010) Pixel Data is absent; need an image")
    if attributes.text("PresentationIntentType") == "FOR PROCESSING":
        message = f"{describe('PresentationIntentType')} is FOR PROCESSING; need FOR PRESENTATION"
        raise InputError(Reason.FOR_PROCESSING, message)
    frames = attributes.integer("NumberOfFrames")
    if frames is not None and frames != 1:
        reason = Reason.MULTI_FRAME if frames > 1 else Reason.MALFORMED
        raise InputError(reason, f"{describe('NumberOfFrames')} is {frames}; need 1")


def _to_gray(samples: "NDArray[Any]", image: ImagePixel, attributes: Attributes) -> "tuple[NDArray[np.uint8], str]":
    if image.photometric_interpretation in GRAY:
        transform = read_transform(attributes, _stored_values(samples, image))
        pixels, rendering, notes = render(samples, transform)
        attributes.notes += notes
        return pixels, rendering
    from cxr_edge.decode.colour import colour_to_gray

    found = f"{describe('PhotometricInterpretation')} is {image.photometric_interpretation}"
    attributes.notes.append(Note("colour_converted", f"{found}; converted to gray"))
    return colour_to_gray(samples, image.photometric_interpretation, attributes)


def _stored_values(samples: "NDArray[Any]", image: ImagePixel) -> StoredValues:
    """A native or RLE container keeps its bits where High Bit says; other decoders give whole numbers."""
    in_container = not image.is_encapsulated or image.transfer_syntax == RLE
    return StoredValues(
        bits_allocated=8 * samples.dtype.itemsize,
        bits_stored=image.bits_stored,
        high_bit=image.high_bit if in_container else image.bits_stored - 1,
        signed=image.pixel_representation == 1,
        clamp=image.transfer_syntax in LOSSY,
    )


def _note_what_is_not_shown(attributes: Attributes) -> None:
    if any(tag >> 16 in _OVERLAY_GROUPS for tag in attributes.dataset.keys()):  # noqa: SIM118 - iterating gives elements
        attributes.notes.append(Note("overlay_ignored", "the image has overlays (60xx); they are not drawn"))
    ratio = attributes.text("PixelAspectRatio")
    if ratio is not None and len(set(ratio.split("\\"))) > 1:
        message = "(0028,0034) Pixel Aspect Ratio is not 1:1; it is not applied"
        attributes.notes.append(Note("pixel_aspect_ratio", message))
