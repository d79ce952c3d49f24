"""Whole clusters of source, left out of training one at a time."""

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tomlkit
from PIL import Image

pytest.importorskip("cxr_edge_export", reason="needs the workbench: pip install ./export")

from recipes import raw_recipe, recipe_of

from cxr_edge.errors import OutputError, UsageError
from cxr_edge.phantom import chest_phantom
from cxr_edge_export import cli
from cxr_edge_export.clusters import by_look, by_name, look
from cxr_edge_export.folds import FoldsRequest, write_folds
from cxr_edge_export.selection import select


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Normal images of two series, sick ones of two kinds; half of all darker, half of the dark ones with a border."""
    folder = tmp_path_factory.mktemp("data")
    for n in range(80):
        for label, name in (
            ("NORMAL", f"{'NORMAL2-' if n % 4 > 1 else ''}IM-{n:04}-0001{'-0002' if n % 4 == 3 else ''}.png"),
            ("PNEUMONIA", f"person{n}_{'bacteria' if n % 4 > 1 else 'virus'}_1.png"),
        ):
            (folder / label).mkdir(exist_ok=True)
            pixels = chest_phantom(40, 40, seed=n, opacity=0.9 if label == "PNEUMONIA" else 0.0)
            pixels = pixels // (1 + n % 2)
            if n % 8 == 1:
                pixels[:5] = 0
            Image.fromarray(pixels).save(folder / label / name)
    return folder


@pytest.fixture
def request_to(data: Path, tmp_path: Path) -> FoldsRequest:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(tomlkit.dumps(raw_recipe()), encoding="utf-8")
    return FoldsRequest(recipe=recipe, data=data, test=None, output=tmp_path / "folds")


def test_clusters_are_told_by_look_and_name() -> None:
    bright, dark = np.full((20, 30), 200, np.uint8), np.full((20, 20), 10, np.uint8)
    textured = chest_phantom(20, 20, seed=1)
    parts = by_look([look(bright), look(dark), look(textured)])
    assert parts["the third of lowest exposure"].tolist() == [False, True, False]
    assert parts["the third of highest contrast"].tolist() == [False, False, True]
    assert parts["those with a border"].tolist() == [True, True, look(textured).bordered]
    assert parts["the wider half"].tolist() == [True, True, True]
    assert {name: part.tolist() for name, part in by_name(["a1_b22.png", "a3.png", "a4_b5.jpeg"]).items()} == {
        "those named a#": [False, True, False],
        "those named a#_b#": [True, False, True],
    }


def test_no_training_image_is_of_the_cluster(request_to: FoldsRequest) -> None:
    folds = {fold.cluster: fold for fold in write_folds(request_to)}
    assert {"the third of lowest exposure", "those with a border", "those named NORMAL#-IM-#-#"} <= set(folds)
    for fold in folds.values():
        split = select(recipe_of(selection={"test": 0.0}), request_to.data, validation=fold.file)
        assert len(split.validation) == fold.images
        assert not {i.patient for i in split.training} & {i.patient for i in split.validation}
        assert min(Counter(image.label for image in split.validation).values()) >= 10
        assert min(Counter(image.label for image in split.training).values()) >= 10
        if fold.cluster == "those named NORMAL#-IM-#-#":
            left = [image.path.name for image in split.training if image.path.name.startswith("NORMAL2")]
            assert len(left) == 20
            assert all(name.endswith("-0002.png") for name in left), "another family"
            assert fold.filled == ("PNEUMONIA",)
            # a quarter of the normal ones are of that family: a quarter of the sick ones are drawn
            assert Counter(image.label for image in split.validation) == {0: 20, 1: 20}
        if fold.cluster == "those with a border":
            assert (fold.images, fold.filled) == (20, ())


def test_held_back_images_are_in_no_fold(request_to: FoldsRequest, capsys: pytest.CaptureFixture[str]) -> None:
    listing = request_to.output.with_name("test.txt")
    listing.write_text("NORMAL/IM-0001-0001.png\nPNEUMONIA/person9_virus_1.png\n", encoding="utf-8")
    files = [str(request_to.recipe), "--data", str(request_to.data), "-o", str(request_to.output)]
    assert cli.run(["folds", *files, "--test", str(listing)]) == 0
    said = capsys.readouterr().out
    assert "those named NORMAL#-IM-#-#, PNEUMONIA from elsewhere" in said
    texts = [file.read_text(encoding="utf-8") for file in request_to.output.iterdir()]
    assert len(texts) == said.count("\n") > 4
    assert not any("IM-0001-" in text or "person9_" in text for text in texts)
    with pytest.raises(OutputError, match="holds lists already"):
        write_folds(request_to)


def test_the_same_bytes_are_in_one_fold_once(request_to: FoldsRequest, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    shutil.copytree(request_to.data, folder)
    shutil.copyfile(folder / "NORMAL" / "IM-0000-0001.png", folder / "NORMAL" / "IM-9999-0001.png")
    shutil.copyfile(folder / "NORMAL" / "IM-0004-0001.png", folder / "PNEUMONIA" / "person999_virus_1.png")
    files = sum(1 for _ in folder.rglob("*.png"))
    folds = write_folds(replace(request_to, data=folder, by_patient=2))
    listed = [Path(line).name for fold in folds for line in fold.file.read_text(encoding="utf-8").splitlines()]
    assert len(listed) == len(set(listed)) == files - 3, "of one double the second, of the other both"
    assert not {"IM-9999-0001.png", "IM-0004-0001.png", "person999_virus_1.png"} & set(listed)


def test_too_few_images_make_no_fold(request_to: FoldsRequest, tmp_path: Path) -> None:
    for label in ("NORMAL", "PNEUMONIA"):
        (tmp_path / "few" / label).mkdir(parents=True)
        Image.fromarray(chest_phantom(40, 40, seed=len(label))).save(tmp_path / "few" / label / f"{label}.png")
    few = FoldsRequest(recipe=request_to.recipe, data=tmp_path / "few", test=None, output=tmp_path / "folds")
    with pytest.raises(UsageError, match="no part with 10 images of each class"):
        write_folds(few)
    shutil.copyfile(tmp_path / "few" / "NORMAL" / "NORMAL.png", tmp_path / "few" / "PNEUMONIA" / "PNEUMONIA.png")
    with pytest.raises(UsageError, match="in several classes with the same bytes"):
        write_folds(replace(few, output=tmp_path / "other"))


def test_folds_by_patient_share_none_and_cover_all(
    request_to: FoldsRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    for n in (0, 2):  # a second image of a patient, which goes where the first one goes
        second = request_to.data / "PNEUMONIA" / f"person{n}_virus_2.png"
        Image.fromarray(chest_phantom(40, 40, seed=900 + n, opacity=0.9)).save(second)
    try:
        files = [str(request_to.recipe), "--data", str(request_to.data), "-o", str(request_to.output)]
        assert cli.run(["folds", *files, "--by-patient", "4"]) == 0
        assert "01-fold-1-of-4-by-patient.txt: " in capsys.readouterr().out
        lists = sorted(request_to.output.iterdir())
        assert len(lists) == 4
        recipe = recipe_of(selection={"test": 0.0})
        parts = [select(recipe, request_to.data, validation=file).validation for file in lists]
        patients = [{image.patient for image in part} for part in parts]
        assert sum(map(len, patients)) == len(set().union(*patients)) == 160
        assert sum(map(len, parts)) == 162
        for part in parts:
            told = Counter({image.patient: image.label for image in part}.values())
            assert set(told.values()) == {20}, "patients of each class"
        again = FoldsRequest(
            recipe=request_to.recipe,
            data=request_to.data,
            test=None,
            output=request_to.output.with_name("again"),
            by_patient=4,
        )
        assert [fold.file.read_bytes() for fold in write_folds(again)] == [file.read_bytes() for file in lists]
    finally:
        for n in (0, 2):
            (request_to.data / "PNEUMONIA" / f"person{n}_virus_2.png").unlink()


def test_folds_by_patient_that_would_say_nothing(request_to: FoldsRequest, capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(request_to.recipe), "--data", str(request_to.data), "-o", str(request_to.output)]
    assert cli.run(["folds", *files, "--by-patient", "9"]) == 2
    assert "fewer than 10 images of a class; take fewer folds" in capsys.readouterr().err
    assert cli.run(["folds", *files, "--by-patient", "1"]) == 2
    listing = request_to.output.with_name("all-normal.txt")
    listing.write_text("".join(f"{path.as_posix()}\n" for path in (request_to.data / "NORMAL").iterdir()), "utf-8")
    assert (
        cli.run(["folds", *files[:-1], str(listing.with_name("more")), "--test", str(listing), "--by-patient", "2"])
        == 2
    )
    assert "no image of NORMAL to make folds of" in capsys.readouterr().err


def test_folds_where_nothing_tells_the_patients_say_so(
    tmp_path: Path, request_to: FoldsRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    for label in ("NORMAL", "PNEUMONIA"):
        (tmp_path / "data" / label).mkdir(parents=True)
        for n in range(40):
            image = Image.fromarray(chest_phantom(40, 40, seed=n, opacity=0.9 * (label == "PNEUMONIA")))
            image.save(tmp_path / "data" / label / f"{label[0]}{n}.png")
    out = str(tmp_path / "folds")
    assert (
        cli.run(["folds", str(request_to.recipe), "--data", str(tmp_path / "data"), "-o", out, "--by-patient", "2"])
        == 0
    )
    assert "note: nothing tells the patient of 80 of 80 images" in capsys.readouterr().err


def test_all_images_held_back_make_no_fold(request_to: FoldsRequest, tmp_path: Path) -> None:
    nothing = FoldsRequest(recipe=request_to.recipe, data=request_to.data, test=request_to.data, output=tmp_path / "f")
    with pytest.raises(UsageError, match="holds back all images"):
        write_folds(nothing)
