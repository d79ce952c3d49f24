"""DICOM files that are small or legal by themselves and would take gigabytes or minutes: refused by cheap checks."""

import io
import struct
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from dicom_files import (
    LOSSLESS_ENCODERS,
    NATIVE,
    PATIENT,
    RENDERING,
    compressed,
    gradient,
    make_dataset,
    make_file,
    make_lut,
    to_bytes,
    with_raw_element,
)
from PIL import Image
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.tag import Tag

from cxr_edge.decode import DecodeLimits, decode
from cxr_edge.errors import InputError, Reason


def refusal(data: bytes, limits: DecodeLimits | None = None) -> tuple[Reason, str]:
    with pytest.raises(InputError) as error:
        decode(data, RENDERING, limits=limits or DecodeLimits())
    assert PATIENT not in str(error.value)
    return error.value.reason, str(error.value)


@pytest.mark.parametrize("shape", [(1, 41), (41, 1)])
def test_one_side_is_too_long(shape: tuple[int, int]) -> None:
    data = make_file(np.arange(41, dtype=np.uint16).reshape(shape))
    assert decode(data, RENDERING, limits=DecodeLimits(side=41)).pixels.shape == shape
    reason, message = refusal(data, DecodeLimits(side=40))
    assert reason is Reason.TOO_LARGE
    assert message == f"the image is {shape[0]} x {shape[1]}; at most 40 rows and columns are read"


@pytest.mark.parametrize(
    ("keyword", "most"),
    [
        ("WindowCenter", 65_536),
        ("PhotometricInterpretation", 65_536),
        ("PixelRepresentation", 65_536),
        ("SpecificCharacterSet", 65_536),
        ("PixelPaddingValue", 65_536),
        ("PixelAspectRatio", 65_536),
        ("PatientSpeciesCodeSequence", 65_536),
        ("VOILUTSequence", 1_048_576),
    ],
)
def test_attribute_far_too_long_is_refused_while_raw(keyword: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    converted = pydicom.dataelem.convert_raw_data_element

    def convert(raw: RawDataElement, **options: Any) -> DataElement:
        assert len(raw.value or b"") <= 65_536, "a long attribute was converted"
        return converted(raw, **options)

    monkeypatch.setattr(pydicom.dataset, "convert_raw_data_element", convert)
    value = b"1\\" * (most // 2 + 1)
    reason, message = refusal(with_raw_element(make_dataset(gradient()), keyword, value))
    assert reason is Reason.MALFORMED
    assert message.startswith(f"({Tag(keyword).group:04X},{Tag(keyword).element:04X}) ")
    assert message.endswith(f"holds {most + 2:,} bytes; at most {most:,} are read")


@pytest.mark.parametrize("nested", [False, True])
def test_millions_of_character_sets_are_refused_before_they_are_converted(*, nested: bool) -> None:
    character_sets = struct.pack("<HHI", 0x0008, 0x0005, 400_000) + b"A\\" * 200_000
    if nested:
        item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) + character_sets
        character_sets = struct.pack("<HHI", 0x0008, 0x0006, 0xFFFFFFFF) + item
    data = to_bytes(make_dataset(gradient()), NATIVE[0])
    at = data.index(b"\x08\x00\x16\x00")
    assert refusal(data[:at] + character_sets + data[at:])[0] is Reason.TOO_LARGE


def test_long_attribute_of_the_gate_is_left_out_with_a_note() -> None:
    radiograph = decode(with_raw_element(make_dataset(gradient()), "BodyPartExamined", b"A\\" * 40_000), RENDERING)
    assert radiograph.tags is not None
    assert radiograph.tags.body_part_examined is None
    (note,) = radiograph.notes
    assert note.message == "(0018,0015) Body Part Examined holds 80,000 bytes; at most 65,536 are read; not used"


def test_long_attribute_that_nobody_reads_costs_nothing() -> None:
    data = with_raw_element(make_dataset(gradient()), "ImageComments", b"A\\" * 100_000)
    np.testing.assert_array_equal(decode(data, RENDERING).pixels, decode(make_file(), RENDERING).pixels)


def test_attributes_up_to_the_cap_are_read() -> None:
    centers = b"2048".ljust(16, b" ") + b"\\1" * 32_760
    dataset = make_dataset(gradient(), WindowWidth=4096)
    radiograph = decode(with_raw_element(dataset, "WindowCenter", centers), RENDERING)
    assert [note.code for note in radiograph.notes] == ["several_windows"]


def test_largest_lookup_table_is_read_in_implicit_vr() -> None:
    table = make_dataset(gradient(bits=16), 16, VOILUTSequence=make_lut(0, list(range(65_535))))
    data = to_bytes(table, NATIVE[0])
    assert decode(data, RENDERING).rendering == "ps3.3-c11-floor8/voi-lut"


def test_pixel_data_of_a_text_vr_are_refused_before_they_are_split() -> None:
    data = make_file(PixelData=b"1\\" * 2240)
    at = data.rindex(b"\xe0\x7f\x10\x00OW")
    reason, message = refusal(data[: at + 4] + b"UC" + data[at + 6 :])
    assert reason is Reason.MALFORMED
    assert message == "(7FE0,0010) Pixel Data has no VR of pixels; need OB or OW"


def test_jpeg_frame_of_endless_scans_is_refused_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = gradient(bits=8)
    stream = io.BytesIO()
    Image.fromarray(samples).save(stream, "JPEG", progressive=True)
    jpeg = stream.getvalue()
    last = jpeg.rindex(b"\xff\xda")
    frame = jpeg[:-2] + jpeg[last:-2] * (201 - jpeg.count(b"\xff\xda")) + jpeg[-2:]
    monkeypatch.setattr(imagecodecs, "jpeg8_decode", lambda _: pytest.fail("was decoded"))
    reason, message = refusal(to_bytes(compressed(samples, "1.2.840.10008.1.2.4.50", frame, 8)))
    assert reason is Reason.TOO_LARGE
    assert message == "the JPEG has 201 scans; at most 200 are read"


@pytest.mark.parametrize("transfer_syntax", ["1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.80"])
def test_scans_are_counted_in_jpeg_alone(transfer_syntax: str) -> None:
    samples = gradient()
    frame = LOSSLESS_ENCODERS[transfer_syntax](samples)
    data = to_bytes(compressed(samples, transfer_syntax, frame + b"\xff\xda" * 300 + frame[-2:]))
    np.testing.assert_array_equal(
        decode(data, RENDERING).pixels, decode(to_bytes(compressed(samples, transfer_syntax, frame)), RENDERING).pixels
    )
