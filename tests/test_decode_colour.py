"""Colour secondary captures become gray by the formula that training used, with a note."""

import io
import struct
from collections.abc import Callable

import imagecodecs
import numpy as np
import pydicom.pixels.processing
import pytest
from dicom_files import (
    RENDERING,
    compressed,
    gradient,
    make_dataset,
    make_file,
    rle_frame,
    to_bytes,
    with_raw_element,
)
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import FileDataset
from pydicom.pixels.processing import convert_color_space

from cxr_edge.decode import decode
from cxr_edge.decode.colour import luma
from cxr_edge.errors import InputError, Reason


@pytest.fixture
def rgb() -> NDArray[np.uint8]:
    return np.random.default_rng(7).integers(0, 256, (24, 30, 3), np.uint8)


def pillow_l(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(rgb).convert("L"))


def test_luma_is_pillows_on_every_gray_and_on_random_colours() -> None:
    rgb = np.random.default_rng(1).integers(0, 256, (512, 512, 3), np.uint8)
    rgb[0, :256] = np.arange(256)[:, None]
    np.testing.assert_array_equal(luma(rgb), pillow_l(rgb))


@pytest.mark.parametrize("planar", [0, 1])
def test_rgb(rgb: NDArray[np.uint8], planar: int) -> None:
    stored = np.ascontiguousarray(rgb.transpose(2, 0, 1)) if planar else rgb
    dataset = make_dataset(rgb, 8, PlanarConfiguration=planar, PixelData=stored.tobytes())
    radiograph = decode(to_bytes(dataset), RENDERING)
    np.testing.assert_array_equal(radiograph.pixels, pillow_l(rgb))
    assert radiograph.rendering == "pillow-l/rgb"
    assert [note.code for note in radiograph.notes] == ["colour_converted"]


def test_rgb_in_rle(rgb: NDArray[np.uint8]) -> None:
    dataset = compressed(rgb, "1.2.840.10008.1.2.5", rle_frame(rgb), 8)
    np.testing.assert_array_equal(decode(to_bytes(dataset), RENDERING).pixels, pillow_l(rgb))


def test_rgb_in_jpeg_2000(rgb: NDArray[np.uint8]) -> None:
    frame = bytes(imagecodecs.jpeg2k_encode(rgb, codecformat="j2k", reversible=True))
    dataset = compressed(rgb, "1.2.840.10008.1.2.4.90", frame, 8, PhotometricInterpretation="YBR_RCT")
    np.testing.assert_array_equal(decode(to_bytes(dataset), RENDERING).pixels, pillow_l(rgb))


def test_ybr_full(rgb: NDArray[np.uint8]) -> None:
    ybr = convert_color_space(rgb, "RGB", "YBR_FULL")
    radiograph = decode(make_file(ybr, 8, PhotometricInterpretation="YBR_FULL"), RENDERING)
    assert np.abs(radiograph.pixels.astype(int) - pillow_l(rgb)).max() <= 2  # YBR itself is rounded


def test_jpeg_baseline_in_colour() -> None:
    smooth = np.repeat(gradient(32, 40, 8)[..., None], 3, axis=2)
    smooth[..., 0] //= 2
    frame = bytes(imagecodecs.jpeg8_encode(smooth, level=95, subsampling="422"))
    dataset = compressed(smooth, "1.2.840.10008.1.2.4.50", frame, 8, PhotometricInterpretation="YBR_FULL_422")
    expected = pillow_l(imagecodecs.jpeg8_decode(frame))
    assert np.abs(decode(to_bytes(dataset), RENDERING).pixels.astype(int) - expected).max() <= 2


def in_colour(frame: bytes, photometric_interpretation: str, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    dataset = compressed(
        pixels, "1.2.840.10008.1.2.4.50", frame, 8, PhotometricInterpretation=photometric_interpretation
    )
    return decode(to_bytes(dataset), RENDERING).pixels


# what libjpeg's jdapimin.c says of three components: JFIF, then Adobe, then the component identifiers
JFIF = bytes.fromhex("ffe000104a46494600010100000100010000")
ADOBE = bytes.fromhex("ffee000e41646f6265006400000000")


def marked(jpeg: bytes, segments: bytes, identifiers: bytes) -> bytes:
    """A JPEG with its first segment, which says the colour space, replaced, and its components renamed."""
    frame = bytearray(jpeg[:2] + segments + jpeg[4 + int.from_bytes(jpeg[4:6], "big") :])
    frame_header, scan_header = frame.index(b"\xff\xc0"), frame.index(b"\xff\xda")
    frame[frame_header + 10 : frame_header + 19 : 3] = identifiers
    frame[scan_header + 5 : scan_header + 11 : 2] = identifiers
    return bytes(frame)


@pytest.mark.parametrize("photometric_interpretation", ["RGB", "YBR_FULL_422"])
@pytest.mark.parametrize(
    ("segments", "identifiers", "stored"),
    [
        (JFIF, b"\1\2\3", "YCbCr"),
        (JFIF, b"RGB", "YCbCr"),
        (JFIF + ADOBE + b"\0", b"RGB", "YCbCr"),
        (ADOBE + b"\0" + JFIF, b"RGB", "YCbCr"),
        (ADOBE + b"\0", b"\1\2\3", "RGB"),
        (ADOBE + b"\1", b"RGB", "YCbCr"),
        (ADOBE + b"\2", b"RGB", "YCbCr"),
        (b"", b"\1\2\3", "YCbCr"),
        (b"", b"RGB", "RGB"),
        (b"", b"rgb", "YCbCr"),
        (b"", b"\0\1\2", "YCbCr"),
    ],
)
def test_the_colour_space_of_a_jpeg_is_what_libjpeg_takes_it_for(
    segments: bytes, identifiers: bytes, stored: str, photometric_interpretation: str
) -> None:
    smooth = np.repeat(gradient(32, 40, 8)[..., None], 3, axis=2)
    smooth[..., 0] //= 2
    jpeg = bytes(imagecodecs.jpeg8_encode(smooth, level=98, colorspace="RGB", outcolorspace="RGB"))  # not converted
    frame = marked(jpeg, segments, identifiers)
    found = in_colour(frame, photometric_interpretation, smooth)
    if photometric_interpretation == "RGB" and not segments:
        stored = "RGB"  # the stream says nothing, the data set does
    else:
        with Image.open(io.BytesIO(frame)) as image:
            np.testing.assert_array_equal(found, pillow_l(np.asarray(image.convert("RGB"))))
    as_stored = pillow_l(smooth).astype(int)
    assert (np.abs(found - as_stored).max() <= 6) == (stored == "RGB")


def test_palette() -> None:
    indices = np.array([[0, 1, 2, 1]], np.uint8)
    dataset = make_dataset(indices, 8, PhotometricInterpretation="PALETTE COLOR")
    for colour, entries in (("Red", [0, 255, 10]), ("Green", [0, 255, 200]), ("Blue", [0, 255, 30])):
        dataset.add_new(f"{colour}PaletteColorLookupTableDescriptor", "US", [3, 0, 16])
        words = np.array([entry * 257 for entry in entries], "<u2").tobytes()
        dataset.add_new(f"{colour}PaletteColorLookupTableData", "OW", words)
    radiograph = decode(to_bytes(dataset), RENDERING)
    assert radiograph.rendering == "pillow-l/palette"
    expected = pillow_l(np.array([[[0, 0, 0], [255, 255, 255], [10, 200, 30], [255, 255, 255]]], np.uint8))
    np.testing.assert_array_equal(radiograph.pixels, expected)


def segmented_palette() -> FileDataset:
    """A palette of one discrete segment each (PS3.3 C.7.9.2.1)."""
    dataset = make_dataset(np.array([[0, 1, 2, 1]], np.uint8), 8, PhotometricInterpretation="PALETTE COLOR")
    for colour in ("Red", "Green", "Blue"):
        dataset.add_new(f"{colour}PaletteColorLookupTableDescriptor", "US", [0, 0, 16])
        dataset.add_new(f"Segmented{colour}PaletteColorLookupTableData", "OW", struct.pack("<3H", 0, 1, 7))
    return dataset


def test_segmented_palette_is_refused_before_it_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pydicom.pixels.processing, "_expand_segmented_lut", lambda *_: pytest.fail("was expanded"))
    with pytest.raises(InputError, match="the palette is segmented") as error:
        decode(to_bytes(segmented_palette()), RENDERING)
    assert error.value.reason is Reason.UNSUPPORTED


@pytest.mark.parametrize(
    "keyword", ["PixelPresentation", "RedPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableData"]
)
def test_palette_far_too_long_is_refused(keyword: str) -> None:
    dataset = segmented_palette()
    for colour in ("Red", "Green", "Blue"):
        dataset.add_new(f"{colour}PaletteColorLookupTableData", "OW", bytes(6))
    data = with_raw_element(dataset, keyword, b"1\\" * 200_000)
    with pytest.raises(InputError, match=r"holds 400,000 bytes; at most (65,536|262,144) are read") as error:
        decode(data, RENDERING)
    assert error.value.reason is Reason.MALFORMED


def test_sixteen_bit_colour_is_refused(rgb: NDArray[np.uint8]) -> None:
    with pytest.raises(InputError, match="colour samples have 16 bits; need 8") as error:
        decode(make_file(rgb.astype(np.uint16), 16), RENDERING)
    assert error.value.reason is Reason.UNSUPPORTED


@pytest.mark.parametrize(
    ("transfer_syntax", "encode"),
    [
        ("1.2.840.10008.1.2.5", rle_frame),
        ("1.2.840.10008.1.2.4.80", imagecodecs.jpegls_encode),
        (
            "1.2.840.10008.1.2.4.90",
            lambda ybr: imagecodecs.jpeg2k_encode(ybr, codecformat="j2k", reversible=True, mct=False),
        ),
    ],
    ids=["RLE", "JPEG-LS", "JPEG 2000"],
)
def test_ybr_full_compressed(rgb: NDArray[np.uint8], transfer_syntax: str, encode: Callable[..., bytes]) -> None:
    ybr = convert_color_space(rgb, "RGB", "YBR_FULL")
    dataset = compressed(ybr, transfer_syntax, bytes(encode(ybr)), 8, PhotometricInterpretation="YBR_FULL")
    expected = pillow_l(convert_color_space(ybr, "YBR_FULL", "RGB"))
    np.testing.assert_array_equal(decode(to_bytes(dataset), RENDERING).pixels, expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_decoder_that_gives_another_shape_is_not_believed(channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = gradient(bits=8) if channels == 1 else np.repeat(gradient(bits=8)[..., None], 3, axis=2)
    frame = bytes(imagecodecs.jpeg8_encode(samples))
    turned = np.ascontiguousarray(np.swapaxes(samples, 0, 1))
    monkeypatch.setattr(imagecodecs, "jpeg8_decode", lambda *_, **__: turned)
    with pytest.raises(InputError) as error:
        decode(to_bytes(compressed(samples, "1.2.840.10008.1.2.4.50", frame, 8)), RENDERING)
    assert error.value.reason is Reason.DECODE_FAILED
