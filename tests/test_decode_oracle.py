"""The rendering against dcmtk, an independent implementation: at most one level apart, on made and on real files."""

import io
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_files import RENDERING, gradient, make_file, make_lut, to_bytes
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import FileDataset
from pydicom.encaps import get_frame

from cxr_edge.decode import decode
from cxr_edge.decode.codestream import read_codestream
from cxr_edge.errors import InputError

pytestmark = pytest.mark.skipif(shutil.which("dcm2pnm") is None, reason="needs dcmtk's dcm2pnm")

_VOI_OPTION = {"window": ("+Wi", "1"), "voi-lut": ("+Wl", "1"), "minmax": ("+Wm",)}
_JPEG = tuple(f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 57, 70))
_JPEG_LS = tuple(f"1.2.840.10008.1.2.4.{n}" for n in (80, 81))

DCMTK_MASKS = ("RG3_JPLY.dcm",)


def dcmtk(data: bytes, rendering: str, folder: Path) -> NDArray[np.uint8] | None:
    """What dcmtk makes of a file by the same road; None where it cannot read it."""
    source, target = folder / "in.dcm", folder / "out.pgm"
    source.write_bytes(data)
    target.unlink(missing_ok=True)
    transfer_syntax = str(getattr(pydicom.dcmread(source, force=True).file_meta, "TransferSyntaxUID", ""))
    tool = "dcmj2pnm" if transfer_syntax in _JPEG else "dcml2pnm" if transfer_syntax in _JPEG_LS else "dcm2pnm"
    voi = _VOI_OPTION[rendering.split("/", 1)[1].split("+", 1)[0]]
    subprocess.run([tool, "-O", "+op", *voi, str(source), str(target)], check=False, capture_output=True)
    return np.asarray(Image.open(target)) if target.exists() else None


def overshoot(data: bytes) -> NDArray[np.bool_]:
    """Where a lossy 12-bit stream holds more than Bits Stored: we clamp, dcmtk cuts the high bit off."""
    import imagecodecs

    dataset = pydicom.dcmread(io.BytesIO(data))
    found = imagecodecs.jpeg8_decode(get_frame(dataset.PixelData, 0, number_of_frames=1)) >= 1 << dataset.BitsStored
    assert 0 < found.mean() < 0.1
    return np.asarray(found)


def read_codestream_family(data: bytes) -> str | None:
    """`jpeg-2000` and so on; None where the pixel data are not compressed."""
    dataset = pydicom.dcmread(io.BytesIO(data), force=True)
    if not dataset["PixelData"].is_undefined_length:
        return None
    header = read_codestream(get_frame(dataset.PixelData, 0, number_of_frames=1))
    return None if header is None else header.family


def uncompressed(data: bytes) -> bytes:
    """The same image in explicit VR little endian, for dcmtk, which reads no JPEG 2000."""
    import imagecodecs

    dataset = pydicom.dcmread(io.BytesIO(data))
    assert isinstance(dataset, FileDataset)
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    samples = imagecodecs.jpeg2k_decode(frame)
    dataset.PixelData = samples.astype(f"<u{dataset.BitsAllocated // 8}").tobytes()
    return to_bytes(dataset, "1.2.840.10008.1.2.1")


MADE: dict[str, dict[str, Any]] = {
    "min-max": {},
    "min-max, inverted": {"PhotometricInterpretation": "MONOCHROME1"},
    "window": {"WindowCenter": 1900, "WindowWidth": 2500},
    "narrow window": {"WindowCenter": 1900.5, "WindowWidth": 2},
    "window, inverted": {"WindowCenter": 1900, "WindowWidth": 2500, "PhotometricInterpretation": "MONOCHROME1"},
    "sigmoid": {"WindowCenter": 1900, "WindowWidth": 2500, "VOILUTFunction": "SIGMOID"},
    "rescale": {"WindowCenter": 100, "WindowWidth": 900, "RescaleSlope": 0.5, "RescaleIntercept": -300},
    "negative slope": {"WindowCenter": 1000, "WindowWidth": 4000, "RescaleSlope": -1, "RescaleIntercept": 4095},
    "modality LUT": {"ModalityLUTSequence": make_lut(100, [min(65535, i * i // 64) for i in range(2048)])},
    "modality LUT and window": {
        "ModalityLUTSequence": make_lut(0, [65535 - i * 15 for i in range(4096)]),
        "WindowCenter": 32768,
        "WindowWidth": 40000,
    },
    "VOI LUT": {"VOILUTSequence": make_lut(500, [i * i // 1024 for i in range(2048)], 12)},
    "VOI LUT, inverted": {
        "VOILUTSequence": make_lut(500, [i // 8 for i in range(2048)], 8),
        "PresentationLUTShape": "INVERSE",
        "PhotometricInterpretation": "MONOCHROME1",
    },
    "8 bits": {"bits_stored": 8, "WindowCenter": 128, "WindowWidth": 256},
    "10 bits": {"bits_stored": 10, "WindowCenter": 550, "WindowWidth": 1024},
    "16 bits": {"bits_stored": 16, "WindowCenter": 30000, "WindowWidth": 50000},
    "signed": {"samples": gradient(signed=True), "WindowCenter": -100, "WindowWidth": 3000},
}


@pytest.mark.parametrize("name", MADE)
def test_made_files(name: str, tmp_path: Path) -> None:
    data = make_file(**MADE[name])
    ours = decode(data, RENDERING)
    theirs = dcmtk(data, ours.rendering, tmp_path)
    assert theirs is not None
    assert np.abs(theirs.astype(int) - ours.pixels).max() <= 1


def test_every_real_gray_file(data_folder: Path, tmp_path: Path) -> None:
    compared, differing = 0, []
    for file in sorted((data_folder / "dicom").rglob("*")):
        try:
            data = file.read_bytes() if file.is_file() else b""
            ours = decode(data, RENDERING)
        except InputError:
            continue
        if not ours.rendering.startswith("ps3.3") or "illegal_window" in {note.code for note in ours.notes}:
            continue
        theirs = dcmtk(data, ours.rendering, tmp_path)
        if theirs is None and read_codestream_family(data) == "jpeg-2000":
            theirs = dcmtk(uncompressed(data), ours.rendering, tmp_path)
        if theirs is None:
            continue
        compared += 1
        apart = np.abs(theirs.astype(int) - ours.pixels)
        if file.name in DCMTK_MASKS:
            apart[overshoot(data)] = 0
        difference = int(apart.max())
        print(f"{file.name:45} {difference:3} {ours.rendering}")  # noqa: T201 - the table, shown by pytest -s
        if difference > 1:
            differing.append((file.name, difference))
    assert compared > 60
    assert differing == []
