"""A file that has not arrived whole is never classified: every cut is found, and what cannot be found is known."""

import io
import random
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_files import LOSSLESS_ENCODERS, NATIVE, RENDERING, compressed, gradient, make_dataset, make_file, to_bytes
from numpy.typing import NDArray
from PIL import Image

from cxr_edge.decode import decode
from cxr_edge.errors import InputError, Reason
from cxr_edge.watch.arrival import BLANK_BYTES, MAY_STILL_GROW, end_of_content, ends_blank, may_still_grow


def picture(mode: str = "L") -> Image.Image:
    return Image.fromarray(gradient(60, 80, bits=8)).convert(mode)


def saved(file_format: str, image: Image.Image | None = None, **options: Any) -> bytes:
    stream = io.BytesIO()
    (image or picture()).save(stream, file_format, **options)
    return stream.getvalue()


def with_thumbnail() -> bytes:
    jpeg = saved("JPEG")
    thumbnail = saved("JPEG", picture().resize((8, 8)))
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail + jpeg[2:]


RASTERS: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: saved("JPEG"),
    "jpeg progressive": lambda: saved("JPEG", progressive=True),
    "jpeg restart": lambda: saved("JPEG", restart_marker_rows=1),
    "jpeg thumbnail": with_thumbnail,
    "png": lambda: saved("PNG"),
    "png palette": lambda: saved("PNG", picture("P")),
    "webp": lambda: saved("WEBP", picture("RGB")),
    "webp lossless": lambda: saved("WEBP", picture("RGB"), lossless=True),
    "webp exif": lambda: saved("WEBP", picture("RGB"), exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"),
    "bmp": lambda: saved("BMP"),
    "tiff": lambda: saved("TIFF"),
    "tiff lzw": lambda: saved("TIFF", compression="tiff_lzw"),
    "tiff big": lambda: saved("TIFF", big_tiff=True),
}


def dicom(uid: str) -> bytes:
    if uid in NATIVE:
        return to_bytes(make_dataset(gradient()), uid)
    return to_bytes(compressed(gradient(), uid, LOSSLESS_ENCODERS[uid](gradient())))


def decoded(content: bytes) -> NDArray[np.uint8] | Reason:
    try:
        return decode(content, RENDERING).pixels
    except InputError as error:
        return error.reason


def some_lengths(whole: bytes) -> list[int]:
    some = {*range(0, len(whole), max(1, len(whole) // 60)), *range(200), *range(len(whole) - 40, len(whole))}
    return sorted(length for length in some if 0 <= length < len(whole))


@pytest.mark.parametrize("name", RASTERS)
def test_whole_is_whole(name: str) -> None:
    whole = RASTERS[name]()
    decode(whole, RENDERING)
    assert end_of_content(whole) is None


@pytest.mark.parametrize("name", RASTERS)
def test_every_cut_of_a_raster_waits(name: str) -> None:
    whole = RASTERS[name]()
    for length in some_lengths(whole):
        cut = whole[:length]
        if end_of_content(cut) is None:
            with pytest.raises(InputError) as caught:
                decode(cut, RENDERING)
            assert may_still_grow(caught.value.reason, cut)


@pytest.mark.parametrize("name", [name for name in RASTERS if name.startswith(("jpeg", "png"))])
def test_every_blank_tail_of_jpeg_and_png_waits(name: str) -> None:
    whole = RASTERS[name]()
    for length in some_lengths(whole):
        reserved = whole[:length].ljust(len(whole), b"\0")
        if end_of_content(reserved) is None and reserved != whole:
            with pytest.raises(InputError) as caught:
                decode(reserved, RENDERING)
            assert may_still_grow(caught.value.reason, reserved)


@pytest.mark.parametrize("uid", [*LOSSLESS_ENCODERS, *NATIVE])
def test_every_cut_of_dicom_waits_or_gives_the_same_pixels(uid: str) -> None:
    whole = dicom(uid)
    pixels = decode(whole, RENDERING).pixels
    for length in some_lengths(whole):
        cut = whole[:length]
        found = decoded(cut)
        if isinstance(found, Reason):
            assert may_still_grow(found, cut), length
        else:
            np.testing.assert_array_equal(found, pixels)
            assert len(whole) - length <= 8  # what ends the sequence of fragments


@pytest.mark.parametrize("uid", LOSSLESS_ENCODERS)
def test_every_blank_tail_of_compressed_dicom_waits_or_gives_the_same_pixels(uid: str) -> None:
    whole = dicom(uid)
    pixels = decode(whole, RENDERING).pixels
    for length in some_lengths(whole):
        reserved = whole[:length].ljust(len(whole), b"\0")
        found = decoded(reserved)
        if isinstance(found, Reason):
            assert may_still_grow(found, reserved), length
        else:
            np.testing.assert_array_equal(found, pixels)


@pytest.mark.parametrize("name", ["webp", "bmp", "tiff", "dicom"])
def test_a_blank_tail_that_decodes_is_asked_for_more_patience(name: str) -> None:
    whole = RASTERS[name]() if name in RASTERS else make_file()
    length = len(whole) * 3 // 4
    reserved = whole[:length].ljust(len(whole), b"\0")
    decode(reserved, RENDERING)  # nothing in the file tells: this is why `ends_blank` is there
    assert end_of_content(reserved) is None
    assert ends_blank(reserved)
    assert not ends_blank(whole)


def test_the_end_marker_of_a_thumbnail_is_not_the_end() -> None:
    jpeg = with_thumbnail()
    assert jpeg.count(b"\xff\xd9") == 2
    assert end_of_content(jpeg[:-2]) is not None
    assert end_of_content(jpeg[: len(jpeg) // 2]) is not None


def test_padding_behind_the_end_is_no_matter() -> None:
    for name, make in RASTERS.items():
        assert end_of_content(make() + bytes(100)) is None, name


def test_a_hole_in_a_png_is_found() -> None:
    png = bytearray(RASTERS["png"]())
    middle = png.index(b"IDAT") + 40
    png[middle : middle + 16] = bytes(16)
    assert end_of_content(bytes(png)) == "bytes inside a chunk: its CRC differs"


def test_a_wrong_crc_of_a_comment_is_no_matter() -> None:
    png = RASTERS["png"]()
    text = b"tEXtComment\0hello"
    at = 8 + 25
    assert end_of_content(png[:at] + struct.pack(">I", len(text) - 4) + text + b"\0\0\0\0" + png[at:]) is None


@pytest.mark.parametrize("content", [b"", b"%PDF-1.7", b"<html>", b"\0" * 500, b"II*\0", b"\xff\xd8\xff", b"BM"])
def test_what_is_no_raster_is_left_to_the_decoder(content: bytes) -> None:
    end_of_content(content)  # says something or nothing, and never raises
    with pytest.raises(InputError):
        decode(content, RENDERING)


def test_never_raises() -> None:
    draw = random.Random(7)  # noqa: S311 - which bytes are broken is no secret
    for make in RASTERS.values():
        whole = make()
        for _ in range(300):
            broken = bytearray(whole[: draw.randrange(20, len(whole))])
            for _ in range(draw.randrange(1, 12)):
                broken[draw.randrange(4, min(len(broken), 400))] = draw.choice((0, 1, 0x7F, 0xFF, draw.randrange(256)))
            end_of_content(bytes(broken))


MEGABYTES = 16


def many_tags(tag: int) -> bytes:
    """One BigTIFF directory that is followed by itself; each tag's values are most of the file."""
    entry = struct.pack("<HHQQ", tag, 4, (MEGABYTES - 1) * 2**18, 16)
    count = MEGABYTES * 2**20 // len(entry) - 2
    return b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, count) + entry * count + struct.pack("<Q", 16)


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xd8\xff" + b"\xff\xe0\0\2" * (MEGABYTES * 2**18),
        b"\xff\xd8" + b"\xff" * (MEGABYTES * 2**20),
        b"\xff\xd8\xff\xda\0\2" + b"\xff\x01" * (MEGABYTES * 2**19),
        b"\x89PNG\r\n\x1a\n" + (b"\0\0\0\0teXt" + struct.pack(">I", zlib.crc32(b"teXt"))) * (MEGABYTES * 2**20 // 12),
        many_tags(1),
        many_tags(273),
        b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 2**62) + bytes(100),
        b"MM\0+\0\x08\0\0" + b"\xff" * 100,
    ],
    ids=["segments", "fill bytes", "stuffing", "chunks", "tags", "strips", "count", "offset"],
)
def test_hostile_files_take_no_time(content: bytes) -> None:
    begin = time.perf_counter()
    end_of_content(content)
    assert time.perf_counter() - begin < 3.0


def test_strips_beyond_the_end_are_missing() -> None:
    tiff = saved("TIFF", tiffinfo={305: "x" * 100})
    assert end_of_content(tiff[:-1]) == "the end of a strip or tile"
    assert end_of_content(tiff[:-1] + b"\0") is None


def test_final_at_once() -> None:
    assert not may_still_grow(Reason.UNKNOWN_FORMAT, b"%PDF-1.7 " + b"x" * 200)
    assert not may_still_grow(Reason.GATE_MODALITY, make_file())
    assert not may_still_grow(Reason.MULTI_FRAME, make_file())
    assert not may_still_grow(Reason.DECODE_FAILED, RASTERS["png"]())
    assert not may_still_grow(Reason.TOO_LARGE, make_file())


def test_waits() -> None:
    assert may_still_grow(Reason.EMPTY, b"")
    assert may_still_grow(Reason.UNKNOWN_FORMAT, b"%PDF")
    assert may_still_grow(Reason.UNKNOWN_FORMAT, bytes(5000))
    assert may_still_grow(Reason.DECODE_FAILED, RASTERS["webp"]())  # only its length can be looked at
    assert may_still_grow(Reason.NO_PIXEL_DATA, make_file(PixelData=None))
    assert may_still_grow(Reason.TOO_LARGE, make_file()[:700].ljust(2_000_000, b"\0"))
    assert Reason.TOO_LARGE not in MAY_STILL_GROW


def test_blank_is_told_by_the_last_bytes() -> None:
    assert not ends_blank(b"")
    assert ends_blank(bytes(3))
    assert ends_blank(b"x" + bytes(BLANK_BYTES))
    assert not ends_blank(b"x" + bytes(BLANK_BYTES - 1))


def test_real_radiographs(data_folder: Path) -> None:
    photographs = sorted((data_folder / "kermany_original").glob("*/*.jpeg"))
    assert len(photographs) > 100
    for photograph in photographs:
        content = photograph.read_bytes()
        assert end_of_content(content) is None
        assert end_of_content(content[:-1]) is not None
        assert end_of_content(content[: len(content) // 2].ljust(len(content), b"\0")) is not None
