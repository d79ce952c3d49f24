"""The synthetic radiograph: it is deterministic, looks like a chest, and its DICOM file is a proper one."""

import io
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.pixels.processing import apply_windowing

from cxr_edge.errors import UsageError
from cxr_edge.phantom import chest_phantom, phantom_dicom

UID = re.compile(r"2\.25\.[1-9][0-9]{1,38}")


def read(data: bytes) -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(data))


@pytest.mark.parametrize("shape", [(1, 1), (2, 7), (224, 224), (600, 300), (301, 500)])
def test_any_size(shape: tuple[int, int]) -> None:
    pixels = chest_phantom(*shape, opacity=0.5)
    assert pixels.shape == shape
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous


def test_the_seed_decides() -> None:
    assert np.array_equal(chest_phantom(100, 90, seed=3), chest_phantom(100, 90, seed=3))
    assert not np.array_equal(chest_phantom(100, 90, seed=3), chest_phantom(100, 90, seed=4))


@pytest.mark.parametrize("seed", range(5))
def test_it_looks_like_a_chest(seed: int) -> None:
    pixels = chest_phantom(200, 200, seed=seed).astype(float)

    def level(row: int, column: int) -> float:
        """Mean of a small patch; both in per cent of the image."""
        return float(pixels[2 * row - 6 : 2 * row + 6, 2 * column - 6 : 2 * column + 6].mean())

    air, right_lung, left_lung, spine, heart, liver = (
        level(*place) for place in [(5, 5), (40, 28), (40, 72), (40, 50), (65, 62), (92, 25)]
    )
    assert air < 20
    assert air < right_lung < 100
    assert air < left_lung < 100
    assert min(heart, liver) > max(right_lung, left_lung) + 30
    assert spine > max(right_lung, left_lung) + 60
    assert pixels.max() < 255  # nothing is burnt out


def test_opacity_whitens_the_right_lower_zone_alone() -> None:
    clear, dense, denser = (chest_phantom(200, 200, opacity=opacity).astype(float) for opacity in (0.0, 0.5, 1.0))
    zone, opposite = np.s_[105:135, 50:70], np.s_[40:160, 130:]
    assert clear[zone].mean() + 15 < dense[zone].mean()
    assert dense[zone].mean() + 15 < denser[zone].mean()
    assert np.array_equal(clear[opposite], denser[opposite])


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: chest_phantom(0, 10), "0 rows"),
        (lambda: chest_phantom(10, 65_536), "65536 columns"),
        (lambda: chest_phantom(10, 10, opacity=1.5), "opacity 1.5"),
        (lambda: chest_phantom(10, 10, opacity=float("nan")), "opacity nan"),
        (lambda: phantom_dicom(rows=10, columns=10, seed=-1), "seed -1"),
    ],
)
def test_impossible_phantoms_are_refused(call: object, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        call()  # type: ignore[operator]


def test_the_dicom_file_says_what_it_is() -> None:
    dataset = read(phantom_dicom(rows=64, columns=48, seed=2, opacity=0.25))
    assert (dataset.Modality, dataset.PresentationIntentType) == ("DX", "FOR PRESENTATION")
    assert (dataset.BodyPartExamined, dataset.ViewPosition, dataset.PatientAge) == ("CHEST", "AP", "004Y")
    assert dataset.PatientName == "PHANTOM^SYNTHETIC"
    assert "ynthetic phantom" in dataset.ImageComments
    assert (dataset.Rows, dataset.Columns, dataset.BitsAllocated, dataset.BitsStored) == (64, 48, 16, 12)
    assert dataset.PhotometricInterpretation == "MONOCHROME2"
    for uid in (dataset.SOPInstanceUID, dataset.SeriesInstanceUID, dataset.StudyInstanceUID):
        assert UID.fullmatch(uid)


def test_the_window_renders_the_phantoms_pixels() -> None:
    dataset = read(phantom_dicom(rows=64, columns=48, seed=2, opacity=0.25))
    windowed = apply_windowing(dataset.pixel_array, dataset)
    eight_bit = np.floor(windowed * 255 / 4095 + 1e-9).astype(np.uint8)
    assert np.array_equal(eight_bit, chest_phantom(64, 48, seed=2, opacity=0.25))


def test_equal_arguments_give_equal_bytes_and_others_another_instance() -> None:
    assert phantom_dicom(rows=32, columns=32) == phantom_dicom(rows=32, columns=32)
    first, second = (read(phantom_dicom(rows=32, columns=32, opacity=opacity)) for opacity in (0.0, 0.1))
    other = read(phantom_dicom(rows=32, columns=32, seed=1))
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert first.StudyInstanceUID == second.StudyInstanceUID != other.StudyInstanceUID


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy (dicom3tools)")
def test_dciodvfy_finds_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "phantom.dcm"
    path.write_bytes(phantom_dicom(rows=64, columns=48))
    run = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False)
    report = run.stdout + run.stderr
    assert "DXImageForPresentation" in report
    assert "Error" not in report
    assert "Warning" not in report


@pytest.mark.skipif(shutil.which("dcm2pnm") is None, reason="needs dcm2pnm (dcmtk)")
def test_dcmtk_renders_the_phantoms_pixels(tmp_path: Path) -> None:
    source, target = tmp_path / "phantom.dcm", tmp_path / "phantom.pgm"
    source.write_bytes(phantom_dicom(rows=64, columns=48, opacity=0.5))
    subprocess.run(["dcm2pnm", "-O", "+Wi", "1", source, target], check=True, capture_output=True)
    header, _, rest = target.read_bytes().partition(b"255\n")
    assert header.startswith(b"P5")
    assert np.array_equal(np.frombuffer(rest, np.uint8).reshape(64, 48), chest_phantom(64, 48, opacity=0.5))


def test_importing_does_not_load_pydicom() -> None:
    code = "import sys, cxr_edge.phantom; print('pydicom' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
