"""HTJ2K: the fast decoder for what is whole, the careful one for all else, and never an image of half its rows."""

import random
import sys
import threading

import imagecodecs
import numpy as np
import pytest
from dicom_files import RENDERING, compressed, gradient, make_file, to_bytes

from cxr_edge.decode import decode
from cxr_edge.decode.htj2k import decode_htj2k, has_whole_tile_parts
from cxr_edge.errors import InputError

HTJ2K = "1.2.840.10008.1.2.4.201"
SAMPLES = gradient(64, 80)
FRAME = bytes(imagecodecs.htj2k_encode(SAMPLES, reversible=True))


def fails(decoder: object, frame: bytes) -> bool:
    try:
        decoder(frame)  # type: ignore[operator]
    except Exception:  # noqa: BLE001 - any will do
        return True
    return False


def test_a_whole_frame_is_decoded_by_openjph(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imagecodecs, "jpeg2k_decode", lambda _: pytest.fail("the slow decoder was used"))
    np.testing.assert_array_equal(decode_htj2k(FRAME), SAMPLES)
    np.testing.assert_array_equal(decode_htj2k(FRAME + b"\0"), SAMPLES)


@pytest.mark.parametrize("frame", [FRAME[:200] + FRAME[-2:], FRAME[:-1], FRAME[:40], b"", FRAME[:300] + FRAME[310:]])
def test_what_is_not_whole_is_seen(frame: bytes) -> None:
    assert has_whole_tile_parts(FRAME)
    assert not has_whole_tile_parts(frame)


def test_damage_that_openjpeg_refuses_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    """OpenJPH in imagecodecs gives an image for nearly all of these, and prints. No decoder sees all damage."""
    rng = random.Random(3)  # noqa: S311 - repeatable
    refused, missed = 0, 0
    for _ in range(300):
        frame = bytearray(FRAME)
        for _ in range(6):
            frame[rng.randrange(120, len(frame) - 2)] = rng.randrange(256)
        if fails(imagecodecs.jpeg2k_decode, bytes(frame)):
            refused += 1
            missed += not fails(decode_htj2k, bytes(frame))
    assert refused > 100
    assert missed <= refused * 0.03
    assert capfd.readouterr() == ("", "")


def test_a_frame_cut_in_the_middle_is_refused() -> None:
    cut = FRAME[: len(FRAME) // 2] + FRAME[-2:]
    with pytest.raises(InputError):
        decode(to_bytes(compressed(SAMPLES, HTJ2K, cut)), RENDERING)


def test_hooks_are_put_back_and_other_threads_keep_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", seen.append)
    before = sys.unraisablehook, sys.excepthook

    def during(frame: bytes) -> None:
        thread = threading.Thread(target=lambda: sys.unraisablehook("theirs"))  # type: ignore[arg-type]
        thread.start()
        thread.join()
        imagecodecs.jpeg2k_decode(frame)

    monkeypatch.setattr(imagecodecs, "htj2k_decode", during)
    decode_htj2k(FRAME)
    assert seen == ["theirs"]
    assert (sys.unraisablehook, sys.excepthook) == before


@pytest.mark.parametrize("signed", [False, True])
def test_signed_and_unsigned(*, signed: bool) -> None:
    samples = gradient(64, 80, signed=signed)
    frame = bytes(imagecodecs.htj2k_encode(samples, reversible=True))
    pixels = decode(to_bytes(compressed(samples, HTJ2K, frame)), RENDERING).pixels
    np.testing.assert_array_equal(pixels, decode(make_file(samples), RENDERING).pixels)


def test_colour() -> None:
    rgb = np.random.default_rng(7).integers(0, 256, (24, 30, 3), np.uint8)
    frame = bytes(imagecodecs.htj2k_encode(rgb, reversible=True))
    pixels = decode(to_bytes(compressed(rgb, HTJ2K, frame, 8)), RENDERING).pixels
    np.testing.assert_array_equal(pixels, decode(make_file(rgb, 8), RENDERING).pixels)
