"""Whose image a file is, and that it is said where nothing tells."""

import os
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

pytest.importorskip("cxr_edge_export", reason="needs the workbench: pip install ./export")

from recipes import recipe_of

from cxr_edge import labelled
from cxr_edge.errors import UsageError
from cxr_edge_export.dataset import read_images
from cxr_edge_export.metadata import Metadata
from cxr_edge_export.patients import ALONE, describe_shared, describe_unknown, patient_of_file, relative_to
from cxr_edge_export.recipe import ClassRule
from cxr_edge_export.recipe.training import MetadataColumns
from cxr_edge_export.selection import select

LABELS = ("NORMAL", "PNEUMONIA")


def put(path: Path, level: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 9), level, np.uint8)).save(path)
    return path


def export(root: Path, patients: int = 20) -> Path:
    """As a PACS writes them: a folder for each patient, and in all of them the same names."""
    for n in range(patients):
        for place, label in enumerate(LABELS):
            for image in range(2):
                put(root / label / f"{label}-{n}" / "study" / f"0000000{image}.png", 4 * n + 2 * place + image)
    return root


def tagged(path: Path, patient: str | None, issuer: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    written = pydicom.Dataset()
    if patient is not None:
        written.PatientID = patient
    if issuer is not None:
        written.IssuerOfPatientID = issuer
    written.Rows = path.stat().st_size if path.exists() else len(path.name)
    file_meta = pydicom.dataset.FileMetaDataset()
    file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    written.file_meta = file_meta
    pydicom.dcmwrite(path, written, enforce_file_format=False)
    return path


def test_a_folder_for_each_patient_keeps_them_apart(tmp_path: Path) -> None:
    split = select(recipe_of(), export(tmp_path))
    sides = [{image.path.parents[1].name for image in part} for part in (split.training, split.validation, split.test)]
    assert all(sides)
    assert sum(map(len, sides)) == len(set.union(*sides))
    found = [image.patient for image in (*split.training, *split.validation, *split.test)]
    assert (len(found), len(set(found)), describe_unknown(found)) == (80, 40, "")


def test_dicom_tags_tell_the_patient_and_are_not_told(tmp_path: Path) -> None:
    files = [
        tagged(tmp_path / "NORMAL" / "a.dcm", "SMITH-1"),
        tagged(tmp_path / "NORMAL" / "deep" / "b.dcm", "SMITH-1 "),
        tagged(tmp_path / "NORMAL" / "deep" / "c.dcm", "SMITH-2"),
        tagged(tmp_path / "NORMAL" / "d.dcm", "SMITH-1", "elsewhere"),
        tagged(tmp_path / "NORMAL" / "IM01.dcm", "SMITH-1").rename(tmp_path / "NORMAL" / "IM01"),
    ]
    patients = {image.path.name: image.patient for image in read_images(tmp_path, LABELS)}
    assert patients["a.dcm"] == patients["b.dcm"] == patients["IM01"]
    assert len(set(patients.values())) == len(files) - 2
    assert not any("SMITH" in patient for patient in patients.values())


@pytest.mark.parametrize("patient", [None, "", "  "])
def test_without_a_patient_id_the_folder_tells(tmp_path: Path, patient: str | None) -> None:
    file = tagged(tmp_path / "NORMAL" / "p7" / "x.dcm", patient)
    assert patient_of_file(file, tmp_path / "NORMAL", "00") == "folder p7"
    (tmp_path / "NORMAL" / "p7" / "y.dcm").write_bytes(b"no DICOM at all")
    assert patient_of_file(tmp_path / "NORMAL" / "p7" / "y.dcm", tmp_path / "NORMAL", "00") == "folder p7"


def test_files_of_a_pacs_need_no_suffix_and_what_is_hidden_or_no_image_is_left_out(tmp_path: Path) -> None:
    tagged(tmp_path / "NORMAL" / "IM000001", "A")
    put(tmp_path / "PNEUMONIA" / "scan.png", 3).rename(tmp_path / "PNEUMONIA" / "scan.1")
    put(tmp_path / "NORMAL" / ".trash" / "old.png", 4)
    put(tmp_path / "NORMAL" / "._scan.png", 5)
    put(tmp_path / ".ipynb_checkpoints" / "x.png", 6)
    (tmp_path / "NORMAL" / "notes.txt").write_text("no image", encoding="utf-8")
    put(tmp_path / "NORMAL" / "scan.png", 7).rename(tmp_path / "NORMAL" / "scan.png.bak")
    put(tmp_path / "NORMAL" / "scan.png", 9).rename(tmp_path / "NORMAL" / "scan.png~")
    tagged(tmp_path / "PNEUMONIA" / "scan.ima", "B")
    put(tmp_path / "PNEUMONIA" / "scan.jpeg", 10).rename(tmp_path / "PNEUMONIA" / "scan.jfif")
    put(tmp_path / "PNEUMONIA" / "scan.png", 11).rename(tmp_path / "PNEUMONIA" / "Dr. Smith")
    put(tmp_path / "loose.png", 8)
    (tmp_path / "NORMAL" / "folder.png").mkdir()
    left_out = Counter[str]()
    found = [image.path.name for image in read_images(tmp_path, LABELS, left_out=left_out)]
    assert found == ["IM000001", "Dr. Smith", "scan.1", "scan.ima", "scan.jfif"]
    assert left_out == {"in no class folder": 1, "that are no images, or copies by their names": 3}


def test_names_that_look_the_same_are_the_same(tmp_path: Path) -> None:
    """MacOS and archives decompose accents; a recipe written elsewhere does not."""
    composed, decomposed = "Neumon\u00eda", "Neumoni\u0301a"
    put(tmp_path / decomposed / "7" / "f\u0301oto.png", 1)
    rules = [ClassRule(label=composed, name_contains="\u0301oto")]
    (image,) = read_images(tmp_path, [composed], classes=rules)
    assert (image.label, image.patient) == (0, "folder 7")
    assert labelled.class_folders(tmp_path, [composed]) == {composed: str(tmp_path / decomposed)}
    (tmp_path / "metadata.csv").write_text(f"filename,patient\n{composed}/7/f\u0301oto.png,A\n", encoding="utf-8")
    columns = MetadataColumns(file="filename", patient="patient")
    rows = Metadata(tmp_path, "metadata.csv", columns)
    assert rows.of(image.path.relative_to(tmp_path).as_posix()) == ("A", "")
    assert rows.of("elsewhere/f\u0301oto.png") == ("", None), "the row is that of the file which is there"
    (tmp_path / composed).mkdir()
    for read in (lambda: read_images(tmp_path, [composed]), lambda: labelled.class_folders(tmp_path, [composed])):
        with pytest.raises(UsageError, match="differ in Unicode's form alone"):
            read()


def test_an_empty_list_says_so(tmp_path: Path) -> None:
    (tmp_path / "none.txt").write_text("# nothing\n\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"none\.txt names no file$"):
        read_images(tmp_path / "none.txt", LABELS)


def test_many_images_of_one_patient_are_worth_a_word() -> None:
    assert describe_shared(["NA"] * 9 + ["A"]) == ""
    assert describe_shared(["NA"] * 10 + [f"P{n}" for n in range(41)]) == ""
    assert describe_shared([f"{ALONE}{n}" for n in range(50)]) == ""
    assert describe_shared(["NA"] * 10 + [f"P{n}" for n in range(40)]).startswith("one patient has 10 of the 50 images")


@pytest.mark.skipif(sys.platform == "win32", reason="no such names there")
@pytest.mark.parametrize("name", [b"a\nb.png", "a\u2028b.png".encode(), b"caf\xe9.png", b"end.png "])
def test_names_that_no_list_could_hold_are_refused(tmp_path: Path, name: bytes) -> None:
    good = put(tmp_path / "NORMAL" / "a.png", 1)
    try:
        good.rename(os.fsdecode(os.fsencode(good.parent) + b"/" + name))
    except OSError as error:
        pytest.skip(f"no such names here: {error}")
    with pytest.raises(UsageError, match="no list could name it"):
        read_images(tmp_path, LABELS)


def test_a_link_to_nothing_is_an_image_lost(tmp_path: Path) -> None:
    put(tmp_path / "NORMAL" / "a.png", 1)
    try:
        (tmp_path / "NORMAL" / "b.png").symlink_to(tmp_path / "gone.png")
    except OSError as error:
        pytest.skip(f"no links here: {error}")
    with pytest.raises(UsageError, match="in the folder 'NORMAL' a link leads nowhere"):
        read_images(tmp_path, LABELS)


def test_where_nothing_tells_it_is_counted(tmp_path: Path) -> None:
    put(tmp_path / "NORMAL" / "scan.png", 1)
    put(tmp_path / "NORMAL" / "IM-0001-0001.png", 2)
    found = [image.patient for image in read_images(tmp_path, LABELS)]
    assert describe_unknown(found).startswith("nothing tells the patient of 1 of 2 images")


def csv_of(root: Path, rows: list[str]) -> dict[str, object]:
    (root / "metadata.csv").write_text("filename,patient\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return {"metadata_csv": "metadata.csv", "metadata_columns": {"patient": "patient"}}


@pytest.mark.parametrize("separator", ["/", "\\"])
def test_a_csv_tells_by_the_path_below_the_data_folder(tmp_path: Path, separator: str) -> None:
    export(tmp_path)
    files = sorted(tmp_path.rglob("*.png"))
    rows = [f"{path.relative_to(tmp_path).as_posix()},P{n % 10}" for n, path in enumerate(files)]
    plan = csv_of(tmp_path, [row.replace("/", separator) for row in rows])
    split = select(recipe_of(selection=plan | {"validation": 0.2, "test": 0.2}), tmp_path)
    sides = [{image.patient for image in part} for part in (split.training, split.validation, split.test)]
    assert set.union(*sides) == {f"P{n}" for n in range(10)}
    assert sum(map(len, sides)) == len(set.union(*sides))


@pytest.mark.parametrize("before", ["", "sep=,\n", "SEP=,\r\n", '"sep=,"\n', "sep=,,\n"])
def test_a_csv_as_programs_write_it(tmp_path: Path, before: str) -> None:
    """Absolute paths, blanks behind a name, Excel's line before the header."""
    one, two = put(tmp_path / "NORMAL" / "a.png", 1), put(tmp_path / "NORMAL" / "b.png", 2)
    text = f"{before}filename,patient;of;them;all\n{one.absolute()},P1\nNORMAL/b.png , P2\n"
    name = "patient;of;them;all"
    if not before:
        text, name = text.replace(";of;them;all", ""), "patient"
    (tmp_path / "metadata.csv").write_bytes(text.encode())
    rows = Metadata(tmp_path, "metadata.csv", MetadataColumns(patient=name))
    assert [rows.of(relative_to(path, tmp_path)) for path in (one, two)] == [("P1", ""), ("P2", "")]


def test_a_name_alone_tells_one_file(tmp_path: Path) -> None:
    for label in LABELS:
        put(tmp_path / label / "a.png", 1)
    (tmp_path / "metadata.csv").write_text("filename,patient\na.png,P1\n", encoding="utf-8")
    rows = Metadata(tmp_path, "metadata.csv", MetadataColumns(patient="patient"))
    assert [rows.of("NORMAL/a.png") for _ in range(2)] == [("P1", "")] * 2
    with pytest.raises(UsageError, match="lists by its name alone what several files are called"):
        rows.of("PNEUMONIA/a.png")


def test_a_csv_of_another_encoding_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_bytes("filename\nNeumon\u00eda.png\n".encode("latin-1"))
    with pytest.raises(UsageError, match="is no text in UTF-8: save it as such"):
        Metadata(tmp_path, "metadata.csv", MetadataColumns())


def test_a_csv_of_names_that_several_files_share_is_refused(tmp_path: Path) -> None:
    export(tmp_path)
    rows = [f"elsewhere/{n}/00000000.png,P{n}" for n in range(3)]
    with pytest.raises(UsageError, match="by its name alone what several files"):
        select(recipe_of(selection=csv_of(tmp_path, rows)), tmp_path)


def test_relative_or_whole(tmp_path: Path) -> None:
    assert relative_to(tmp_path / "a" / ".." / "b" / "c.png", tmp_path) == "b/c.png"
    assert relative_to(tmp_path / "c.png", tmp_path / "b") == (tmp_path / "c.png").as_posix()


def test_a_viewers_series_is_no_patient(tmp_path: Path) -> None:
    """OsiriX and Horos write IM-SERIES-IMAGE, of every patient alike: DICOM, and pictures in their folder."""
    folder = tmp_path / "NORMAL"
    one, two = (tagged(folder / f"IM-000{n}-0001.dcm", "SMITH-1") for n in (1, 2))
    assert patient_of_file(one, folder, "00") == patient_of_file(two, folder, "11") != "IM-0001"
    assert patient_of_file(folder / "patA" / "IM-0001-0001.jpg", folder, "00") == "folder patA"
    assert patient_of_file(folder / "IM-0001-0001.jpg", folder, "00") == "IM-0001"  # the Guangzhou set's
    assert patient_of_file(folder / "batch" / "person7_virus_1.jpeg", folder, "00") == "person7"
