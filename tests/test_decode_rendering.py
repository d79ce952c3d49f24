"""Stored values -> 8-bit gray: each branch of PS3.3 C.11 against the standard's own pseudo-code, value by value."""

import math
from typing import Any

import numpy as np
import pytest
from dicom_files import RENDERING, Samples, compressed, gradient, make_dataset, make_file, make_lut, to_bytes
from hypothesis import given, settings
from hypothesis import strategies as st

from cxr_edge.decode import decode
from cxr_edge.decode.rendering import (
    GrayscaleTransform,
    LookupTable,
    Rescale,
    StoredValues,
    VoiFunction,
    Window,
    render,
)
from cxr_edge.errors import InputError, Reason
from cxr_edge.types import Radiograph


def rendered(**attributes: Any) -> Radiograph:
    return decode(make_file(**attributes), RENDERING)


def codes(radiograph: Radiograph) -> set[str]:
    return {note.code for note in radiograph.notes}


def window_of_the_standard(value: float, center: float, width: float, function: str) -> float:
    """C.11.2.1.2.1, C.11.2.1.3.1 and C.11.2.1.3.2 with ymin 0 and ymax 255, as printed there."""
    if function == "SIGMOID":
        return 255 / (1 + math.exp(min(700, -4 * (value - center) / width)))
    if function == "LINEAR_EXACT":
        if value <= center - width / 2:
            return 0
        return 255 if value > center + width / 2 else ((value - center) / width + 0.5) * 255
    if value <= center - 0.5 - (width - 1) / 2:
        return 0
    if value > center - 0.5 + (width - 1) / 2:
        return 255
    return ((value - (center - 0.5)) / (width - 1) + 0.5) * 255


@st.composite
def windowed(draw: st.DrawFn) -> tuple[Samples, GrayscaleTransform, Rescale, Window]:
    """Stored values, and a transform of a rescale and a window."""
    bits, signed = draw(st.integers(8, 16)), draw(st.booleans())
    samples = gradient(16, 32, bits, signed=signed)
    slope, intercept = draw(st.sampled_from([(1.0, 0.0), (2.0, -1024.0), (0.25, 10.0), (-1.0, 4095.0)]))
    rescale = Rescale(slope=slope, intercept=intercept)
    function: VoiFunction = draw(st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]))
    window = Window(center=draw(st.integers(-5000, 5000)), width=draw(st.integers(1, 9000)), function=function)
    stored = StoredValues(
        bits_allocated=8 * samples.dtype.itemsize, bits_stored=bits, high_bit=bits - 1, signed=signed, clamp=False
    )
    inverted = draw(st.booleans())
    transform = GrayscaleTransform(stored=stored, modality=rescale, voi=window, padding=None, inverted=inverted)
    return samples, transform, rescale, window


@settings(max_examples=150)
@given(windowed())
def test_window_is_the_standards_within_rounding(
    case: tuple[Samples, GrayscaleTransform, Rescale, Window],
) -> None:
    samples, transform, rescale, window = case
    pixels, _, _ = render(samples, transform)
    for stored, gray in zip(samples.ravel().tolist(), pixels.ravel().tolist(), strict=True):
        modality_value = rescale.slope * stored + rescale.intercept
        expected = window_of_the_standard(modality_value, window.center, window.width, window.function)
        expected = 255 - expected if transform.inverted else expected
        assert gray in {math.floor(expected - 1e-6), math.floor(expected + 1e-6)}


def test_full_range_window_of_8_bits_is_the_identity() -> None:
    samples = np.arange(256, dtype=np.uint8).reshape(16, 16)
    radiograph = rendered(samples=samples, bits_stored=8, WindowCenter=128, WindowWidth=256)
    assert radiograph.rendering == "ps3.3-c11-floor8/window"
    np.testing.assert_array_equal(radiograph.pixels, samples)


def test_min_max_uses_the_image_when_nothing_else_is_given() -> None:
    samples = np.array([[100, 200], [300, 611]], np.uint16)
    radiograph = rendered(samples=samples)
    assert radiograph.rendering == "ps3.3-c11-floor8/minmax"
    np.testing.assert_array_equal(radiograph.pixels, [[0, 49], [99, 255]])


@pytest.mark.parametrize("limit", [None, 4000])
def test_min_max_leaves_padding_out(limit: int | None) -> None:
    samples = np.array([[100, 355], [227, 4095]], np.uint16)
    samples[1, 1] = 4050 if limit else 4095
    radiograph = rendered(samples=samples, PixelPaddingValue=4095, PixelPaddingRangeLimit=limit)
    np.testing.assert_array_equal(radiograph.pixels, [[0, 255], [127, 255]])


def test_negative_padding_of_signed_images() -> None:
    samples = np.array([[-2000, 0], [100, 200]], np.int16)
    dataset = make_dataset(samples)
    dataset.add_new("PixelPaddingValue", "SS", -2000)
    np.testing.assert_array_equal(decode(to_bytes(dataset), RENDERING).pixels, [[0, 0], [127, 255]])


def test_an_image_of_padding_alone_is_still_an_image() -> None:
    radiograph = rendered(samples=np.full((4, 4), 7, np.uint16), PixelPaddingValue=7)
    assert codes(radiograph) == {"constant_image"}
    assert not radiograph.pixels.any()


@pytest.mark.parametrize(
    ("photometric", "shape", "inverted"),
    [
        ("MONOCHROME2", None, False),
        ("MONOCHROME1", None, True),
        ("MONOCHROME2", "IDENTITY", False),
        ("MONOCHROME1", "IDENTITY", True),
        ("MONOCHROME2", "INVERSE", True),
        ("MONOCHROME1", "INVERSE", True),  # never both: a real Fuji CR says so
    ],
)
def test_polarity(photometric: str, shape: str | None, inverted: bool) -> None:  # noqa: FBT001 - a table's column
    samples = np.array([[0, 4095]], np.uint16)
    radiograph = rendered(samples=samples, PhotometricInterpretation=photometric, PresentationLUTShape=shape)
    assert radiograph.pixels.tolist() == ([[255, 0]] if inverted else [[0, 255]])
    assert radiograph.rendering.endswith("+inverted") == inverted


def test_inversion_after_a_modality_lut_depends_on_the_luts_range_not_on_bits_stored() -> None:
    samples = np.array([[0, 1, 2, 3]], np.uint16)
    lut = make_lut(0, [0, 1000, 2000, 60000])
    radiograph = rendered(
        samples=samples, bits_stored=10, PhotometricInterpretation="MONOCHROME1", PresentationLUTShape="INVERSE",
        ModalityLUTSequence=lut,
    )  # fmt: skip
    assert codes(radiograph) == {"modality_lut"}
    np.testing.assert_array_equal(radiograph.pixels, [[255, 250, 246, 0]])


def test_modality_comes_before_voi() -> None:
    samples = np.array([[0, 1, 2, 3]], np.uint16)
    radiograph = rendered(
        samples=samples, ModalityLUTSequence=make_lut(1, [0, 100, 255]), WindowCenter=128, WindowWidth=256
    )
    np.testing.assert_array_equal(radiograph.pixels, [[0, 0, 100, 255]])
    radiograph = rendered(samples=samples, RescaleSlope=50, RescaleIntercept=10, WindowCenter=128, WindowWidth=256)
    np.testing.assert_array_equal(radiograph.pixels, [[10, 60, 110, 160]])


def test_voi_lut_goes_before_the_window_and_ends_clamp() -> None:
    samples = np.array([[0, 5, 6, 7, 4095]], np.uint16)
    radiograph = rendered(
        samples=samples, VOILUTSequence=make_lut(5, [10, 2048, 4095], 12), WindowCenter=1, WindowWidth=2
    )
    assert radiograph.rendering == "ps3.3-c11-floor8/voi-lut"
    np.testing.assert_array_equal(radiograph.pixels, [[0, 0, 127, 255, 255]])


def test_voi_lut_of_a_signed_image_may_begin_below_zero() -> None:
    samples = np.array([[-3, -2, -1, 0]], np.int16)
    radiograph = rendered(samples=samples, VOILUTSequence=make_lut(-2, [0, 100, 255], 8))
    np.testing.assert_array_equal(radiograph.pixels, [[0, 0, 100, 255]])


def test_lut_deeper_than_its_descriptor_says() -> None:
    samples = np.array([[0, 1, 2]], np.uint16)
    radiograph = rendered(samples=samples, VOILUTSequence=make_lut(0, [0, 2048, 4095], 8))
    assert codes(radiograph) == {"lut_depth"}
    np.testing.assert_array_equal(radiograph.pixels, [[0, 127, 255]])


def test_lut_packed_in_bytes() -> None:
    samples = np.array([[0, 1, 2, 3]], np.uint16)
    lut = make_lut(0, [0, 0, 0, 0], 8)
    lut[0]["LUTData"].value = bytes([0, 100, 200, 255])
    np.testing.assert_array_equal(rendered(samples=samples, VOILUTSequence=lut).pixels, [[0, 100, 200, 255]])


def test_lut_shorter_than_its_descriptor_is_refused() -> None:
    lut = make_lut(0, [0, 1, 2, 3])
    lut[0].LUTDescriptor = [4000, 0, 16]
    with pytest.raises(InputError, match="LUT Data holds 4 entries; its descriptor says 4000") as error:
        rendered(VOILUTSequence=lut)
    assert error.value.reason is Reason.MALFORMED


@pytest.mark.parametrize(
    ("center", "width", "function"),
    [(100, 0, None), (100, 0.5, None), (100, -5, "LINEAR_EXACT"), (100, 0, "SIGMOID"), (100, None, None)],
)
def test_illegal_window_is_min_max_with_a_note(center: float, width: float | None, function: str | None) -> None:
    radiograph = rendered(WindowCenter=center, WindowWidth=width, VOILUTFunction=function)
    assert radiograph.rendering == "ps3.3-c11-floor8/minmax"
    assert codes(radiograph) == {"illegal_window"}
    np.testing.assert_array_equal(radiograph.pixels, rendered().pixels)


def test_window_of_width_one_is_a_threshold() -> None:
    samples = np.array([[0, 99, 100, 4095]], np.uint16)
    np.testing.assert_array_equal(rendered(samples=samples, WindowCenter=100, WindowWidth=1).pixels, [[0, 0, 255, 255]])


def test_first_of_several_windows() -> None:
    several = rendered(WindowCenter=[2048, 100], WindowWidth=[4096, 10])
    assert codes(several) == {"several_windows"}
    np.testing.assert_array_equal(several.pixels, rendered(WindowCenter=2048, WindowWidth=4096).pixels)


def test_slope_of_zero_is_refused() -> None:
    with pytest.raises(InputError, match="Rescale Slope"):
        rendered(RescaleSlope=0, RescaleIntercept=0)


def test_junk_in_the_high_bits_is_cut_off() -> None:
    clean = gradient(bits=10)
    window = {"bits_stored": 10, "WindowCenter": 512, "WindowWidth": 1024}
    junk = clean | np.uint16(0b1010_1100 << 8)
    np.testing.assert_array_equal(rendered(samples=junk, **window).pixels, rendered(samples=clean, **window).pixels)


def test_bits_above_an_overlay_are_shifted_down() -> None:
    clean = gradient(bits=12)
    window = {"WindowCenter": 2048, "WindowWidth": 4096}
    high = rendered(samples=(clean << 4) | np.uint16(5), HighBit=15, **window)
    np.testing.assert_array_equal(high.pixels, rendered(samples=clean, **window).pixels)


def test_signed_values_are_sign_extended_from_bits_stored() -> None:
    samples = np.array([[-2048, -1, 0, 2047]], np.int16)
    window = {"WindowCenter": 0, "WindowWidth": 4096}
    expected = [[0, 127, 127, 255]]
    np.testing.assert_array_equal(rendered(samples=samples, **window).pixels, expected)
    np.testing.assert_array_equal(rendered(samples=samples & np.int16(0x0FFF), **window).pixels, expected)


def test_overshoot_of_a_lossy_codec_is_clamped_not_masked() -> None:
    """A real 12-bit stream holds 1024 in a 10-bit image; cut off, white pixels would turn black."""
    import imagecodecs

    samples = np.full((16, 16), 1023, np.uint16)
    samples[4:12, 4:12] = 1040
    frame = bytes(imagecodecs.jpeg2k_encode(samples, codecformat="j2k", reversible=True, bitspersample=12))
    attributes = {"bits_stored": 10, "WindowCenter": 512, "WindowWidth": 1024}
    lossy = decode(to_bytes(compressed(samples, "1.2.840.10008.1.2.4.91", frame, **attributes)), RENDERING)
    assert lossy.pixels.min() == 255


def test_overlays_are_never_drawn() -> None:
    dataset = make_dataset(gradient())
    dataset.add_new(0x60003000, "OW", b"\xff" * (dataset.Rows * dataset.Columns // 8))
    dataset.add_new(0x60000010, "US", dataset.Rows)
    radiograph = decode(to_bytes(dataset), RENDERING)
    assert codes(radiograph) == {"overlay_ignored"}
    np.testing.assert_array_equal(radiograph.pixels, rendered().pixels)


def test_pixel_aspect_ratio_is_noted() -> None:
    assert codes(rendered(PixelAspectRatio=[2, 1])) == {"pixel_aspect_ratio"}
    assert not codes(rendered(PixelAspectRatio=[1, 1]))


@settings(max_examples=150)
@given(
    seed=st.integers(0, 2**32 - 1),
    bits_stored=st.integers(8, 16),
    shift=st.integers(0, 4),
    signed=st.booleans(),
    clamp=st.booleans(),
    slope=st.sampled_from([None, 1.0, -2.0, 0.5]),
    wavy=st.booleans(),
)
def test_min_max_is_that_of_the_pixels_whatever_the_patterns_mean(  # noqa: PLR0913 - hypothesis gives one by one
    *, seed: int, bits_stored: int, shift: int, signed: bool, clamp: bool, slope: float | None, wavy: bool
) -> None:
    random = np.random.default_rng(seed)
    low, high = sorted(int(v) for v in random.integers(0, 65536, 2))
    samples = random.integers(low, high + 1, (9, 11)).astype(np.uint16)
    high_bit = min(15, bits_stored - 1 + shift)
    stored = StoredValues(bits_allocated=16, bits_stored=bits_stored, high_bit=high_bit, signed=signed, clamp=clamp)
    table = LookupTable(first=0, entries=random.integers(0, 65536, 300), bits=16)
    modality = table if wavy else None if slope is None else Rescale(slope=slope, intercept=3.0)
    transform = GrayscaleTransform(stored=stored, modality=modality, voi=None, padding=None, inverted=False)
    pixels, road, _ = render(samples, transform)
    meant = stored.of_patterns()[samples].astype(np.float64)
    values = table.apply(meant) if wavy else meant if slope is None else meant * slope + 3.0
    spread = values.max() - values.min() or 1.0
    wanted = np.floor((values - values.min()) / spread * 255 + 1e-9).astype(np.uint8)
    np.testing.assert_array_equal(pixels, wanted)
    assert road.endswith("/minmax")
