"""Whether all of a file has arrived, as far as its content can tell.

A copy in progress is shorter than its original, or, where the copying program reserves the space beforehand
(Windows does, over SMB too), as long but with zeros at the end. JPEG, PNG, TIFF, WebP and BMP say where they end;
DICOM is judged by its decoder, which finds every cut of its pixel data. What nothing in the file can tell: zeros at
the end of uncompressed samples (DICOM, BMP, TIFF) and of WebP's, which decode to a partly black or broken image.
Only that the file stays as it is can tell those, so `ends_blank` asks for more patience.
"""

import re
import struct
import zlib
from collections.abc import Callable
from typing import Final

from cxr_edge.decode.sniff import FileFormat, begins_like_a_data_set, sniff
from cxr_edge.errors import InputError, Reason

# What the decoder says of real files cut at any length; a copy with its end still zero gives these, too
MAY_STILL_GROW: Final = frozenset(
    {
        Reason.EMPTY,
        Reason.UNKNOWN_FORMAT,
        Reason.TRUNCATED,
        Reason.MALFORMED,
        Reason.NO_PIXEL_DATA,
        Reason.DECODE_FAILED,
    }
)
UNFINISHED: Final = frozenset({Reason.TRUNCATED, Reason.EMPTY})  # at the deadline; the others are what they are
BLANK_BYTES: Final = 64  # zeros at the end of a file that make it look like a copy in progress
_PREFIX_BYTES: Final = 132  # what the format is told by
_DICOM: Final = (FileFormat.DICOM, FileFormat.DICOM_WITHOUT_PREAMBLE)
_PROVEN: Final = (FileFormat.JPEG, FileFormat.PNG)  # their last bytes are looked at, not only counted
_MOST_PARTS: Final = 65_536  # segments or chunks that are followed; beyond, the decoder judges

_MARKER: Final = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]", re.DOTALL)  # stuffing, TEM, RSTn and fill bytes are none
_SOI, _EOI = 0xD8, 0xD9
_PNG_SIGNATURE_BYTES: Final = 8
_PNG_ANCILLARY: Final = 0x20  # lower case first letter
_TIFF_OFFSETS: Final = (273, 324)  # StripOffsets, TileOffsets
_TIFF_BYTE_COUNTS: Final = (279, 325)  # StripByteCounts, TileByteCounts
_TIFF_BYTES: Final = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}  # by type; else 1
_TIFF_INTEGERS: Final = {3: "H", 4: "I", 16: "Q"}
_TIFF_MOST_DIRECTORIES: Final = 16
_TIFF_MOST_TAGS: Final = 4096
_TIFF_MOST_STRIPS: Final = 1_000_000


def end_of_content(content: bytes) -> str | None:
    """What is missing of a raster file; None when it is whole, or when the decoder has to judge (DICOM, unknown).

    A file without its end marker that a decoder would read all the same is not whole. Linear in time; never raises.
    """
    try:
        judge = _JUDGES.get(sniff(content))
        return judge(content) if judge else None
    except InputError:  # of no known format; the decoder says so
        return None
    except (struct.error, OverflowError):  # OverflowError: an offset beyond any memory
        return "the file ends inside a header"


def ends_blank(content: bytes) -> bool:
    """Whether the end may not have been written yet: it is nothing but zeros. Black borders are, too."""
    return bool(content) and not any(content[-BLANK_BYTES:])


def may_still_grow(reason: Reason, content: bytes) -> bool:
    """Whether a rejection may be for what has not arrived yet, so that it has to wait; else it is final at once.

    Where zeros at the end look like reserved space, `too_large` may be such a rejection: a data set of thousands of
    empty elements. A JPEG or PNG that `end_of_content` calls whole stays what it is, and so does a format that is
    told from the first 132 bytes.
    """
    if ends_blank(content):
        return reason in MAY_STILL_GROW or reason is Reason.TOO_LARGE
    if reason not in MAY_STILL_GROW:
        return False
    try:
        file_format = sniff(content)
    except InputError:
        return len(content) < _PREFIX_BYTES or not any(content[:_PREFIX_BYTES]) or _grows_into_a_data_set(content)
    if file_format in _DICOM:
        return reason is not Reason.DECODE_FAILED  # a frame that is there to its end marker
    return file_format not in _PROVEN or reason is Reason.TRUNCATED or end_of_content(content) is not None


def _grows_into_a_data_set(content: bytes) -> bool:
    """Whether only the length of its first element is beyond a file that is DICOM without preamble."""
    return begins_like_a_data_set(content[:4] + b"UI" + content[6:])


def _webp(content: bytes) -> str | None:
    return _says(len(content), 8 + int.from_bytes(content[4:8], "little"))


def _bmp(content: bytes) -> str | None:
    return _says(len(content), struct.unpack_from("<I", content, 2)[0])


def _says(held: int, needed: int) -> str | None:
    return None if held >= needed else f"the header says {needed} bytes; {held} are there"


def _jpeg(content: bytes) -> str | None:
    """Walk the segments (ISO/IEC 10918-1 B.1.1): a thumbnail inside one has an end marker, too."""
    at = 2
    for _ in range(_MOST_PARTS):
        if (found := _MARKER.search(content, at)) is None:
            return "the end marker (EOI)"
        marker, at = content[found.start() + 1], found.end()
        if marker == _EOI:
            return None
        if marker != _SOI:
            at += max(2, struct.unpack_from(">H", content, at)[0])
    return None


def _png(content: bytes) -> str | None:
    """Walk the chunks to IEND (ISO/IEC 15948 5.3); check the CRC of those that make the image, which Pillow does not.

    Without it, zeros at the end of the image data decode to black lines.
    """
    view = memoryview(content)
    at = _PNG_SIGNATURE_BYTES
    for _ in range(_MOST_PARTS):
        length, kind = struct.unpack_from(">I4s", view, at)
        end = at + 12 + length
        if end > len(view):
            return "the end of a chunk"
        if not kind[0] & _PNG_ANCILLARY and zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(view[end - 4 : end]):
            return "bytes inside a chunk: its CRC differs"
        if kind == b"IEND":
            return None
        at = end
    return None


def _tiff(content: bytes) -> str | None:
    """Compare where the directories and the strips or tiles end with the file's length (TIFF 6.0, BigTIFF)."""
    order = "<" if content[:2] == b"II" else ">"
    big = ord("+") in content[2:4]
    (offset,) = struct.unpack_from(order + ("Q" if big else "I"), content, 8 if big else 4)
    for _ in range(_TIFF_MOST_DIRECTORIES):
        tags, offset = _tiff_directory(content, offset, order, big=big)
        for offsets, byte_counts in zip(_TIFF_OFFSETS, _TIFF_BYTE_COUNTS, strict=True):
            ends = map(sum, zip(tags.get(offsets, ()), tags.get(byte_counts, ()), strict=False))
            if max(ends, default=0) > len(content):
                return "the end of a strip or tile"
        if not offset:
            return None
    return None


def _tiff_directory(content: bytes, offset: int, order: str, *, big: bool) -> tuple[dict[int, tuple[int, ...]], int]:
    """Return the values of the tags that say where the image is, and the offset of the next directory.

    Raises:
        struct.error: something of it lies beyond the file, or is not written yet.
    """
    number, word, held = ("Q", "Q", 8) if big else ("H", "I", 4)
    entry = struct.Struct(f"{order}HH{word}")
    (count,) = struct.unpack_from(order + number, content, offset)
    at = offset + struct.calcsize(order + number)
    size = entry.size + held
    (following,) = struct.unpack_from(order + word, content, at + count * size)
    if not count:
        raise struct.error
    tags: dict[int, tuple[int, ...]] = {}
    for here in range(at, at + min(count, _TIFF_MOST_TAGS) * size, size):
        tag, kind, values = entry.unpack_from(content, here)
        place, needed = here + entry.size, values * _TIFF_BYTES.get(kind, 1)
        if needed > held:
            (place,) = struct.unpack_from(order + word, content, place)
        if place + needed > len(content):
            raise struct.error
        if tag in _TIFF_OFFSETS + _TIFF_BYTE_COUNTS and kind in _TIFF_INTEGERS and tag not in tags:
            layout = f"{order}{min(values, _TIFF_MOST_STRIPS)}{_TIFF_INTEGERS[kind]}"
            tags[tag] = struct.unpack_from(layout, content, place)
    return tags, following


_JUDGES: Final[dict[FileFormat, Callable[[bytes], str | None]]] = {
    FileFormat.JPEG: _jpeg,
    FileFormat.PNG: _png,
    FileFormat.TIFF: _tiff,
    FileFormat.WEBP: _webp,
    FileFormat.BMP: _bmp,
}
