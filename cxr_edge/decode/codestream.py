"""What a compressed frame says about itself, read from its header without decoding anything.

Sources: ISO/IEC 10918-1 B.2 (JPEG), 14495-1 C.2 (JPEG-LS), 15444-1 A.5.1 (JPEG 2000).
"""

import struct
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from cxr_edge.errors import InputError, Reason

Family = Literal["jpeg", "jpeg-ls", "jpeg-2000"]

_SOI: Final = b"\xff\xd8"
_END: Final = b"\xff\xd9"  # EOI of JPEG and JPEG-LS, EOC of JPEG 2000
_SOC_SIZ: Final = b"\xff\x4f\xff\x51"
_JP2_SIGNATURE: Final = b"\0\0\0\x0cjP  \r\n\x87\n"
_BOX_HEADER: Final = 8
_SOS: Final = 0xDA
_SOF_JPEG_LS: Final = 0xF7
# SOF0..SOF15 without DHT (C4), JPG (C8) and DAC (CC)
_SOF_JPEG: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_STANDALONE: Final = frozenset(range(0xD0, 0xD8)) | {0x01}
_FILL: Final = 0xFF
_MOST_SCANS: Final = 200  # progressive writers make about ten; each one costs a pass over the whole image


@dataclass(frozen=True, slots=True)
class Codestream:
    """Header of one compressed frame: sizes in pixels, `precision` in bits a sample."""

    family: Family
    rows: int
    columns: int
    components: int
    precision: int


def read_codestream(frame: bytes) -> Codestream | None:
    """Return the header of a JPEG, JPEG-LS or JPEG 2000 frame; None where there is none, or it is cut or broken."""
    try:
        if frame.startswith(_SOI):
            return _jpeg(frame)
        return _jpeg_2000(frame)
    except (struct.error, IndexError, ValueError):
        return None


def is_cut(frame: bytes) -> bool:
    """Whether the end marker is missing. Frames are padded to even length, and some writers pad with more."""
    return _END not in frame[-16:] and not frame.rstrip(b"\0\xff").endswith(_END)


def refuse_many_scans(jpeg: bytes) -> None:
    """Refuse a JPEG of endless scans. Compressed data never hold the marker: they stuff FF with 00 (10918-1 B.1.1.5).

    Raises:
        InputError: `too_large`.
    """
    content = np.frombuffer(jpeg, np.uint8)
    scans = np.count_nonzero(content[1:][content[:-1] == _FILL] == _SOS)
    if scans > _MOST_SCANS:
        raise InputError(Reason.TOO_LARGE, f"the JPEG has {scans:,} scans; at most {_MOST_SCANS} are read")


def _jpeg(frame: bytes) -> Codestream | None:
    at = len(_SOI)
    while True:
        at = frame.index(_FILL, at)  # decoders skip what stands between segments, so must we
        marker = frame[at + 1]
        if marker == _FILL:
            at += 1
        elif marker == 0 or marker in _STANDALONE:
            at += 2
        elif marker in _SOF_JPEG or marker == _SOF_JPEG_LS:
            precision, rows, columns, components = struct.unpack_from(">BHHB", frame, at + 4)
            family: Family = "jpeg-ls" if marker == _SOF_JPEG_LS else "jpeg"
            return Codestream(family, rows, columns, components, precision)
        elif marker == _SOS:
            return None
        else:
            at += 2 + max(2, struct.unpack_from(">H", frame, at + 2)[0])


def _jpeg_2000(frame: bytes) -> Codestream | None:
    at = _codestream_box(frame) if frame.startswith(_JP2_SIGNATURE) else 0
    if not frame.startswith(_SOC_SIZ, at):
        return None
    right, bottom, left, top = struct.unpack_from(">4I", frame, at + 8)
    components, depth = struct.unpack_from(">HB", frame, at + 40)
    return Codestream("jpeg-2000", bottom - top, right - left, components, (depth & 0x7F) + 1)


def _codestream_box(frame: bytes) -> int:
    """Return where the contiguous codestream box of a JP2 file begins (15444-1 I.4): boxes may hold decoys."""
    at = 0
    while True:
        length, kind = struct.unpack_from(">I4s", frame, at)
        header = _BOX_HEADER
        if length == 1:
            length, header = struct.unpack_from(">Q", frame, at + _BOX_HEADER)[0], 2 * _BOX_HEADER
        if kind == b"jp2c":
            return at + header
        at += max(length, header)
