"""JPEG, PNG, WebP, TIFF and BMP: exactly what `PIL.Image.convert("L")` makes of them, or a clear refusal."""

import dataclasses
import io
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_files import RENDERING, gradient
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps

from cxr_edge.decode import DecodeLimits, decode
from cxr_edge.decode.array import decode_array
from cxr_edge.errors import InputError, Reason

UPRIGHT = dataclasses.replace(RENDERING, exif_orientation="apply")
FORMATS = ["JPEG", "PNG", "WEBP", "TIFF", "BMP"]


def colours(mode: str) -> Image.Image:
    """An image whose pixels use the whole of a mode."""
    rng = np.random.default_rng(3)
    bands = len(Image.new(mode, (1, 1)).getbands())
    samples = rng.integers(0, 256, (33, 47, bands), np.uint8)
    return Image.frombytes(mode, (47, 33), samples.tobytes())


def encode(image: Image.Image, file_format: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, file_format, **options)
    return stream.getvalue()


def as_training_read_it(data: bytes) -> NDArray[np.uint8]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.asarray(Image.open(io.BytesIO(data)).convert("L"))


def refusal(data: bytes, limits: DecodeLimits | None = None) -> tuple[Reason, str]:
    with pytest.raises(InputError) as error:
        decode(data, RENDERING, limits=limits or DecodeLimits())
    return error.value.reason, str(error.value)


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_formats(file_format: str, mode: str) -> None:
    data = encode(colours(mode), file_format)
    radiograph = decode(data, RENDERING, path="no matter what.txt")
    np.testing.assert_array_equal(radiograph.pixels, as_training_read_it(data))
    assert radiograph.pixels.flags.c_contiguous
    assert radiograph.tags is None
    assert radiograph.source.path == "no matter what.txt"
    is_gray = radiograph.rendering == "pillow-l/l"
    assert [note.code for note in radiograph.notes] == ([] if is_gray else ["colour_converted"])
    assert is_gray == (mode == "L" and file_format != "WEBP")  # WebP knows colour only


@pytest.mark.parametrize(
    ("mode", "file_format", "noted"),
    [
        ("1", "PNG", set()),
        ("P", "PNG", {"colour_converted"}),
        ("LA", "PNG", {"alpha_dropped"}),
        ("RGBA", "PNG", {"alpha_dropped", "colour_converted"}),
        ("RGBA", "WEBP", {"alpha_dropped", "colour_converted"}),
        ("CMYK", "JPEG", {"colour_converted"}),
        ("CMYK", "TIFF", {"colour_converted"}),
        ("1", "TIFF", set()),
        ("P", "BMP", {"colour_converted"}),
    ],
)
def test_odd_modes_follow_training(mode: str, file_format: str, noted: set[str]) -> None:
    source = colours("RGB")
    image = source.convert(mode) if mode in {"1", "P"} else colours(mode)
    data = encode(image, file_format, **({"lossless": True} if file_format == "WEBP" else {}))
    radiograph = decode(data, RENDERING)
    np.testing.assert_array_equal(radiograph.pixels, as_training_read_it(data))
    assert {note.code for note in radiograph.notes} == noted


def test_palette_with_transparency() -> None:
    data = encode(colours("RGB").convert("P"), "PNG", transparency=bytes(range(256)))
    radiograph = decode(data, RENDERING)
    np.testing.assert_array_equal(radiograph.pixels, as_training_read_it(data))
    assert {note.code for note in radiograph.notes} == {"alpha_dropped", "colour_converted"}


def test_progressive_jpeg() -> None:
    image = colours("L")
    plain, progressive = (decode(encode(image, "JPEG", progressive=p), RENDERING) for p in (False, True))
    np.testing.assert_array_equal(plain.pixels, progressive.pixels)


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation(orientation: int, file_format: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(Image.fromarray(gradient(16, 24, 8)), file_format, exif=exif)
    ignored, applied = decode(data, RENDERING), decode(data, UPRIGHT)
    np.testing.assert_array_equal(ignored.pixels, as_training_read_it(data))
    turned = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("L")
    np.testing.assert_array_equal(applied.pixels, np.asarray(turned))
    assert "exif_orientation_applied" in {note.code for note in applied.notes}
    assert applied.rendering.endswith("+exif")
    # Pillow turns TIFF while loading it, so training did too
    assert ignored.rendering.endswith("+exif") == (file_format == "TIFF")
    assert ("exif_orientation_ignored" in {note.code for note in ignored.notes}) == (file_format != "TIFF")


@pytest.mark.parametrize(
    ("image", "file_format"),
    [
        (Image.fromarray(gradient(bits=16)), "PNG"),
        (Image.fromarray(gradient(bits=16)), "TIFF"),
        (Image.fromarray(gradient(bits=16).astype(np.int32)), "TIFF"),
        (Image.fromarray(gradient(bits=16).astype(np.float32)), "TIFF"),
    ],
)
def test_deeper_than_8_bits_is_refused(image: Image.Image, file_format: str) -> None:
    reason, message = refusal(encode(image, file_format))
    assert reason is Reason.UNSUPPORTED
    assert "need 8" in message


def test_16_bit_rgb_png_is_refused_though_pillow_opens_it_as_8() -> None:
    import cv2

    data = cv2.imencode(".png", np.full((8, 8, 3), 40_000, np.uint16))[1].tobytes()
    assert Image.open(io.BytesIO(data)).mode == "RGB"
    assert refusal(data)[0] is Reason.UNSUPPORTED


@pytest.mark.parametrize("file_format", ["PNG", "WEBP", "TIFF"])
def test_animated_and_multi_page(file_format: str) -> None:
    pages = [Image.new("L", (20, 20), level) for level in (0, 100, 200)]
    data = encode(pages[0], file_format, save_all=True, append_images=pages[1:])
    assert refusal(data)[0] is Reason.MULTI_FRAME


def test_jpeg_of_several_pictures() -> None:
    data = encode(Image.new("L", (20, 20)), "MPO", save_all=True, append_images=[Image.new("L", (20, 20), 9)])
    assert refusal(data)[0] is Reason.MULTI_FRAME


@pytest.mark.parametrize("file_format", FORMATS)
def test_truncated(file_format: str) -> None:
    data = encode(colours("RGB"), file_format)
    reasons = {refusal(data[: len(data) * share // 10])[0] for share in range(2, 10)}
    assert reasons <= {Reason.TRUNCATED, Reason.MALFORMED, Reason.DECODE_FAILED}
    assert refusal(data[: len(data) * 3 // 4])[0] is Reason.TRUNCATED


@pytest.mark.parametrize("file_format", FORMATS)
def test_size_is_checked_from_the_header_alone(file_format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(Image.new("L", (300, 200)), file_format)
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _: pytest.fail("was decoded"))
    reason, message = refusal(data, DecodeLimits(pixels=59_999))
    assert reason is Reason.TOO_LARGE
    assert "200 x 300" in message


@pytest.mark.parametrize("size", [(40, 20), (20, 40)])
@pytest.mark.parametrize("file_format", FORMATS)
def test_one_side_is_too_long(file_format: str, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(Image.new("L", size), file_format)
    assert decode(data, RENDERING, limits=DecodeLimits(side=40)).pixels.shape == (size[1], size[0])
    opened = Image.open
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _: pytest.fail("was decoded"))
    if file_format == "WEBP":  # Pillow allocates the canvas on opening
        monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("was opened"))
    reason, message = refusal(data, DecodeLimits(side=39))
    monkeypatch.setattr(Image, "open", opened)
    assert reason is Reason.TOO_LARGE
    assert message == f"the image is {size[1]} x {size[0]}; at most 39 rows and columns are read"


def test_a_line_of_millions_of_pixels_is_refused() -> None:
    reason, message = refusal(encode(Image.new("L", (8_000_000, 1)), "PNG"))
    assert reason is Reason.TOO_LARGE
    assert "1 x 8000000; at most 32,768 rows and columns" in message


@pytest.mark.parametrize("shape", [(1, 40_000), (40_000, 1), (40_000, 1, 3)])
def test_array_with_one_side_too_long(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"the array is \d+ x \d+; at most 32,768 rows and columns") as error:
        decode_array(np.zeros(shape, np.uint8), DecodeLimits())
    assert error.value.reason is Reason.TOO_LARGE


def test_array_of_too_many_pixels() -> None:
    with pytest.raises(InputError, match="the array is 10 x 11; at most 109 pixels") as error:
        decode_array(np.zeros((10, 11), np.uint8), DecodeLimits(pixels=109))
    assert error.value.reason is Reason.TOO_LARGE
    assert decode_array(np.zeros((10, 11), np.uint8), DecodeLimits(pixels=110, side=11)).pixels.shape == (10, 11)


def with_scans(jpeg: bytes, scans: int) -> bytes:
    """A progressive JPEG with its last scan repeated until there are so many."""
    last = jpeg.rindex(b"\xff\xda")
    return jpeg[:-2] + jpeg[last:-2] * (scans - jpeg.count(b"\xff\xda")) + jpeg[-2:]


def test_jpeg_of_endless_scans_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    jpeg = encode(colours("L"), "JPEG", progressive=True)
    most = decode(with_scans(jpeg, 200), RENDERING)
    assert most.pixels.shape == (33, 47)
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("was opened"))
    reason, message = refusal(with_scans(jpeg, 201))
    assert reason is Reason.TOO_LARGE
    assert message == "the JPEG has 201 scans; at most 200 are read"


def test_png_header_that_claims_gigapixels() -> None:
    data = bytearray(encode(Image.new("L", (30, 20)), "PNG"))
    data[16:24] = (50_000).to_bytes(4, "big") * 2
    import zlib

    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    assert refusal(bytes(data))[0] is Reason.TOO_LARGE


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"}])
def test_webp_size_is_read_in_every_layout(options: dict[str, Any]) -> None:
    data = encode(Image.new("RGB", (123, 45)), "WEBP", **options)
    assert "45 x 123" in refusal(data, DecodeLimits(pixels=100))[1]
    assert decode(data, RENDERING).pixels.shape == (45, 123)


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"<!DOCTYPE html><html>", "HTML"),
        (b"  <html><body>", "HTML"),
        (b"%PDF-1.7\n", "PDF"),
        (b"GIF89a" + bytes(20), "GIF"),
        (b"PK\x03\x04" + bytes(40), "ZIP"),
        (b"\x1f\x8b" + bytes(40), "gzip"),
        (b'{"a": 1}', "no known format"),
        (b"\0\0\0\x18ftypheic" + bytes(20), "HEIF"),
        (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(20), "JPEG 2000"),
        (b"x", "no known format"),
    ],
)
def test_other_formats_are_named(data: bytes, named: str) -> None:
    reason, message = refusal(data)
    assert reason is Reason.UNKNOWN_FORMAT
    assert named in message
    assert "need DICOM, JPEG, PNG, WebP, TIFF or BMP" in message


def test_empty_file() -> None:
    assert refusal(b"")[0] is Reason.EMPTY


def test_truncated_images_stay_refused() -> None:
    decode(encode(colours("L"), "JPEG"), RENDERING)
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


def test_jpeg_road_imports_neither_pydicom_nor_imagecodecs(tmp_path: Path) -> None:
    file = tmp_path / "image.jpg"
    file.write_bytes(encode(colours("RGB"), "JPEG"))
    program = (
        "import sys, pathlib; from cxr_edge.decode import decode; from cxr_edge.contract import Rendering;"
        "decode(pathlib.Path(sys.argv[1]).read_bytes(),"
        " Rendering(dicom='ps3.3-c11-floor8', colour='pillow-l', exif_orientation='ignore'));"
        "sys.exit(bool({'pydicom', 'imagecodecs', 'cv2'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", program, str(file)], check=True, timeout=60)


def test_every_real_jpeg_is_as_training_read_it(data_folder: Path) -> None:
    files = sorted((data_folder / "kermany_original").rglob("*.jpeg"))
    assert len(files) == 126
    for file in files:
        data = file.read_bytes()
        np.testing.assert_array_equal(decode(data, RENDERING).pixels, as_training_read_it(data))
