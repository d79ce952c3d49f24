"""The Pixel Data element: is all of it there, does it agree with the data set, and which samples does it hold."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from cxr_edge.decode.codecs import RLE, can_decode
from cxr_edge.decode.codestream import Codestream, is_cut, read_codestream, refuse_many_scans
from cxr_edge.decode.frame import decode_frame
from cxr_edge.decode.image_pixel import ImagePixel
from cxr_edge.decode.tags import Attributes
from cxr_edge.errors import InputError, Reason
from cxr_edge.types import Note

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PIXEL_DATA: Final = "(7FE0,0010) Pixel Data"


@dataclass(frozen=True, slots=True)
class Frame:
    """One compressed frame, compared with the data set."""

    content: bytes


def read_pixel_data(attributes: Attributes, image: ImagePixel) -> bytes | memoryview:
    """Return the element's bytes; of uncompressed pixels, where it can, as they lie in the file's.

    Raises:
        InputError: `no_pixel_data`, `no_decoder`, or `dimensions_disagree` where uncompressed data are too short.
    """
    if not can_decode(image.transfer_syntax):
        shown = _known_uid(image.transfer_syntax)
        raise InputError(Reason.NO_DECODER, f"(0002,0010) Transfer Syntax UID is {shown}; no decoder for it is here")
    value: Any = attributes.dataset["PixelData"].value
    if hasattr(value, "read"):  # pydicom 3 keeps what a caller buffered as a file object
        position = value.tell()
        value.seek(0)
        whole = value.read()
        value.seek(position)
        value = whole
    if not value:
        raise InputError(Reason.NO_PIXEL_DATA, f"{_PIXEL_DATA} is empty; need an image")
    in_place = isinstance(value, memoryview) and not image.is_encapsulated
    pixel_data: bytes | memoryview = value if in_place else bytes(value)
    if not image.is_encapsulated:
        _check_length(len(pixel_data), attributes, image)
    return pixel_data


def _known_uid(uid: str) -> str:
    """Return a UID for a message: whatever else stands in the attribute could be a patient's number."""
    from pydicom.uid import UID

    return uid if UID(uid).name != uid else "none that DICOM knows"


def _check_length(found: int, attributes: Attributes, image: ImagePixel) -> None:
    expected = image.rows * image.columns * image.samples_per_pixel * image.bits_allocated // 8
    if image.photometric_interpretation == "YBR_FULL_422":
        expected = expected * 2 // 3
    if found < expected:
        message = f"{_PIXEL_DATA} holds {found} bytes; Rows x Columns need {expected}"
        raise InputError(Reason.DIMENSIONS_DISAGREE, message)
    if found > expected + expected % 2:
        attributes.notes.append(Note("excess_pixel_data", f"{_PIXEL_DATA} holds {found - expected} bytes too many"))


def read_frame(pixel_data: bytes, image: ImagePixel) -> Frame:
    """Take the compressed frame out, and compare its header with the data set: bombs are headers that lie.

    Raises:
        InputError: `dimensions_disagree`, `truncated`, `too_large` or `decode_failed`.
    """
    from pydicom.encaps import get_frame

    frame = get_frame(pixel_data, 0, number_of_frames=1)
    if image.transfer_syntax == RLE:  # the decoder checks its output against Rows x Columns
        return Frame(frame)
    header = read_codestream(frame)
    if header is None:
        raise InputError(Reason.DECODE_FAILED, "the compressed frame holds no readable image header")
    _check_header(header, image)
    if header.family == "jpeg":
        refuse_many_scans(frame)
    if is_cut(frame):
        raise InputError(Reason.TRUNCATED, f"the compressed frame ends early, after {len(frame)} bytes")
    return Frame(frame)


def _check_header(header: Codestream, image: ImagePixel) -> None:
    if (header.rows, header.columns) != (image.rows, image.columns):
        found = f"the compressed frame is {header.rows} x {header.columns}"
        raise InputError(Reason.DIMENSIONS_DISAGREE, f"{found}; Rows x Columns is {image.rows} x {image.columns}")
    if header.components != image.samples_per_pixel:
        found = f"the compressed frame has {header.components} components"
        raise InputError(Reason.DIMENSIONS_DISAGREE, f"{found}; Samples per Pixel is {image.samples_per_pixel}")
    if header.precision > image.bits_allocated:
        found = f"the compressed frame has {header.precision} bits a sample"
        raise InputError(Reason.DIMENSIONS_DISAGREE, f"{found}; Bits Allocated is {image.bits_allocated}")


def decode_samples(pixel_data: "bytes | memoryview | Frame", image: ImagePixel) -> "NDArray[Any]":
    """Return (rows, columns) or, in RGB, (rows, columns, 3) integers in native byte order.

    Bits beyond Bits Stored are as the container or the decoder gives them.
    """
    if isinstance(pixel_data, Frame):
        return decode_frame(pixel_data.content, image)
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID

    options: dict[str, Any] = {
        "pixel_keyword": "PixelData",
        "pixel_vr": image.pixel_vr,
        "number_of_frames": 1,
        "rows": image.rows,
        "columns": image.columns,
        "samples_per_pixel": image.samples_per_pixel,
        "photometric_interpretation": image.photometric_interpretation,
        "planar_configuration": image.planar_configuration,
        "bits_allocated": image.bits_allocated,
        "bits_stored": image.bits_stored,
        "pixel_representation": image.pixel_representation,
        "correct_unused_bits": False,  # the lookup table does it
        "view_only": True,
    }
    decoder = get_decoder(UID(image.transfer_syntax))
    samples, _ = decoder.as_array(pixel_data, index=0, validate=False, **options)
    return np.ascontiguousarray(samples, dtype=samples.dtype.newbyteorder("="))
