"""What a file is, by its content alone: its name and suffix are never looked at."""

import re
from enum import Enum
from typing import Final

from cxr_edge.errors import InputError, Reason

_PREAMBLE_BYTES: Final = 128
_MAGIC: Final = b"DICM"
# WebP is RIFF....WEBP; every other raster begins with its own magic.
_RASTERS: Final = ((b"\xff\xd8\xff", "JPEG"), (b"\x89PNG\r\n\x1a\n", "PNG"), (b"BM", "BMP"))
_TIFF: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_OTHERS: Final = (
    (re.compile(rb"%PDF-"), "a PDF document"),
    (re.compile(rb"GIF8[79]a"), "a GIF image"),
    (re.compile(rb"\s*<(!doctype html|html|head|body)\b", re.IGNORECASE), "an HTML page"),
    (re.compile(rb"\s*<\?xml"), "an XML document"),
    (re.compile(rb"PK\x03\x04"), "a ZIP archive"),
    (re.compile(rb"\x1f\x8b"), "a gzip archive"),
    (re.compile(rb"\0\0\0\x0cjP  \r\n"), "a bare JPEG 2000 image"),
    (re.compile(rb"\xff\x4f\xff\x51"), "a bare JPEG 2000 codestream"),
    (re.compile(rb"....ftyp(heic|heix|mif1|avif)", re.DOTALL), "a HEIF or AVIF image"),
)
_NEED: Final = "need DICOM, JPEG, PNG, WebP, TIFF or BMP"
# First groups a data set can begin with: file meta, directory, identifying. Command sets never reach a file.
_FIRST_GROUPS: Final = (0x0002, 0x0004, 0x0008)
_SHORTEST_ELEMENT: Final = 8


class FileFormat(Enum):
    """The formats that can be read. Values of the raster formats are Pillow's names."""

    DICOM = "DICOM"
    DICOM_WITHOUT_PREAMBLE = "DICOM without preamble"
    JPEG = "JPEG"
    PNG = "PNG"
    WEBP = "WEBP"
    TIFF = "TIFF"
    BMP = "BMP"


def sniff(data: bytes) -> FileFormat:
    """Return the format of a whole file from its first bytes.

    Raises:
        InputError: `empty`, `truncated` or `unknown_format`.
    """
    if not data:
        raise InputError(Reason.EMPTY, f"the file holds 0 bytes; {_NEED}")
    magic = data[_PREAMBLE_BYTES : _PREAMBLE_BYTES + len(_MAGIC)]
    if magic == _MAGIC:
        return FileFormat.DICOM
    if raster := _raster(data):
        return raster
    if magic and _MAGIC.startswith(magic) and len(data) < _PREAMBLE_BYTES + len(_MAGIC):
        raise InputError(Reason.TRUNCATED, f"the file ends inside the DICOM prefix, after {len(data)} bytes")
    for pattern, name in _OTHERS:
        if pattern.match(data):
            raise InputError(Reason.UNKNOWN_FORMAT, f"the file is {name}; {_NEED}")
    if begins_like_a_data_set(data):
        return FileFormat.DICOM_WITHOUT_PREAMBLE
    raise InputError(Reason.UNKNOWN_FORMAT, f"the content is of no known format; {_NEED}")


def _raster(data: bytes) -> FileFormat | None:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return FileFormat.WEBP
    if data[:4] in _TIFF:
        return FileFormat.TIFF
    for magic, name in _RASTERS:
        if data.startswith(magic):
            return FileFormat(name)
    return None


def begins_like_a_data_set(data: bytes) -> bool:
    """Whether the first element has a group that files begin with and a length that fits into the file."""
    if len(data) < _SHORTEST_ELEMENT:
        return False
    if int.from_bytes(data[:2], "little") in _FIRST_GROUPS:
        length = int.from_bytes(data[4:8], "little")
    elif int.from_bytes(data[:2], "big") in _FIRST_GROUPS:
        length = int.from_bytes(data[4:8], "big")
    else:
        return False
    explicit = data[4:6].isalpha() and data[4:6].isupper()
    return explicit or length <= len(data)
