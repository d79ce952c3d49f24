"""Which images train: by class rule, by projection, by patient; and that no patient stands on two sides."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("cxr_edge_export", reason="needs the workbench: pip install ./export")

from recipes import recipe_of

from cxr_edge.errors import UsageError
from cxr_edge_export.recipe import Recipe
from cxr_edge_export.selection import describe_left_out, read_selected, select

KINDS = {
    "labels": ["NORMAL", "BACTERIAL", "VIRAL"],
    "positive_labels": ["BACTERIAL", "VIRAL"],
    "selection": {
        "classes": [
            {"label": "NORMAL"},
            {"label": "BACTERIAL", "folder": "PNEUMONIA", "name_contains": "_bacteria_"},
            {"label": "VIRAL", "folder": "PNEUMONIA", "name_contains": "_virus_"},
        ]
    },
}


CSV = {"metadata_csv": "metadata.csv", "metadata_columns": {"patient": "patient", "view": "view"}}


def put(path: Path, level: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 4), level, np.uint8)).save(path)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Sixty patients of two kinds, some with several images."""
    for n in range(30):
        put(tmp_path / "NORMAL" / f"IM-{n:04d}-0001.png", n)
        kind = "bacteria" if n % 3 else "virus"
        for copy in (1, 2):
            put(tmp_path / "PNEUMONIA" / f"person{n}_{kind}_{copy}.png", 30 + 2 * n + copy)
    return tmp_path


def recipe(**changes: Any) -> Recipe:
    return recipe_of(**changes)


def test_no_patient_on_two_sides_and_the_same_split_again(data: Path) -> None:
    split = select(recipe(), data)
    sides = [{image.patient for image in part} for part in (split.training, split.validation, split.test)]
    assert all(sides)
    assert not sides[0] & (sides[1] | sides[2])
    assert not sides[1] & sides[2]
    assert sum(map(len, (split.training, split.validation, split.test))) == 90
    assert select(recipe(), data) == split
    assert select(recipe(selection={"seed": 1}), data) != split


def test_every_class_is_held_back_alike(data: Path) -> None:
    split = select(recipe(selection={"validation": 0.2, "test": 0.2}), data)
    for part in (split.validation, split.test):
        patients = {image.patient: image.label for image in part}
        assert abs(Counter(patients.values())[0] - Counter(patients.values())[1]) <= 1


def test_classes_by_a_part_of_the_name(data: Path) -> None:
    split = select(recipe(**KINDS), data)
    everything = (*split.training, *split.validation, *split.test)
    assert Counter(image.label for image in everything) == {0: 30, 1: 40, 2: 20}
    for image in everything:
        assert ("_bacteria_" in image.path.name, "_virus_" in image.path.name) == (image.label == 1, image.label == 2)


def test_a_file_of_no_class_is_left_out_of_a_folder_and_refused_in_a_list(data: Path) -> None:
    put(data / "PNEUMONIA" / "person99_fungus_1.png", 250)
    split = select(recipe(**KINDS), data)
    everything = (*split.training, *split.validation, *split.test)
    assert len(everything) == 90
    assert all(image.path.name != "person99_fungus_1.png" for image in everything)
    listing = data / "list.txt"
    listing.write_text("PNEUMONIA/person99_fungus_1.png\n", encoding="utf-8")
    with pytest.raises(UsageError, match="no class"):
        select(recipe(**KINDS), data, validation=listing)


def test_a_given_list_is_held_back_whole(data: Path) -> None:
    listing = data / "list.txt"
    listing.write_text("NORMAL/IM-0003-0001.png\nPNEUMONIA/person4_bacteria_1.png\n", encoding="utf-8")
    split = select(recipe(selection={"test": 0.0}), data, validation=listing)
    assert [image.path.name for image in split.validation] == ["IM-0003-0001.png", "person4_bacteria_1.png"]
    assert split.test == ()
    assert not {"IM-0003", "person4"} & {image.patient for image in split.training}


def test_given_sets_that_share_a_patient_are_refused(data: Path) -> None:
    both = (data / "validation.txt", data / "test.txt")
    both[0].write_text("NORMAL/IM-0003-0001.png\nPNEUMONIA/person4_bacteria_1.png\n", encoding="utf-8")
    both[1].write_text("PNEUMONIA/person4_bacteria_1.png\n", encoding="utf-8")
    with pytest.raises(UsageError, match="of 2 images to validate on 1 are of patients who stand in the test set"):
        select(recipe(), data, *both)


def test_as_many_of_each_class_are_drawn_before_the_split(data: Path) -> None:
    plan = {"undersample": True, "validation": 0.2, "test": 0.2}
    split = select(recipe(selection=plan), data)
    parts = [Counter(image.label for image in part) for part in (split.training, split.validation, split.test)]
    assert sum(parts, Counter()) == {0: 30, 1: 30}
    assert split.left_out == {"more than the smallest class has": 30}
    again = select(recipe(selection=plan), data)
    assert again == split
    assert select(recipe(selection=plan | {"seed": 1}), data).training != split.training


def test_shares_are_of_all_patients(data: Path) -> None:
    split = select(recipe(selection={"validation": 0.2, "test": 0.2}), data)
    assert [len({i.patient for i in part}) for part in (split.training, split.validation, split.test)] == [36, 12, 12]


@pytest.mark.parametrize(("name", "separator"), [("validation", ","), ("test", ";"), ("test", "\t")])
def test_a_list_is_held_back_with_the_patients_that_the_csv_tells(data: Path, name: str, separator: str) -> None:
    rows = "".join(f"IM-{n:04d}-0001.png,P{n // 2}\n" for n in range(30))  # two files of each patient
    rows += "".join(f"person{n}_{'bacteria' if n % 3 else 'virus'}_1.png,Q{n}\n" for n in range(30))
    text = ("filename,patient\n" + rows).replace(",", separator)
    (data / "metadata.csv").write_text(text, encoding="utf-8")
    listing = data / "list.txt"
    listing.write_text("NORMAL/IM-0004-0001.png\nPNEUMONIA/person7_bacteria_1.png\n", encoding="utf-8")
    chosen = recipe(selection={"metadata_csv": "metadata.csv", "metadata_columns": {"patient": "patient"}})
    split = select(chosen, data, **{name: listing})
    assert {image.patient for image in getattr(split, name)} == {"P2", "Q7"}
    sides = [{image.patient for image in part} for part in (split.training, split.validation, split.test)]
    assert "P2" not in sides[0]
    assert not sides[0] & (sides[1] | sides[2])
    assert not sides[1] & sides[2]


def test_lists_name_files_in_folders_of_a_class_folder(data: Path) -> None:
    put(data / "PNEUMONIA" / "second" / "person90_virus_1.png", 200)
    listing = data / "list.txt"
    listing.write_text("PNEUMONIA/second/person90_virus_1.png\nNORMAL/IM-0001-0001.png\n", encoding="utf-8")
    assert [image.label for image in select(recipe(), data, validation=listing).validation] == [1, 0]


def test_one_image_of_each_patient_and_kind(data: Path) -> None:
    """Kinds are the rules of `classes`, whether or not they give labels of their own."""
    put(data / "PNEUMONIA" / "person3_bacteria_1.png", 201)  # whose others are viral
    kinds = [{"label": "NORMAL"}]
    kinds += [{"label": "PNEUMONIA", "name_contains": f"_{kind}_"} for kind in ("bacteria", "virus")]
    split = select(recipe(selection={"per_patient": "one-per-class", "classes": kinds}), data)
    found = Counter(image.patient for image in (*split.training, *split.validation, *split.test))
    assert (found.pop("person3"), set(found.values()), len(found)) == (2, {1}, 59)


def test_one_image_of_each_patient(data: Path) -> None:
    split = select(recipe(selection={"per_patient": "one"}), data)
    patients = [image.patient for image in (*split.training, *split.validation, *split.test)]
    assert len(patients) == len(set(patients)) == 60


def test_identical_files_count_once_and_contradictory_ones_not_at_all(data: Path) -> None:
    put(data / "NORMAL" / "IM-0900-0001.png", 3)  # the bytes of IM-0003
    put(data / "PNEUMONIA" / "person900_virus_1.png", 5)  # the bytes of a normal image
    split = select(recipe(), data)
    names = {image.path.name for image in (*split.training, *split.validation, *split.test)}
    assert not names & {"IM-0900-0001.png", "person900_virus_1.png", "IM-0005-0001.png"}
    assert len(names) == 89


def test_projections_are_kept_apart(data: Path) -> None:
    views = {f"IM-{n:04d}-0001.png": "PA" if n % 2 else "AP" for n in range(30)}
    views |= {f"person{n}_{'bacteria' if n % 3 else 'virus'}_1.png": "PA" for n in range(20)}
    rows = "".join(f"{name},{view},P{number}\n" for number, (name, view) in enumerate(views.items()))
    (data / "metadata.csv").write_text("filename,view,patient\n" + rows, encoding="utf-8")
    plan = CSV | {"views": ["PA"]}
    split = select(recipe(selection=plan), data)
    names = {image.path.name for image in (*split.training, *split.validation, *split.test)}
    assert names == {name for name, view in views.items() if view == "PA"}
    assert all(image.patient.startswith("P") for image in split.training)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("filename,patient\n", "no column view"),
        ("filename,view,patient\na.png,PA,1\na.png,AP,1\n", "line 3: a file is listed twice"),
        (None, "cannot be read"),
        ("filename,view,patient\na.png,PA, left,1\n", "line 2: more or fewer columns than the header's 3"),
        ("filename,view,patient\na.png,PA\n", "line 2: more or fewer columns"),
        ("filename,view,patient,patient\na.png,PA,1,2\n", "has the column patient twice"),
        ('filename,view,patient\na.png,PA,"1\nb.png,PA,2\n', "cannot be read"),
    ],
)
def test_a_csv_that_does_not_tell_is_refused(data: Path, text: str | None, words: str) -> None:
    if text is not None:
        (data / "metadata.csv").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=words):
        select(recipe(selection=CSV | {"views": ["PA"]}), data)


def test_a_class_without_images_is_refused(tmp_path: Path) -> None:
    for n in range(8):
        put(tmp_path / "NORMAL" / f"IM-{n:04d}-0001.png", n)
    with pytest.raises(UsageError, match=r"no image of PNEUMONIA to train on$"):
        select(recipe(), tmp_path)


def test_a_class_that_the_other_sets_use_up_is_told(tmp_path: Path) -> None:
    for n in range(8):
        put(tmp_path / "NORMAL" / f"IM-{n:04d}-0001.png", n)
    for n in range(12):
        put(tmp_path / "PNEUMONIA" / f"person1_virus_{n}.png", 100 + n)
    with pytest.raises(UsageError, match=r"PNEUMONIA to train on; there are 12 image\(s\) of 1 patient of PNEUMONIA"):
        select(recipe(selection={"test": 0.2}), tmp_path)
    (tmp_path / "list.txt").write_text("NORMAL/IM-0001-0001.png\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"list\.txt has no image of PNEUMONIA to validate on$"):
        select(recipe(selection={"test": 0.0}), tmp_path, tmp_path / "list.txt")


def test_what_is_left_out_is_counted_by_its_cause(data: Path) -> None:
    put(data / "NORMAL" / "IM-0900-0001.png", 3)  # the bytes of IM-0003
    put(data / "PNEUMONIA" / "person900_fungus_1.png", 250)
    rows = [f"IM-{n:04d}-0001.png,{'AP' if n < 4 else 'PA'}" for n in (*range(25), 900)]
    rows += [f"person{n}_{'bacteria' if n % 3 else 'virus'}_{copy}.png,PA" for n in range(30) for copy in (1, 2)]
    (data / "metadata.csv").write_text("filename,view\n" + "\n".join(rows), encoding="utf-8")
    kinds = [{"label": "NORMAL"}]
    kinds += [{"label": "PNEUMONIA", "name_contains": f"_{kind}_"} for kind in ("bacteria", "virus")]
    plan = {"metadata_csv": "metadata.csv", "metadata_columns": {"view": "view"}, "views": ["PA"], "classes": kinds}
    split = select(recipe(selection=plan | {"per_patient": "one"}), data)
    assert split.left_out == {
        "that selection.classes does not take": 1,
        "that metadata.csv does not list": 5,
        "of another view than PA": 4,
        "further of a patient": 30,
    }
    assert describe_left_out(split) == (
        "left out of the data folder: 1 that selection.classes does not take, 4 of another view than PA, "
        "5 that metadata.csv does not list, 30 further of a patient"
    )
    with pytest.raises(
        UsageError, match=r"no image of NORMAL, PNEUMONIA to train on; left out .*, 5 that metadata.csv"
    ):
        select(recipe(selection=plan | {"views": ["LL"]}), data)


def test_a_row_of_a_file_that_is_there_is_no_other_files(data: Path) -> None:
    put(data / "NORMAL" / "7.png", 200)
    put(data / "PNEUMONIA" / "7.png", 201)
    rows = "NORMAL/7.png,n7\nfar/away/IM-0001-0001.png,n1\n"
    (data / "metadata.csv").write_text("filename,patient\n" + rows, encoding="utf-8")
    chosen = recipe(selection={"metadata_csv": "metadata.csv", "metadata_columns": {"patient": "patient"}})
    found = {image.path.relative_to(data).as_posix(): image.patient for image in read_selected(chosen, data, data)}
    assert found == {"NORMAL/7.png": "n7", "NORMAL/IM-0001-0001.png": "n1"}
