"""Colour secondary captures become gray by the formula that training used, with a note."""

import struct

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


@pytest.mark.parametrize("photometric_interpretation", ["RGB", "YBR_FULL_422"])
def test_a_jpeg_that_names_its_colour_space_is_believed(photometric_interpretation: str) -> None:
    smooth = np.repeat(gradient(32, 40, 8)[..., None], 3, axis=2)
    smooth[..., 0] //= 2
    expected = pillow_l(smooth).astype(int)
    jfif = bytes(imagecodecs.jpeg8_encode(smooth, level=98, subsampling="444"))
    adobe = bytes(imagecodecs.jpeg8_encode(smooth, level=98, colorspace="RGB", outcolorspace="RGB"))
    assert b"JFIF" in jfif
    assert b"Adobe" in adobe
    for frame in (jfif, adobe, adobe.replace(b"Adobe", b"xdobe")):  # the last one by its identifiers, R G B
        found = in_colour(frame, photometric_interpretation, smooth)
        assert np.abs(found - expected).max() <= 6


def test_a_jpeg_that_names_none_is_what_the_data_set_says() -> None:
    """PS3.5 8.2.1: neither JFIF nor Adobe needs to be there."""
    smooth = np.repeat(gradient(32, 40, 8)[..., None], 3, axis=2)
    smooth[..., 0] //= 2
    jfif = bytes(imagecodecs.jpeg8_encode(smooth, level=98, subsampling="444"))
    nameless = jfif[:2] + jfif[4 + int.from_bytes(jfif[4:6], "big") :]
    assert b"JFIF" not in nameless
    as_ybr, as_rgb = in_colour(nameless, "YBR_FULL", smooth), in_colour(nameless, "RGB", smooth)
    assert np.abs(as_ybr - pillow_l(smooth).astype(int)).max() <= 6
    stored = imagecodecs.jpeg8_decode(nameless, colorspace="YCbCr", outcolorspace="YCbCr")
    np.testing.assert_array_equal(as_rgb, pillow_l(stored))


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
