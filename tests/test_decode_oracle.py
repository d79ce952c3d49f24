"""The rendering against dcmtk, an independent implementation: at most one level apart, on made and on real files."""

from pathlib import Path
from typing import Any

import pytest
from dcmtk import compare, is_installed
from dicom_files import gradient, make_file, make_lut

pytestmark = pytest.mark.skipif(not is_installed(), reason="needs dcmtk's dcm2pnm, dcmj2pnm and dcml2pnm")

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
    found = compare(make_file(**MADE[name]), tmp_path)
    assert found.status == "compared"
    assert found.difference <= 1


def test_every_real_gray_file(data_folder: Path, tmp_path: Path) -> None:
    files = [file for file in sorted((data_folder / "dicom").rglob("*")) if file.is_file()]
    found = {file.name: compare(file.read_bytes(), tmp_path) for file in files}
    assert sum(one.status == "compared" for one in found.values()) > 60
    assert {name: one.unexplained for name, one in found.items() if one.unexplained > 1} == {}
    assert [name for name, one in found.items() if one.difference > 1] == ["RG3_JPLY.dcm"]  # lossy overshoot


def test_a_wrong_rendering_would_be_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cxr_edge.decode import grayscale

    monkeypatch.setattr(grayscale, "_inverted", lambda _: True)
    found = compare(make_file(WindowCenter=1900, WindowWidth=2500), tmp_path)
    assert found.unexplained > 200
