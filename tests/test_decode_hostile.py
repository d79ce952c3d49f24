"""Whatever the bytes are, only InputError leaves, fast, silent, and without a word about the patient."""

import io
import logging
import random
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

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
    to_bytes,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cxr_edge.decode import decode, decode_dataset
from cxr_edge.decode.hush import hushed
from cxr_edge.errors import InputError, Reason

# What docs/reference promises for each file of data/dicom/malformed; None: it is decoded
MALFORMED: dict[str, tuple[Reason | None, str | None]] = {
    "DICOMDIR": (Reason.DICOMDIR, None),
    "bomb_65535x65535_native.dcm": (Reason.TOO_LARGE, None),
    "bomb_frames.dcm": (Reason.MULTI_FRAME, None),
    "cn_name.dcm": (None, None),
    "deflate_bomb_300MB.dcm": (Reason.TOO_LARGE, None),
    "frames_zero.dcm": (Reason.MALFORMED, None),
    "html.dcm": (Reason.UNKNOWN_FORMAT, None),
    "j2k_siz_bomb.dcm": (Reason.DIMENSIONS_DISAGREE, None),
    "jp_name.dcm": (None, None),
    "jpeg_header_mismatch_65535.dcm": (Reason.TOO_LARGE, None),
    "jpeg_sof_bomb.dcm": (Reason.DIMENSIONS_DISAGREE, None),
    "nested5000.dcm": (Reason.MALFORMED, None),
    "no_photometric.dcm": (Reason.MALFORMED, None),
    "no_pixeldata.dcm": (Reason.NO_PIXEL_DATA, None),
    "no_preamble.dcm": (None, "no_preamble"),
    "path_traversal_name.dcm": (None, None),
    "pe_polyglot.dcm": (None, "preamble_executable"),
    "tag_lateral.dcm": (None, None),
    "tiff_dual_preamble.dcm": (None, "preamble_tiff"),
    "trunc_131bytes.dcm": (Reason.TRUNCATED, None),
    "trunc_50pct_native.dcm": (Reason.TRUNCATED, None),
    "trunc_header.dcm": (Reason.TRUNCATED, None),
    "trunc_jpeg.dcm": (Reason.TRUNCATED, None),
    "zero_byte.dcm": (Reason.EMPTY, None),
}


def seeds() -> list[bytes]:
    """Small whole files of every kind that is read."""
    samples = gradient(20, 24)
    files = [to_bytes(make_dataset(samples, WindowCenter=2048, WindowWidth=4096), uid) for uid in NATIVE]
    files += [to_bytes(compressed(samples, uid, encode(samples))) for uid, encode in LOSSLESS_ENCODERS.items()]
    for file_format in ("JPEG", "PNG", "WEBP", "TIFF", "BMP"):
        stream = io.BytesIO()
        Image.fromarray(gradient(20, 24, 8)).save(stream, file_format)
        files.append(stream.getvalue())
    return files


SEEDS = seeds()


def outcome(data: bytes) -> None:
    """Decode; anything but an image or an InputError fails the test."""
    try:
        radiograph = decode(data, RENDERING)
    except InputError as refusal:
        told = f"{Reason(refusal.reason)} {refusal}"
    else:
        told = repr((radiograph.rendering, radiograph.notes))
        assert radiograph.pixels.dtype == np.uint8
        assert radiograph.pixels.ndim == 2
    assert "Nobody" not in told


def mutate(data: bytes, rng: random.Random) -> bytes:
    mutated = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        at = rng.randrange(len(mutated))
        match rng.randrange(5):
            case 0:
                mutated[at] = rng.randrange(256)
            case 1:
                mutated[at] ^= 1 << rng.randrange(8)
            case 2:
                del mutated[at : at + rng.randrange(1, 9)]
            case 3:
                mutated[at:at] = rng.randbytes(rng.randrange(1, 9))
            case _:
                mutated[at : at + 4] = rng.choice((b"\xff\xff\xff\xff", bytes(4), b"\xff\xff\xff\x7f"))
        if not mutated:
            return b""
    return bytes(mutated)


def test_mutated_files() -> None:
    rng = random.Random(2024)  # noqa: S311 - a seed makes failures repeatable
    slowest = 0.0
    for _ in range(60):
        for seed in SEEDS:
            began = time.perf_counter()
            outcome(mutate(seed, rng))
            slowest = max(slowest, time.perf_counter() - began)
    assert slowest < 5


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=600))
def test_random_bytes(data: bytes) -> None:
    outcome(data)
    outcome(bytes(128) + b"DICM" + data)
    outcome(SEEDS[1][:400] + data)


@pytest.mark.parametrize("name", sorted(MALFORMED))
def test_malformed_files_give_their_reason_code(name: str, data_folder: Path) -> None:
    reason, note = MALFORMED[name]
    data = (data_folder / "dicom" / "malformed" / name).read_bytes()
    began = time.perf_counter()
    if reason is None:
        radiograph = decode(data, RENDERING)
        assert radiograph.pixels.shape == (1024, 1024)
        assert note is None or note in {n.code for n in radiograph.notes}
    else:
        with pytest.raises(InputError) as error:
            decode(data, RENDERING)
        assert error.value.reason is reason
    assert time.perf_counter() - began < 2


def test_no_malformed_file_is_forgotten(data_folder: Path) -> None:
    assert {file.name for file in (data_folder / "dicom" / "malformed").iterdir()} == set(MALFORMED)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
def test_malformed_files_stay_below_700_mb(data_folder: Path) -> None:
    program = (
        "import sys, pathlib\n"
        "from cxr_edge.decode import decode\n"
        "from cxr_edge.errors import InputError\n"
        "from cxr_edge.contract import Rendering\n"
        "rendering = Rendering(dicom='ps3.3-c11-floor8', colour='pillow-l', exif_orientation='ignore')\n"
        "for file in sorted(pathlib.Path(sys.argv[1]).iterdir()):\n"
        "    try:\n"
        "        decode(file.read_bytes(), rendering)\n"
        "    except InputError:\n"
        "        pass\n"
        "status = pathlib.Path('/proc/self/status').read_text()\n"
        "print(status.split('VmHWM:')[1].split()[0])\n"
    )
    folder = str(data_folder / "dicom" / "malformed")
    ran = subprocess.run([sys.executable, "-c", program, folder], check=True, capture_output=True, text=True)
    assert ran.stderr == ""
    assert int(ran.stdout) < 700 * 1024  # not ru_maxrss: that begins with the peak of the process that ran the tests


def test_every_real_file_ends_in_an_image_or_a_reason(data_folder: Path) -> None:
    files = [file for file in sorted((data_folder / "dicom").rglob("*")) if file.is_file()]
    assert len(files) > 200
    for file in files:
        outcome(file.read_bytes())


# -- silence ---------------------------------------------------------------------------------------------------------


def warning_file() -> bytes:
    """A file about which pydicom warns."""
    return make_file(SpecificCharacterSet="ISO_IR 100", PatientAge="99").replace(b"ISO_IR 100", b"ISO_IR 1Z0")


def test_pydicom_warns_of_the_file_used_here() -> None:
    with pytest.warns(UserWarning, match="Unknown encoding"):
        pydicom.dcmread(io.BytesIO(warning_file()))


@pytest.mark.parametrize("action", ["error", "always"])
def test_no_warning_leaves(action: str, recwarn: pytest.WarningsRecorder) -> None:
    warnings.simplefilter(action)  # type: ignore[arg-type]
    decode(warning_file(), RENDERING)
    decode_dataset(make_dataset(gradient(), PatientAge="99"), RENDERING)
    assert not recwarn.list


def test_nothing_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        decode(warning_file(), RENDERING)
        for seed in SEEDS:
            rng = random.Random(5)  # noqa: S311 - repeatable
            for _ in range(10):
                outcome(mutate(seed, rng))
    assert not [record for record in caplog.records if record.name.startswith(("pydicom", "PIL"))]


def test_a_callers_own_warnings_are_not_swallowed() -> None:
    decode(warning_file(), RENDERING)
    with pytest.warns(UserWarning, match="Unknown encoding"):
        pydicom.dcmread(io.BytesIO(warning_file()))


def test_warnings_of_other_threads_are_not_swallowed() -> None:
    inside, done = threading.Event(), threading.Event()

    def hush() -> None:
        with hushed():
            inside.set()
            done.wait(10)

    thread = threading.Thread(target=hush)
    thread.start()
    inside.wait(10)
    try:
        with pytest.warns(UserWarning, match="seen"):
            warnings.warn("seen", stacklevel=1)
    finally:
        done.set()
        thread.join()


def test_filters_do_not_pile_up() -> None:
    decode(warning_file(), RENDERING)
    count = len(warnings.filters)
    for _ in range(50):
        decode(warning_file(), RENDERING)
    assert len(warnings.filters) == count


def test_many_threads_decode_alike() -> None:
    expected = [decode(seed, RENDERING).pixels for seed in SEEDS]
    failures: list[str] = []

    def work() -> None:
        for seed, pixels in zip(SEEDS, expected, strict=True):
            if not np.array_equal(decode(seed, RENDERING).pixels, pixels):
                failures.append("differs")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_nothing_is_printed_even_by_the_c_libraries(capfd: pytest.CaptureFixture[str]) -> None:
    rng = random.Random(11)  # noqa: S311 - repeatable
    for seed in SEEDS:
        for _ in range(20):
            outcome(mutate(seed, rng))
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == ""


def test_messages_and_notes_never_name_the_patient() -> None:
    for seed in SEEDS:
        radiograph = decode(seed, RENDERING)
        assert PATIENT not in repr(radiograph)
