"""The rendering of a file compared with that of dcmtk, an independent implementation (`dcm2pnm -O`)."""

import io
import shutil
import subprocess
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import imagecodecs
import numpy as np
import pydicom
from dicom_files import RENDERING, to_bytes
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import FileDataset
from pydicom.encaps import get_frame

from cxr_edge.decode import decode
from cxr_edge.errors import InputError
from cxr_edge.types import Radiograph

Status = Literal["compared", "refused", "no grayscale", "illegal window", "unread by dcmtk"]
_VOI_OPTION = {"window": ("+Wi", "1"), "voi-lut": ("+Wl", "1"), "minmax": ("+Wm",)}
_JPEG = tuple(f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 57, 70))
_JPEG_LS = tuple(f"1.2.840.10008.1.2.4.{n}" for n in (80, 81))
_JPEG_2000 = tuple(f"1.2.840.10008.1.2.4.{n}" for n in (90, 91, 201, 202, 203))
_FEW = 0.1  # more overshoot than this share of the pixels would be another fault
_EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"


@dataclass(frozen=True)
class Comparison:
    """One file against dcmtk.

    Attributes:
        status: `compared`, or why not.
        transfer_syntax: its UID, empty where the file has none.
        rendering: the road that ours took; empty where it was refused.
        difference: the largest difference of a pixel, in levels of 255.
        share: of the pixels that differ at all.
        explained: what makes a part of the pixels differ for a reason that was verified on this file; else empty.
        unexplained: the largest difference of all other pixels.
    """

    status: Status
    transfer_syntax: str = ""
    rendering: str = ""
    difference: int = 0
    share: float = 0.0
    explained: str = ""
    unexplained: int = 0


def is_installed() -> bool:
    """Whether dcmtk is here."""
    return all(shutil.which(tool) for tool in ("dcm2pnm", "dcmj2pnm", "dcml2pnm"))


def compare(data: bytes, folder: Path) -> Comparison:
    """Render a file both ways, by the same road, in a folder for dcmtk's files."""
    try:
        ours = decode(data, RENDERING)
    except InputError:
        return Comparison("refused")
    dataset = _read(data) if ours.tags is not None else pydicom.Dataset()
    transfer_syntax = str(getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", ""))
    if not ours.rendering.startswith("ps3.3"):
        return Comparison("no grayscale", transfer_syntax, ours.rendering)
    if "illegal_window" in {note.code for note in ours.notes}:
        return Comparison("illegal window", transfer_syntax, ours.rendering)
    theirs = dcmtk(data, ours.rendering, folder)
    rewritten = ""
    if theirs is None and transfer_syntax in _JPEG_2000:
        theirs = dcmtk(_uncompressed(data), ours.rendering, folder)
        rewritten = "given to dcmtk uncompressed: it reads no JPEG 2000"
    if theirs is None:
        return Comparison("unread by dcmtk", transfer_syntax, ours.rendering)
    return _differences(data, ours, theirs, transfer_syntax, rewritten)


def _differences(
    data: bytes, ours: Radiograph, theirs: NDArray[np.uint8], transfer_syntax: str, rewritten: str
) -> Comparison:
    apart = np.abs(theirs.astype(int) - ours.pixels)
    explained, rest = [rewritten] if rewritten else [], apart
    if apart.max() > 1 and transfer_syntax in _JPEG and 0 < (beyond := _overshoot(data)).mean() < _FEW:
        rest = np.where(beyond, 0, apart)
        shown = (
            f"{beyond.sum():,} pixels of the lossy stream are beyond Bits Stored: we clamp, dcmtk cuts the high bit off"
        )
        explained.append(shown)
    return Comparison(
        "compared",
        transfer_syntax,
        ours.rendering,
        int(apart.max()),
        float((apart > 0).mean()),
        "; ".join(explained),
        int(rest.max()),
    )


def dcmtk(data: bytes, rendering: str, folder: Path) -> NDArray[np.uint8] | None:
    """What dcmtk makes of a file by the same road; None where it cannot read it."""
    source, target = folder / "in.dcm", folder / "out.pgm"
    source.write_bytes(data)
    target.unlink(missing_ok=True)
    transfer_syntax = str(getattr(_read(data).file_meta, "TransferSyntaxUID", ""))
    tool = "dcmj2pnm" if transfer_syntax in _JPEG else "dcml2pnm" if transfer_syntax in _JPEG_LS else "dcm2pnm"
    voi = _VOI_OPTION[rendering.split("/", 1)[1].split("+", 1)[0]]
    subprocess.run([tool, "-O", "+op", *voi, str(source), str(target)], check=False, capture_output=True)
    return np.asarray(Image.open(target)) if target.exists() else None


def _read(data: bytes) -> FileDataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd files are what this is for
        return pydicom.dcmread(io.BytesIO(data), force=True)


def _overshoot(data: bytes) -> NDArray[np.bool_]:
    """Where a lossy stream, decoded on its own, holds more than Bits Stored allow."""
    dataset = _read(data)
    samples = imagecodecs.jpeg8_decode(get_frame(dataset.PixelData, 0, number_of_frames=1))
    return np.asarray(samples >= 1 << dataset.BitsStored)


def _uncompressed(data: bytes) -> bytes:
    """A JPEG 2000 image in explicit VR little endian, decoded by OpenJPEG."""
    dataset = _read(data)
    samples = imagecodecs.jpeg2k_decode(get_frame(dataset.PixelData, 0, number_of_frames=1))
    dataset.PixelData = samples.astype(f"<u{dataset.BitsAllocated // 8}").tobytes()
    return to_bytes(dataset, _EXPLICIT_LITTLE)
