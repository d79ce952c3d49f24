"""Every transfer syntax gives the same pixels, and the callers' pydicom stays as it was."""

import imagecodecs
import numpy as np
import pytest
from dicom_files import LOSSLESS_ENCODERS, NATIVE, RENDERING, compressed, gradient, make_dataset, make_file, to_bytes
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

from cxr_edge.decode import available_codecs, decode
from cxr_edge.errors import InputError, Reason


@pytest.mark.parametrize("transfer_syntax", NATIVE)
def test_uncompressed(transfer_syntax: str) -> None:
    samples = gradient()
    pixels = decode(to_bytes(make_dataset(samples), transfer_syntax), RENDERING).pixels
    np.testing.assert_array_equal(pixels, decode(make_file(samples), RENDERING).pixels)


@pytest.mark.parametrize("transfer_syntax", sorted(LOSSLESS_ENCODERS))
def test_lossless(transfer_syntax: str) -> None:
    samples = gradient(61, 83)  # odd sizes: padding of frames and of the last row
    dataset = compressed(samples, transfer_syntax, LOSSLESS_ENCODERS[transfer_syntax](samples))
    pixels = decode(to_bytes(dataset), RENDERING).pixels
    np.testing.assert_array_equal(pixels, decode(make_file(samples), RENDERING).pixels)


def test_at_least_twelve_transfer_syntaxes_are_compared() -> None:
    assert len({*NATIVE, *LOSSLESS_ENCODERS}) >= 12


@pytest.mark.parametrize("transfer_syntax", ["1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90"])
def test_signed_image_in_an_unsigned_codestream(transfer_syntax: str) -> None:
    """JPEG-LS has no sign and some writers of JPEG 2000 leave it out: the data set's sign counts."""
    signed = gradient(bits=12, signed=True)
    patterns = (signed & 0x0FFF).astype(np.uint16)
    frame = LOSSLESS_ENCODERS[transfer_syntax](patterns)
    dataset = compressed(signed, transfer_syntax, frame)
    np.testing.assert_array_equal(
        decode(to_bytes(dataset), RENDERING).pixels, decode(make_file(signed), RENDERING).pixels
    )


def test_jpeg_baseline_8_bits() -> None:
    samples = gradient(bits=8)
    frame = bytes(imagecodecs.jpeg8_encode(samples, level=95))
    dataset = compressed(samples, "1.2.840.10008.1.2.4.50", frame, 8, WindowCenter=128, WindowWidth=256)
    np.testing.assert_array_equal(decode(to_bytes(dataset), RENDERING).pixels, imagecodecs.jpeg8_decode(frame))


def test_jpeg_extended_12_bits() -> None:
    samples = gradient()
    frame = bytes(imagecodecs.jpeg8_encode(samples, level=95, bitspersample=12))
    dataset = compressed(samples, "1.2.840.10008.1.2.4.51", frame)
    expected = decode(make_file(imagecodecs.jpeg8_decode(frame)), RENDERING).pixels
    np.testing.assert_array_equal(decode(to_bytes(dataset), RENDERING).pixels, expected)


def test_frame_split_into_fragments() -> None:
    from pydicom.encaps import encapsulate

    samples = gradient()
    frame = LOSSLESS_ENCODERS["1.2.840.10008.1.2.4.70"](samples)
    dataset = compressed(samples, "1.2.840.10008.1.2.4.70", frame)
    dataset.PixelData = encapsulate([frame], fragments_per_frame=3)
    np.testing.assert_array_equal(
        decode(to_bytes(dataset), RENDERING).pixels, decode(make_file(samples), RENDERING).pixels
    )


@pytest.mark.parametrize("transfer_syntax", sorted(LOSSLESS_ENCODERS))
@pytest.mark.parametrize("fragments", [1, 3])
def test_a_cut_sequence_delimitation_item_is_truncated(transfer_syntax: str, fragments: int) -> None:
    """Whoever copies a file slowly shows it without its last bytes for a while, all of the image in it."""
    from pydicom.encaps import encapsulate

    samples = gradient()
    frame = LOSSLESS_ENCODERS[transfer_syntax](samples)
    dataset = compressed(samples, transfer_syntax, frame)
    dataset.PixelData = encapsulate([frame], fragments_per_frame=fragments)
    whole = to_bytes(dataset)
    assert whole.endswith(b"\xfe\xff\xdd\xe0" + bytes(4))
    decode(whole, RENDERING)
    decode(whole + b"\xfc\xff\xfc\xff" + b"OB" + bytes(6), RENDERING)  # what follows is no part of the image
    for missing in range(1, 40):
        with pytest.raises(InputError) as error:
            decode(whole[:-missing], RENDERING)
        assert error.value.reason is Reason.TRUNCATED, missing
        assert error.value.sop_instance_uid is not None


def test_unknown_transfer_syntax_has_no_decoder() -> None:
    dataset = make_dataset(gradient())
    dataset.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.4.100")  # MPEG-2
    dataset["PixelData"].VR = "OB"
    from pydicom.encaps import encapsulate

    dataset.PixelData = encapsulate([b"\0\0"])
    with pytest.raises(InputError, match=r"1\.2\.840\.10008\.1\.2\.4\.100") as error:
        decode(to_bytes(dataset), RENDERING)
    assert error.value.reason is Reason.NO_DECODER


def test_available_codecs_names_a_decoder_for_each() -> None:
    codecs = available_codecs()
    assert {UID(uid).name for uid in (*NATIVE, *LOSSLESS_ENCODERS)} <= set(codecs)
    assert codecs["JPEG Extended (Process 2 and 4)"] == "imagecodecs jpeg8"
    assert codecs["RLE Lossless"] == "imagecodecs dicomrle"


def test_pydicoms_own_decoders_are_left_alone() -> None:
    before = {uid: get_decoder(uid).available_plugins for uid in LOSSLESS_ENCODERS}
    for uid, encode in LOSSLESS_ENCODERS.items():
        samples = gradient()
        decode(to_bytes(compressed(samples, uid, encode(samples))), RENDERING)
    assert {uid: get_decoder(uid).available_plugins for uid in LOSSLESS_ENCODERS} == before


def test_eight_bits_in_sixteen_keep_the_sign_of_the_data_set() -> None:
    """JPEG-LS has no sign: an 8-bit stream in a 16-bit container is widened as the data set says."""
    signed = gradient(bits=8, signed=True)
    frame = bytes(imagecodecs.jpegls_encode(signed.view(np.uint8)))
    dataset = compressed(signed.astype(np.int16), "1.2.840.10008.1.2.4.80", frame, 12)
    expected = decode(make_file(signed.astype(np.int16), 12), RENDERING).pixels
    np.testing.assert_array_equal(decode(to_bytes(dataset), RENDERING).pixels, expected)


def test_a_damaged_htj2k_frame_is_refused_not_half_shown(capfd: pytest.CaptureFixture[str]) -> None:
    samples = gradient()
    frame = LOSSLESS_ENCODERS["1.2.840.10008.1.2.4.201"](samples)
    half = frame[: len(frame) // 2] + frame[-2:]
    with pytest.raises(InputError) as error:
        decode(to_bytes(compressed(samples, "1.2.840.10008.1.2.4.201", half)), RENDERING)
    assert error.value.reason is Reason.DECODE_FAILED
    assert capfd.readouterr() == ("", "")
