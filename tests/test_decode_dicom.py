"""What is refused before decoding and why; what is taken from the tags; what a caller's data set is spared."""

import copy
import io
import os
import struct
import subprocess
import sys
import zlib
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from dicom_files import (
    CR_STORAGE,
    LOSSLESS_ENCODERS,
    NATIVE,
    PATIENT,
    RENDERING,
    SOP_INSTANCE,
    STUDY_INSTANCE,
    compressed,
    gradient,
    make_dataset,
    make_file,
    make_lut,
    to_bytes,
)
from pydicom.config import IGNORE
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from cxr_edge.decode import DecodeLimits, decode, decode_dataset
from cxr_edge.errors import InputError, Reason
from cxr_edge.types import Tags

JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"
JPEG_2000 = "1.2.840.10008.1.2.4.90"


def refusal(data: bytes, limits: DecodeLimits | None = None) -> tuple[Reason, str]:
    with pytest.raises(InputError) as error:
        decode(data, RENDERING, limits=limits or DecodeLimits())
    assert PATIENT not in str(error.value)
    return error.value.reason, str(error.value)


def codes(data: bytes) -> set[str]:
    return {note.code for note in decode(data, RENDERING).notes}


@pytest.mark.parametrize(
    ("attributes", "reason", "message"),
    [
        ({"PixelData": None}, Reason.NO_PIXEL_DATA, "(7FE0,0010) Pixel Data is absent"),
        ({"PixelData": b""}, Reason.NO_PIXEL_DATA, "(7FE0,0010) Pixel Data is empty"),
        ({"PixelData": None, "FloatPixelData": bytes(8)}, Reason.UNSUPPORTED, "floating point"),
        ({"PhotometricInterpretation": None}, Reason.MALFORMED, "(0028,0004) Photometric Interpretation is absent"),
        ({"PhotometricInterpretation": "HSV"}, Reason.UNSUPPORTED, "need MONOCHROME1 or MONOCHROME2"),
        ({"Rows": None}, Reason.MALFORMED, "(0028,0010) Rows is absent"),
        ({"Rows": 0}, Reason.MALFORMED, "0 x 56"),
        ({"Rows": 41}, Reason.DIMENSIONS_DISAGREE, "holds 4480 bytes; Rows x Columns need 4592"),
        ({"Rows": 65535, "Columns": 65535}, Reason.TOO_LARGE, "65535 x 65535"),
        ({"NumberOfFrames": 2}, Reason.MULTI_FRAME, "(0028,0008) Number of Frames is 2; need 1"),
        ({"NumberOfFrames": 0}, Reason.MALFORMED, "(0028,0008) Number of Frames is 0; need 1"),
        ({"PresentationIntentType": "FOR PROCESSING"}, Reason.FOR_PROCESSING, "need FOR PRESENTATION"),
        ({"BitsAllocated": 32}, Reason.UNSUPPORTED, "(0028,0100) Bits Allocated is 32"),
        ({"BitsStored": 17}, Reason.MALFORMED, "(0028,0101) Bits Stored is 17; need 1 to 16"),
        ({"BitsStored": 0}, Reason.MALFORMED, "(0028,0101) Bits Stored is 0"),
        ({"HighBit": 16}, Reason.MALFORMED, "(0028,0102) High Bit is 16"),
        ({"PixelRepresentation": 2}, Reason.MALFORMED, "(0028,0103) Pixel Representation is 2"),
        ({"SamplesPerPixel": 3}, Reason.MALFORMED, "MONOCHROME2 needs 1"),
    ],
)
def test_refused_with_tag_found_needed(attributes: dict[str, Any], reason: Reason, message: str) -> None:
    found, text = refusal(make_file(**attributes))
    assert found is reason
    assert message in text


@pytest.mark.parametrize("uid", ["19650304.1234", "1.2.840.113619.5.2", "MARK", "1.2.840.10008.1.2.4.100"])
def test_only_transfer_syntaxes_that_dicom_knows_are_named(uid: str) -> None:
    dataset = make_dataset(gradient())
    dataset.file_meta.add(DataElement("TransferSyntaxUID", "UI", uid, validation_mode=IGNORE))
    with pytest.raises(InputError) as error:
        decode_dataset(dataset, RENDERING)
    assert error.value.reason is Reason.NO_DECODER
    shown = uid if uid.endswith(".100") else "none that DICOM knows"
    assert str(error.value) == f"(0002,0010) Transfer Syntax UID is {shown}; no decoder for it is here"


def test_excess_pixel_data_is_noted() -> None:
    data = make_file(PixelData=gradient().tobytes() + b"\1" * 10)
    assert codes(data) == {"excess_pixel_data"}


def test_one_frame_is_no_multi_frame() -> None:
    assert codes(make_file(NumberOfFrames=1)) == set()


# -- truncation and absence ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transfer_syntax", [NATIVE[0], NATIVE[1], NATIVE[3], JPEG_LOSSLESS])
def test_every_cut_is_refused_and_cuts_of_the_pixels_are_called_truncated(transfer_syntax: str) -> None:
    samples = gradient()
    if transfer_syntax in NATIVE:
        data = to_bytes(make_dataset(samples), transfer_syntax)
    else:
        data = to_bytes(compressed(samples, transfer_syntax, LOSSLESS_ENCODERS[transfer_syntax](samples)))
    pixels_at = data.rindex(b"\xe0\x7f\x10\x00" if transfer_syntax != NATIVE[3] else b"\x7f\xe0\x00\x10")
    for length in range(pixels_at + 12, len(data) - 8, 97):
        assert refusal(data[:length])[0] is Reason.TRUNCATED, length
    for length in range(1, pixels_at, 13):
        assert refusal(data[:length])[0] in {Reason.TRUNCATED, Reason.UNKNOWN_FORMAT, Reason.NO_PIXEL_DATA}, length


def test_codestream_without_its_end_is_truncated_though_the_file_is_whole() -> None:
    samples = gradient()
    frame = LOSSLESS_ENCODERS[JPEG_LOSSLESS](samples)
    reason, message = refusal(to_bytes(compressed(samples, JPEG_LOSSLESS, frame[: len(frame) // 2])))
    assert reason is Reason.TRUNCATED
    assert "ends early" in message


def test_file_cut_inside_a_sequence() -> None:
    item = Dataset()
    item.CodeMeaning = "Felis catus"
    data = make_file(PatientSpeciesCodeSequence=Sequence([item]))
    start = data.index(b"\x08\x00\x16\x00UI")
    opened = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    assert refusal(data[:start] + opened + data[start : data.index(b"Felis")])[0] is Reason.TRUNCATED


def test_file_cut_inside_the_prefix() -> None:
    assert refusal(bytes(128) + b"DIC")[0] is Reason.TRUNCATED


# -- bombs and lies --------------------------------------------------------------------------------------------------


def test_jpeg_header_that_lies_is_refused_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = gradient()
    frame = bytearray(LOSSLESS_ENCODERS[JPEG_LOSSLESS](samples))
    sof = frame.index(b"\xff\xc3")
    struct.pack_into(">HH", frame, sof + 5, 65500, 65500)
    monkeypatch.setattr(imagecodecs, "jpeg8_decode", lambda _: pytest.fail("was decoded"))
    reason, message = refusal(to_bytes(compressed(samples, JPEG_LOSSLESS, bytes(frame))))
    assert reason is Reason.DIMENSIONS_DISAGREE
    assert message == "the compressed frame is 65500 x 65500; Rows x Columns is 40 x 56"


@pytest.mark.parametrize("layout", ["codestream", "boxed"])
def test_jpeg_2000_header_that_lies_is_refused_before_decoding(layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = gradient()
    frame = LOSSLESS_ENCODERS[JPEG_2000](samples)
    bomb = bytearray(frame)
    struct.pack_into(">II", bomb, 8, 60000, 60000)
    if layout == "boxed":  # a decoy in a box that decoders skip
        decoy = struct.pack(">I4s", 8 + len(frame[:64]), b"xml ") + frame[:64]
        bomb = bytearray(b"\0\0\0\x0cjP  \r\n\x87\n" + decoy + struct.pack(">I4s", 0, b"jp2c") + bytes(bomb))
    monkeypatch.setattr(imagecodecs, "jpeg2k_decode", lambda _: pytest.fail("was decoded"))
    assert refusal(to_bytes(compressed(samples, JPEG_2000, bytes(bomb))))[0] is Reason.DIMENSIONS_DISAGREE


def test_jpeg_ls_header_that_lies_is_refused_before_decoding() -> None:
    samples = gradient()
    frame = bytearray(LOSSLESS_ENCODERS["1.2.840.10008.1.2.4.80"](samples))
    struct.pack_into(">HH", frame, frame.index(b"\xff\xf7") + 5, 40, 57)
    reason, _ = refusal(to_bytes(compressed(samples, "1.2.840.10008.1.2.4.80", bytes(frame))))
    assert reason is Reason.DIMENSIONS_DISAGREE


def test_codestream_deeper_than_bits_allocated_is_refused() -> None:
    frame = LOSSLESS_ENCODERS[JPEG_LOSSLESS](gradient())
    dataset = compressed(gradient(bits=8), JPEG_LOSSLESS, frame, 8)
    assert refusal(to_bytes(dataset))[0] is Reason.DIMENSIONS_DISAGREE


def test_frame_that_is_no_codestream() -> None:
    assert refusal(to_bytes(compressed(gradient(), JPEG_2000, b"no such thing")))[0] is Reason.DECODE_FAILED


def test_deflate_bomb_stops_at_the_cap() -> None:
    data = to_bytes(make_dataset(gradient()), NATIVE[2])
    meta_length = 132 + data[132:].index(b"1.2.840.10008.1.2.1.99") + 22
    bomb = zlib.compressobj(9, wbits=-15)
    deflated = bomb.compress(bytes(50_000_000)) + bomb.flush()
    reason, message = refusal(data[:meta_length] + deflated, DecodeLimits(inflated_bytes=1_000_000))
    assert reason is Reason.TOO_LARGE
    assert "1000000 bytes" in message


def test_deflated_where_memory_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """The buffer of the most that could come out may be refused although what does come out is small."""
    data = to_bytes(make_dataset(gradient()), NATIVE[2])
    expected = decode(data, RENDERING).pixels
    allocate, refused = np.empty, []

    def empty(shape: Any, *args: Any, **options: Any) -> Any:
        if isinstance(shape, int) and shape > 1_000_000:
            refused.append(shape)
            raise MemoryError
        return allocate(shape, *args, **options)

    monkeypatch.setattr(np, "empty", empty)
    np.testing.assert_array_equal(decode(data, RENDERING).pixels, expected)
    assert refused
    assert refusal(data[:-300])[0] is Reason.TRUNCATED


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA counts anonymous memory on Linux")
def test_three_megabytes_deflated_are_read_within_256_mib() -> None:
    random = np.random.default_rng(2).integers(0, 4096, (1400, 1400)).astype(np.uint16)
    data = to_bytes(make_dataset(random), NATIVE[2])
    assert len(data) > 2_900_000
    code = """
import resource, sys
import imagecodecs, numpy, pydicom
from cxr_edge.contract import Rendering
from cxr_edge.decode import decode
resource.setrlimit(resource.RLIMIT_DATA, (256 * 2**20, 256 * 2**20))
rendering = Rendering(dicom="ps3.3-c11-floor8", colour="pillow-l", exif_orientation="ignore")
print(decode(sys.stdin.buffer.read(), rendering).pixels.shape)
"""
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run(
        [sys.executable, "-c", code], input=data, capture_output=True, env=environment, check=False, timeout=120
    )
    assert (ran.stdout.split(b"\n")[0], ran.stderr) == (b"(1400, 1400)", b"")


def test_deflated_data_set_that_is_cut() -> None:
    data = to_bytes(make_dataset(gradient()), NATIVE[2])
    assert refusal(data[:-300])[0] is Reason.TRUNCATED


def test_nesting_without_end() -> None:
    item = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    data = make_file()
    start = data.index(b"\x08\x00\x16\x00UI")
    assert refusal(data[:start] + item * 5000 + data[start:])[0] is Reason.MALFORMED


def test_millions_of_empty_elements() -> None:
    data = make_file()
    start = data.index(b"\x08\x00\x16\x00UI")
    many = struct.pack("<HH2sH", 0x0008, 0x0008, b"CS", 0) * 20_000
    assert refusal(data[:start] + many + data[start:], DecodeLimits(reads=10_000))[0] is Reason.TOO_LARGE
    assert decode(data[:start] + many + data[start:], RENDERING).pixels.shape == (40, 56)


def test_millions_of_empty_items() -> None:
    items = struct.pack("<HHI", 0xFFFE, 0xE000, 0) * 40_000
    data = make_file()
    start = data.index(b"\x08\x00\x16\x00UI")
    sequence = struct.pack("<HH2sHI", 0x0008, 0x0006, b"SQ", 0, 0xFFFFFFFF) + items
    assert refusal(data[:start] + sequence + data[start:], DecodeLimits(reads=10_000))[0] is Reason.TOO_LARGE


def test_file_larger_than_the_cap() -> None:
    assert refusal(make_file(), DecodeLimits(file_bytes=1000))[0] is Reason.TOO_LARGE


# -- files that are odd but readable ---------------------------------------------------------------------------------


@pytest.mark.parametrize("transfer_syntax", [NATIVE[0], NATIVE[1], NATIVE[3]])
def test_data_set_without_preamble_and_file_meta(transfer_syntax: str) -> None:
    data = to_bytes(make_dataset(gradient()), transfer_syntax)
    group = b"\x00\x08\x00\x16" if transfer_syntax == NATIVE[3] else b"\x08\x00\x16\x00"
    bare = data[data.index(group) :]
    radiograph = decode(bare, RENDERING)
    np.testing.assert_array_equal(radiograph.pixels, decode(make_file(), RENDERING).pixels)
    assert {note.code for note in radiograph.notes} == {"no_preamble", "transfer_syntax_guessed"}


def test_file_meta_without_preamble() -> None:
    assert codes(make_file()[132:]) == {"no_preamble"}


def test_bare_data_set_without_sop_class_is_no_dicom() -> None:
    data = make_file()
    start = data.index(b"\x08\x00\x18\x00UI")
    assert refusal(data[start:])[0] is Reason.UNKNOWN_FORMAT


def test_missing_transfer_syntax_is_guessed_with_a_note() -> None:
    dataset = make_dataset(gradient())
    data = to_bytes(dataset)
    start = data.index(b"\x02\x00\x10\x00UI")
    end = start + 8 + struct.unpack_from("<H", data, start + 6)[0]
    assert codes(data[:start] + data[end:]) == {"transfer_syntax_guessed"}


def test_implicit_data_set_that_says_explicit() -> None:
    implicit = to_bytes(make_dataset(gradient()), NATIVE[0])
    lying = implicit.replace(b"1.2.840.10008.1.2\0", b"1.2.840.10008.1.2.1\0"[:20], 1)
    explicit = make_file()
    body = implicit[implicit.index(b"\x08\x00\x16\x00") :]
    head = explicit[: explicit.index(b"\x08\x00\x16\x00")]
    assert lying
    np.testing.assert_array_equal(decode(head + body, RENDERING).pixels, decode(explicit, RENDERING).pixels)


@pytest.mark.parametrize(
    ("preamble", "code"),
    [(b"MZ\x90", "preamble_executable"), (b"\x7fELF", "preamble_executable"), (b"II*\0", "preamble_tiff")],
)
def test_polyglot_preamble_is_noted(preamble: bytes, code: str) -> None:
    data = make_file()
    assert codes(preamble + data[len(preamble) :]) == {code}


def test_dicomdir() -> None:
    assert refusal(make_file(PixelData=None, SOPClassUID="1.2.840.10008.1.3.10"))[0] is Reason.DICOMDIR


def test_dicomdir_by_its_records_alone() -> None:
    dataset = make_dataset(gradient(), PixelData=None)
    dataset.DirectoryRecordSequence = Sequence([Dataset()])
    assert refusal(to_bytes(dataset))[0] is Reason.DICOMDIR


def test_pixel_data_of_an_icon_are_not_the_image() -> None:
    icon = Dataset()
    icon.Rows = icon.Columns = icon.BitsAllocated = 8
    icon.PixelData = bytes(64)
    dataset = make_dataset(gradient(), PixelData=None, IconImageSequence=Sequence([icon]))
    assert refusal(to_bytes(dataset))[0] is Reason.NO_PIXEL_DATA


def test_what_follows_the_pixel_data_is_not_read() -> None:
    assert decode(make_file() + b"\xff" * 100, RENDERING).notes == ()


# -- tags and identifiers --------------------------------------------------------------------------------------------


def test_tags_of_the_gate() -> None:
    radiograph = decode(
        make_file(
            Modality="DX", ViewPosition=" ap ", BodyPartExamined="Thorax", PatientAge="004Y",
            PatientSpeciesDescription="Canine", PresentationIntentType="FOR PRESENTATION",
        ),
        RENDERING,
        path="x/y.dcm",
    )  # fmt: skip
    assert radiograph.tags == Tags(
        modality="DX",
        view_position="AP",
        body_part_examined="THORAX",
        patient_age_years=4.0,
        patient_species="CANINE",
        presentation_intent_type="FOR PRESENTATION",
        photometric_interpretation="MONOCHROME2",
    )
    assert radiograph.source.path == "x/y.dcm"
    assert radiograph.source.sop_instance_uid == SOP_INSTANCE
    assert radiograph.source.study_instance_uid == STUDY_INSTANCE


def test_absent_and_empty_tags_are_none() -> None:
    tags = decode(make_file(Modality=None, ViewPosition="", BodyPartExamined="  ", PatientAge=""), RENDERING).tags
    assert tags == Tags(photometric_interpretation="MONOCHROME2")


@pytest.mark.parametrize(
    ("text", "years"), [("004Y", 4), ("018M", 1.5), ("052W", 364 / 365.25), ("010D", 10 / 365.25), ("000D", 0)]
)
def test_age(text: str, years: float) -> None:
    tags = decode(make_file(PatientAge=text), RENDERING).tags
    assert tags is not None
    assert tags.patient_age_years == pytest.approx(years)


@pytest.mark.parametrize("text", ["62", "4Y", "ABC", "004X"])
def test_age_without_meaning_is_noted_and_its_value_kept_to_itself(text: str) -> None:
    data = to_bytes(make_dataset(gradient(), PatientAge="099Y")).replace(b"099Y", text.ljust(4).encode())
    radiograph = decode(data, RENDERING)
    assert radiograph.tags is not None
    assert radiograph.tags.patient_age_years is None
    (note,) = radiograph.notes
    assert note.code == "age_unreadable"
    assert text not in note.message


@pytest.mark.parametrize("uid", ["../../etc/passwd", "1.2.3 4", "1..2", "1.02.3", "1." * 40 + "1", "a.b"])
def test_identifiers_that_are_no_uid_are_dropped(uid: str) -> None:
    radiograph = decode_dataset(make_dataset(gradient(), SOPInstanceUID=uid), RENDERING)
    assert radiograph.source.sop_instance_uid is None
    assert [note.code for note in radiograph.notes] == ["invalid_uid"]
    assert uid not in radiograph.notes[0].message


def test_coded_species() -> None:
    item = Dataset()
    item.CodeMeaning = "Felis catus"
    tags = decode(make_file(PatientSpeciesCodeSequence=Sequence([item])), RENDERING).tags
    assert tags is not None
    assert tags.patient_species == "FELIS CATUS"


def test_sop_class_decides_nothing() -> None:
    secondary_capture = "1.2.840.10008.5.1.4.1.1.7"
    assert decode(make_file(SOPClassUID=secondary_capture), RENDERING).notes == ()
    assert secondary_capture != CR_STORAGE


# -- a caller's data set ---------------------------------------------------------------------------------------------


def test_decode_dataset_equals_decode() -> None:
    for data in (make_file(WindowCenter=2048, WindowWidth=4096), _compressed_file()):
        dataset = pydicom.dcmread(io.BytesIO(data))
        np.testing.assert_array_equal(decode_dataset(dataset, RENDERING).pixels, decode(data, RENDERING).pixels)


def _compressed_file() -> bytes:
    samples = gradient()
    return to_bytes(compressed(samples, JPEG_LOSSLESS, LOSSLESS_ENCODERS[JPEG_LOSSLESS](samples)))


def test_callers_data_set_is_not_changed() -> None:
    data = make_file(
        PhotometricInterpretation="MONOCHROME1", PresentationLUTShape="INVERSE", RescaleSlope=1, RescaleIntercept=0,
        VOILUTSequence=make_lut(0, list(range(256)), 8), PixelPaddingValue=0,
    )  # fmt: skip
    dataset = pydicom.dcmread(io.BytesIO(data))
    raw_before = {tag: type(element) for tag, element in dataset.items()}
    state = copy.deepcopy(dataset)
    decode_dataset(dataset, RENDERING)
    assert {tag: type(element) for tag, element in dataset.items()} == raw_before
    assert dataset == state
    assert dataset.file_meta == state.file_meta
    stream = io.BytesIO()
    dataset.save_as(stream)
    assert stream.getvalue() == data


def test_data_set_made_in_memory_without_file_meta() -> None:
    made = make_dataset(gradient())
    plain = Dataset()
    for element in made:
        plain.add(element)
    np.testing.assert_array_equal(decode_dataset(plain, RENDERING).pixels, decode(make_file(), RENDERING).pixels)


def test_buffered_pixel_data_of_a_caller() -> None:
    made = make_dataset(gradient())
    made.PixelData = io.BytesIO(gradient().tobytes())
    np.testing.assert_array_equal(decode_dataset(made, RENDERING).pixels, decode(make_file(), RENDERING).pixels)
    assert made.PixelData.tell() == 0


def test_pixel_intensity_relationship_is_recorded_and_changes_nothing() -> None:
    """(0028,1040), PS3.3 C.8.11.3.1.2: never acted on."""
    plain = decode(make_file(), RENDERING)
    for term in ("LIN", "LOG", "DISP"):
        radiograph = decode(make_file(PixelIntensityRelationship=term), RENDERING)
        assert radiograph.tags is not None
        assert radiograph.tags.pixel_intensity_relationship == term
        np.testing.assert_array_equal(radiograph.pixels, plain.pixels)


@pytest.mark.parametrize("transfer_syntax", NATIVE)
def test_large_uncompressed_pixels_are_read_where_they_lie(
    monkeypatch: pytest.MonkeyPatch, transfer_syntax: str
) -> None:
    samples = np.random.Generator(np.random.PCG64(11)).integers(0, 4096, (900, 800), dtype=np.uint16)
    data = to_bytes(make_dataset(samples), transfer_syntax)
    shared = decode(data, RENDERING)
    monkeypatch.setattr("cxr_edge.decode.dataset._SHARED", len(data) * 2)
    copied = decode(data, RENDERING)
    assert np.array_equal(shared.pixels, copied.pixels)
    assert shared.notes == copied.notes
    assert len(np.unique(shared.pixels)) > 200


def test_large_pixels_that_are_cut_are_still_refused() -> None:
    samples = np.ones((900, 800), np.uint16)
    data = to_bytes(make_dataset(samples))
    assert refusal(data[:-7])[0] is Reason.TRUNCATED
