"""JPEG, PNG, WebP, TIFF and BMP -> Radiograph through Pillow, exactly as training read its images.

Training converts with `PIL.Image.convert("L")`, so that is what every mode gets: colour by Pillow's formula, palette
through its colours, alpha dropped, CMYK through RGB. Deeper samples have no defined window and are refused.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import numpy as np

from cxr_edge.contract.schema import Rendering
from cxr_edge.decode.codestream import refuse_many_scans
from cxr_edge.decode.foreign import foreign
from cxr_edge.decode.hush import hushed
from cxr_edge.decode.limits import DecodeLimits
from cxr_edge.decode.sniff import FileFormat
from cxr_edge.errors import InputError, Reason
from cxr_edge.types import Note, Radiograph, Source

if TYPE_CHECKING:
    from PIL import Image

_GRAY_MODES: Final = ("1", "L")
_VIA_RGB: Final = ("P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr")
_WITH_ALPHA: Final = ("LA", "La", "PA", "RGBA", "RGBa")
_BITS: Final = 8
_PNG_DEPTH_AT: Final = 24
_TIFF_BITS_PER_SAMPLE: Final = 258
_EXIF_ORIENTATION: Final = 0x0112
_UPRIGHT: Final = 1
_TURNED: Final = Note("exif_orientation_applied", "the image was turned as its EXIF orientation says")


def decode_image(
    data: bytes, file_format: FileFormat, rendering: Rendering, path: str | None, limits: DecodeLimits
) -> Radiograph:
    """Decode the bytes of a raster file.

    Raises:
        InputError: `malformed`, `truncated`, `too_large`, `multi_frame`, `unsupported` or `decode_failed`.
    """
    with hushed():
        with foreign(Reason.MALFORMED, f"the {file_format.value} header cannot be read"):
            if file_format is FileFormat.WEBP:  # Pillow allocates the canvas on opening
                columns, rows = _webp_size(data)
                limits.check_size(rows, columns)
            elif file_format is FileFormat.JPEG:
                refuse_many_scans(data)
            image = _open(data, file_format)
            limits.check_size(image.height, image.width)
            _check(image, data, file_format)
        with foreign(Reason.DECODE_FAILED, f"the {file_format.value} cannot be decoded"):
            turned_on_loading = file_format is FileFormat.TIFF and _orientation(image) != _UPRIGHT
            _load(image)
            notes = _notes(image)
            gray, name = _to_gray(image), f"{rendering.colour}/{image.mode.lower()}"
            if turned_on_loading:  # by Pillow: whatever training did with other formats, TIFF came to it so
                notes.append(_TURNED)
                name = f"{name}+exif"
            elif _orientation(image) != _UPRIGHT:
                gray, name = _orient(gray, _orientation(image), rendering, name, notes)
            pixels = np.array(gray, dtype=np.uint8)
    return Radiograph(pixels=pixels, rendering=name, source=Source(path=path), tags=None, notes=tuple(notes))


def _open(data: bytes, file_format: FileFormat) -> "Image.Image":
    from PIL import Image

    try:
        with _truncation():
            return Image.open(io.BytesIO(data), formats=[file_format.value])
    except Image.DecompressionBombError:
        raise InputError(Reason.TOO_LARGE, "the image is larger than any radiograph") from None


def _webp_size(data: bytes) -> tuple[int, int]:
    """Return (columns, rows) of a WebP file's canvas (RFC 9649 2.4 to 2.7)."""
    if len(data) < 8 + int.from_bytes(data[4:8], "little"):
        raise InputError(Reason.TRUNCATED, "the file ends early")
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        both = int.from_bytes(data[21:25], "little")
        return 1 + (both & 0x3FFF), 1 + (both >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF
    raise InputError(Reason.MALFORMED, "the WEBP header names no image chunk")


def _check(image: "Image.Image", data: bytes, file_format: FileFormat) -> None:
    if _has_more_frames(image):
        raise InputError(Reason.MULTI_FRAME, f"the {file_format.value} holds several images; need one")
    depth = _bits_per_sample(image, data, file_format)
    if depth > _BITS:
        message = f"samples have {depth} bits and no window says how to show them; need 8 (or DICOM)"
        raise InputError(Reason.UNSUPPORTED, message)
    if image.mode not in (*_GRAY_MODES, *_WITH_ALPHA, *_VIA_RGB):
        raise InputError(Reason.UNSUPPORTED, f"colour mode {image.mode} is not supported; need gray, RGB or CMYK")


def _has_more_frames(image: "Image.Image") -> bool:
    try:
        image.seek(1)
    except EOFError:
        image.seek(0)
        return False
    return True


def _bits_per_sample(image: "Image.Image", data: bytes, file_format: FileFormat) -> int:
    """Return the depth as the file says it: Pillow opens a 16-bit RGB PNG as if it had 8."""
    if file_format is FileFormat.PNG:
        return data[_PNG_DEPTH_AT]
    if file_format is FileFormat.TIFF:
        depths = getattr(image, "tag_v2", {}).get(_TIFF_BITS_PER_SAMPLE, (1,))
        return max(depths) if isinstance(depths, tuple) else int(depths)
    return {"I": 32, "F": 32}.get(image.mode, 16 if image.mode.startswith("I;") else _BITS)


def _load(image: "Image.Image") -> None:
    with _truncation():
        image.load()


@contextmanager
def _truncation() -> Iterator[None]:
    """Pillow says so in its message only."""
    try:
        yield
    except OSError as error:
        if "truncated" in str(error).lower():
            raise InputError(Reason.TRUNCATED, "the file ends early") from None
        raise


def _orientation(image: "Image.Image") -> int:
    return int(image.getexif().get(_EXIF_ORIENTATION, _UPRIGHT))


def _notes(image: "Image.Image") -> list[Note]:
    notes = []
    if image.mode in _WITH_ALPHA or "transparency" in image.info:
        notes.append(Note("alpha_dropped", "the image has an alpha channel; it is dropped, not composited"))
    if image.mode in _VIA_RGB:
        notes.append(Note("colour_converted", f"the image is stored as {image.mode}; converted to gray"))
    return notes


def _to_gray(image: "Image.Image") -> "Image.Image":
    image.info.pop("transparency", None)  # only changes what Pillow warns about
    return image if image.mode == "L" else image.convert("L")


def _orient(
    gray: "Image.Image", orientation: int, rendering: Rendering, name: str, notes: list[Note]
) -> "tuple[Image.Image, str]":
    from PIL import ImageOps

    if rendering.exif_orientation == "ignore":
        notes.append(Note("exif_orientation_ignored", "the EXIF orientation is not upright; the model ignores it"))
        return gray, name
    notes.append(_TURNED)
    gray.getexif()[_EXIF_ORIENTATION] = orientation
    return ImageOps.exif_transpose(gray), f"{name}+exif"
