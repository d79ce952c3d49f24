"""Bytes or a pydicom data set -> `Radiograph`. The format is told by content, never by name."""

from typing import TYPE_CHECKING

from cxr_edge.contract.schema import Rendering
from cxr_edge.decode.codecs import available_codecs
from cxr_edge.decode.limits import DecodeLimits
from cxr_edge.decode.sniff import FileFormat, sniff
from cxr_edge.errors import InputError, Reason
from cxr_edge.types import Radiograph

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["DecodeLimits", "available_codecs", "decode", "decode_dataset"]

_DEFAULT_LIMITS = DecodeLimits()


def decode(
    data: bytes, rendering: Rendering, *, path: str | None = None, limits: DecodeLimits = _DEFAULT_LIMITS
) -> Radiograph:
    """Decode one whole file: DICOM, JPEG, PNG, WebP, TIFF or BMP.

    Args:
        data: the file's bytes.
        rendering: how files become 8-bit gray, from the model's contract.
        path: kept in `Radiograph.source`; never opened, never looked at.
        limits: caps that are checked before decoding.

    Returns:
        The image in 8-bit gray, with its tags where it carries any.

    Raises:
        InputError: why it cannot be classified, with a reason code.
    """
    if len(data) > limits.file_bytes:
        message = f"the file holds {len(data):,} bytes; at most {limits.file_bytes:,} are read"
        raise InputError(Reason.TOO_LARGE, message)
    file_format = sniff(data)
    if file_format in (FileFormat.DICOM, FileFormat.DICOM_WITHOUT_PREAMBLE):
        from cxr_edge.decode.dicom import decode_file

        return decode_file(data, file_format, path, limits)
    from cxr_edge.decode.image import decode_image

    return decode_image(data, file_format, rendering, path, limits)


def decode_dataset(dataset: "Dataset", rendering: Rendering, *, limits: DecodeLimits = _DEFAULT_LIMITS) -> Radiograph:
    """Decode a pydicom data set, as a PACS script holds it. The data set is not changed.

    Args:
        dataset: with Pixel Data; its `file_meta` names the transfer syntax, uncompressed is assumed where it is absent.
        rendering: how data sets become 8-bit gray, from the model's contract.
        limits: caps that are checked before decoding.

    Returns:
        The image in 8-bit gray with its tags.

    Raises:
        InputError: why it cannot be classified, with a reason code.
    """
    del rendering  # version 1 of the contract knows one DICOM rendering only; the schema refuses any other
    from cxr_edge.decode.dicom import decode_pydicom

    return decode_pydicom(dataset, limits)
