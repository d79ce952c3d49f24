"""`cxr-edge classify --pdf`."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from reporting import text_of
from tiny_models import tiny_model

from cxr_edge.cli.app import run
from cxr_edge.phantom import chest_phantom, phantom_dicom


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_model(tmp_path_factory.mktemp("model")))


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "Meier ñ.dcm"
    path.write_bytes(phantom_dicom(rows=256, columns=210))
    return path


def _rows(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


pytest.importorskip("reportlab")


def test_one_report_per_image_named_by_its_content(
    image: Path, tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "reports" / "deep"
    assert run(["classify", str(image), "--model", tiny, "--pdf", str(folder), "--language", "es"]) == 0
    (row,) = _rows(capsys)
    (pdf,) = folder.iterdir()
    assert pdf.name == row["source"]["content_sha256"] + ".pdf"
    text = text_of(pdf.read_bytes())
    assert "Informe de clasificación" in text
    assert row["source"]["content_sha256"] in text
    assert row["source"]["sop_instance_uid"] not in text
    assert "Meier" not in text


def test_identifiers_when_asked_for(image: Path, tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["classify", str(image), "--model", tiny, "--pdf", str(tmp_path / "reports"), "--pdf-identifiers"]
    assert run([*arguments, "--no-identifiers"]) == 2
    assert "contradicts" in capsys.readouterr().err
    assert run(arguments) == 0
    (row,) = _rows(capsys)
    (pdf,) = (tmp_path / "reports").iterdir()
    text = text_of(pdf.read_bytes())
    assert "File Meier ñ.dcm" in text
    assert row["source"]["sop_instance_uid"] in text
    assert str(tmp_path) not in text


def test_nothing_is_overwritten_unasked(
    image: Path, tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["classify", str(image), "--model", tiny, "--pdf", str(tmp_path / "reports")]
    assert run(arguments) == 0
    (pdf,) = (tmp_path / "reports").iterdir()
    pdf.write_bytes(b"signed by hand")
    capsys.readouterr()
    assert run(arguments) == 6
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 1  # the row is there
    assert "exists already; --overwrite replaces it" in captured.err
    assert pdf.read_bytes() == b"signed by hand"
    assert run([*arguments, "--overwrite"]) == 0
    assert pdf.read_bytes().startswith(b"%PDF-")
    assert [path.suffix for path in (tmp_path / "reports").iterdir()] == [".pdf"]


def test_the_same_image_twice_is_one_report(image: Path, tiny: str, tmp_path: Path) -> None:
    (tmp_path / "copy.dcm").write_bytes(image.read_bytes())
    folder = tmp_path / "reports"
    assert run(["classify", str(image), str(tmp_path / "copy.dcm"), "--model", tiny, "--pdf", str(folder)]) == 0
    assert len(list(folder.iterdir())) == 1


def test_one_that_cannot_be_written_loses_no_row(
    image: Path, tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    folder = tmp_path / "reports"
    Image.fromarray(chest_phantom(300, 250)).save(tmp_path / "b.png")
    run(["classify", str(image), "--model", tiny, "--pdf", str(folder)])
    (pdf,) = folder.iterdir()
    pdf.unlink()
    pdf.mkdir()
    (tmp_path / "bad.dcm").write_bytes(b"<html>")
    capsys.readouterr()
    maps = ["--heatmap", str(tmp_path / "maps")]
    assert run(["classify", str(tmp_path), "--model", tiny, "--pdf", str(folder), *maps]) == 6
    captured = capsys.readouterr()
    assert len([row for row in captured.out.splitlines() if '"image"' in row]) == 3
    assert "it is a folder" in captured.err
    assert len(list(folder.glob("*.pdf"))) == 2
    assert len(list((tmp_path / "maps").iterdir())) == 2


def test_one_that_cannot_be_drawn_loses_no_row(
    image: Path, tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> bytes:
        raise MemoryError(str(image))

    monkeypatch.setattr("cxr_edge.report.report_pdf", fail)
    assert run(["classify", str(image), "--model", tiny, "--pdf", str(tmp_path / "reports")]) == 6
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 1
    assert "the report of one image could not be drawn: MemoryError" in captured.err
    assert "Meier" not in captured.err


def test_without_the_extra_it_says_what_to_install(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "reportlab" else find_spec(name))
    assert run(["classify", str(image), "--model", "no model is even looked for", "--pdf", str(tmp_path / "r")]) == 5
    captured = capsys.readouterr()
    assert captured.err.startswith('cxr-edge: PDF reports need reportlab: pip install ".[report]"')
    assert len(captured.err.splitlines()) == 1
    assert not (tmp_path / "r").exists()


def test_reports_of_the_call_are_no_inputs(
    image: Path, tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["classify", str(tmp_path), "-r", "--model", tiny, "--pdf", str(tmp_path / "reports"), "--overwrite"]
    assert run(arguments) == run(arguments) == 0
    assert "passed over 1 output(s) of this very call" in capsys.readouterr().err
    assert image.is_file()


@pytest.mark.parametrize("option", [["--language", "es"], ["--pdf-identifiers"]])
def test_words_about_reports_without_reports(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: list[str]
) -> None:
    assert run(["classify", str(tmp_path), *option]) == 2
    assert capsys.readouterr().err == f"cxr-edge: {option[0]} is about reports; need --pdf FOLDER\n"


def test_a_label_without_heat_maps_or_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["classify", str(tmp_path), "--heatmap-label", "NORMAL"]) == 2
    found = capsys.readouterr().err
    assert found == "cxr-edge: --heatmap-label is about heat maps and reports; need --heatmap FOLDER or --pdf FOLDER\n"
