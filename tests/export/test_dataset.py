"""Labelled folders and lists; whose image it is, and that no patient stands on both sides."""

import errno
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from recipes import recipe_of

pytest.importorskip("cxr_edge_export", reason="needs the workbench: pip install ./export")

from cxr_edge.errors import ModelError, UsageError
from cxr_edge_export.convert import gather_sets
from cxr_edge_export.dataset import decoded, draw_balanced, order_sha256, read_images, set_sha256, without
from cxr_edge_export.recipe import ClassRule
from cxr_edge_export.selection import read_selected, select
from cxr_edge_export.training.run_folder import RunFolder
from cxr_edge_export.training.train import write_split

LABELS = ("NORMAL", "PNEUMONIA")


def put(folder: Path, label: str, name: str, level: int) -> Path:
    path = folder / label / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 4), level, np.uint8)).save(path)
    return path


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("person1949_bacteria_4880.png", "person1949"),
        ("person22_virus_55.png", "person22"),
        ("IM-0117-0001.png", "IM-0117"),
        ("IM-0117-0001-0002.png", "IM-0117"),
        ("NORMAL2-IM-0370-0001.png", "NORMAL2-IM-0370"),
        ("BACTERIA-1008087-0001.png", "1008087"),
    ],
)
def test_patient_from_the_name(tmp_path: Path, name: str, patient: str) -> None:
    put(tmp_path, "NORMAL", name, 1)
    (image,) = read_images(tmp_path, LABELS)
    assert (image.patient, image.label) == (patient, 0)


def test_conversion_keeps_the_patients_apart_that_a_csv_tells(tmp_path: Path) -> None:
    rows = ["filename,patient"]
    for n in range(24):
        for place, label in enumerate(LABELS):
            rows.append(f"{put(tmp_path, label, f'{label}-{n}.png', 2 * n + place).name},P{n // 2}")
    (tmp_path / "metadata.csv").write_text("\n".join(rows), encoding="utf-8")
    listing = tmp_path / "list.txt"
    listing.write_text("NORMAL/NORMAL-4.png\nPNEUMONIA/PNEUMONIA-6.png\n", encoding="utf-8")
    recipe = recipe_of(
        selection={"metadata_csv": "metadata.csv", "metadata_columns": {"patient": "patient"}},
        quantization={"ranges": "minmax", "images": 9},
    )
    sources = SimpleNamespace(calibration=tmp_path, validation=listing, agreement=None)
    sets = gather_sets(sources, recipe)
    assert {image.patient for image in sets.validation} == {"P2", "P3"}
    assert not {"P2", "P3"} & {image.patient for image in (*sets.training, *sets.calibration)}
    assert len(sets.training) == 40


def test_without_goes_by_patient_and_by_content(tmp_path: Path) -> None:
    put(tmp_path / "a", "PNEUMONIA", "person1_bacteria_1.png", 1)
    put(tmp_path / "a", "NORMAL", "IM-0001-0001.png", 2)
    for name, level in (("person1_virus_9.png", 3), ("person2_virus_1.png", 2), ("person3_virus_1.png", 4)):
        put(tmp_path / "b", "PNEUMONIA", name, level)
    left = without(read_images(tmp_path / "b", LABELS), read_images(tmp_path / "a", LABELS))
    assert [image.path.name for image in left] == ["person3_virus_1.png"]


def test_balanced_draw(tmp_path: Path) -> None:
    for n in range(20):
        put(tmp_path, "PNEUMONIA", f"person{n}_bacteria_1.png", n)
        put(tmp_path, "PNEUMONIA", f"person{n}_bacteria_2.png", 100 + n)
    for n in range(6):
        put(tmp_path, "NORMAL", f"IM-{n:04d}-0001.png", 200 + n)
    images = read_images(tmp_path, LABELS)
    drawn = draw_balanced(images, 12, seed=3)
    assert Counter(image.label for image in drawn) == {0: 6, 1: 6}
    assert len({image.patient for image in drawn}) == 12
    assert drawn == draw_balanced(images, 12, seed=3)
    assert drawn != draw_balanced(images, 12, seed=4)
    assert Counter(image.label for image in draw_balanced(images, 20, seed=3)) == {0: 6, 1: 14}
    with pytest.raises(UsageError, match="there are 26"):
        draw_balanced(images, 27, seed=3)


def test_set_digest_ignores_names_and_order(tmp_path: Path) -> None:
    put(tmp_path / "a", "NORMAL", "x.png", 1)
    put(tmp_path / "a", "NORMAL", "y.png", 2)
    put(tmp_path / "b", "NORMAL", "1.png", 2)
    put(tmp_path / "b", "NORMAL", "2.png", 1)
    put(tmp_path / "c", "NORMAL", "1.png", 3)
    digests = [set_sha256(read_images(tmp_path / name, LABELS)) for name in "abc"]
    assert digests[0] == digests[1] != digests[2]


def test_list_is_found_from_above_the_folder(tmp_path: Path) -> None:
    put(tmp_path / "data" / "set" / "train", "NORMAL", "a.png", 1)
    put(tmp_path / "data" / "set" / "train", "PNEUMONIA", "b.png", 2)
    listing = tmp_path / "lists" / "validation.txt"
    listing.parent.mkdir()
    listing.write_text("set/train/PNEUMONIA/b.png\n\nset/train/NORMAL/a.png\n", encoding="utf-8")
    images = read_images(listing, LABELS, root=tmp_path / "data" / "set" / "train")
    assert [image.label for image in images] == [1, 0]
    with pytest.raises(UsageError, match="is not there"):
        read_images(listing, LABELS)


def test_a_list_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    put(tmp_path, "NORMAL", "a.png", 1)
    (tmp_path / "list.txt").write_text("NORMAL/a.png\n", encoding="utf-8-sig")  # as PowerShell 5 writes it
    assert [image.path.name for image in read_images(tmp_path / "list.txt", LABELS)] == ["a.png"]


def locked(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """As another program's lock, or a share that dropped, has it."""

    def refusing(method: Callable[..., Any]) -> Callable[..., Any]:
        def refuse(path: Path, *given: Any, **named: Any) -> Any:
            if path.name == name:
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return method(path, *given, **named)

        return refuse

    for method in ("open", "read_bytes"):
        monkeypatch.setattr(Path, method, refusing(getattr(Path, method)))


def test_an_image_that_cannot_be_read_is_told_by_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for level, name in enumerate(("a.png", "doe_jane.png")):
        put(tmp_path, "PNEUMONIA", name, level)
    locked(monkeypatch, "doe_jane.png")
    with pytest.raises(ModelError, match=r"image 2 of .* in the folder 'PNEUMONIA', .*: Permission denied$") as told:
        read_images(tmp_path, LABELS)
    assert "jane" not in str(told.value)


def test_a_file_without_a_suffix_that_cannot_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "NORMAL", "a.png", 1).rename(tmp_path / "NORMAL" / "doe_jane")
    locked(monkeypatch, "doe_jane")
    with pytest.raises(ModelError, match=r"^in the folder 'NORMAL' a file cannot be read: Permission denied$"):
        read_images(tmp_path, LABELS)


def test_an_image_locked_after_the_set_was_read_is_told_by_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "NORMAL", "doe_jane.png", 1)
    (image,) = read_images(tmp_path, LABELS)
    locked(monkeypatch, "doe_jane.png")
    with pytest.raises(ModelError, match=r"^image 8 of a labelled set \(SHA-256 .*\) .*: Permission denied$"):
        decoded(image, 7, recipe_of().rendering)


def test_list_with_a_missing_file(tmp_path: Path) -> None:
    put(tmp_path, "NORMAL", "a.png", 1)
    (tmp_path / "list.txt").write_text("NORMAL/a.png\nNORMAL/b.png\n", encoding="utf-8")
    with pytest.raises(UsageError, match="1 of the 2 files"):
        read_images(tmp_path / "list.txt", LABELS)


def test_a_list_names_each_image_once(tmp_path: Path) -> None:
    """One image many times would make a certificate of few images look like one of many."""
    put(tmp_path, "NORMAL", "a.png", 1)
    (tmp_path / "list.txt").write_text("NORMAL/a.png\n./NORMAL/a.png\nother/../NORMAL/a.png\n", encoding="utf-8")
    (tmp_path / "other").mkdir()
    with pytest.raises(UsageError, match=r"2 of the 3 entries .* name a file that an entry before names"):
        read_images(tmp_path / "list.txt", LABELS)


def test_a_list_with_a_name_that_no_system_takes(tmp_path: Path) -> None:
    put(tmp_path, "NORMAL", "a.png", 1)
    (tmp_path / "list.txt").write_text("NORMAL/a.png\n" + "x" * 5000 + "\n", encoding="utf-8")
    with pytest.raises(UsageError, match="1 of the 2 files"):
        read_images(tmp_path / "list.txt", LABELS)


def test_a_class_folder_in_another_one_is_refused(tmp_path: Path) -> None:
    """Else training would take one for the class, and `cxr-edge evaluate` the other."""
    put(tmp_path / "PNEUMONIA", "NORMAL", "a.png", 1)
    with pytest.raises(UsageError, match=r"the folder 'PNEUMONIA' .* holds a folder 'NORMAL'"):
        read_images(tmp_path, LABELS)


def test_unknown_class_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "NORMAL", "a.png", 1)
    put(tmp_path, "COVID", "b.png", 1)
    with pytest.raises(UsageError, match="COVID"):
        read_images(tmp_path, LABELS)


def test_the_released_list_is_disjoint_by_patient(data_folder: Path) -> None:
    train, listing = data_folder / "kermany224" / "train", data_folder.parent / "models" / "validation.txt"
    if not listing.is_file() or not train.is_dir():
        pytest.skip("needs kermany224 and ../models/validation.txt")
    images = read_images(train, LABELS)
    validation = read_images(listing, LABELS, root=train)
    assert len({image.patient for image in images}) == 2846
    assert Counter(image.label for image in validation) == {0: 133, 1: 399}
    assert len(without(images, validation)) == 4684


def test_a_run_is_of_images_with_their_labels_names_and_order(tmp_path: Path) -> None:
    for level, label in enumerate(LABELS):
        put(tmp_path, label, f"{label}.png", level)
    images = read_images(tmp_path, LABELS)
    relabelled = (replace(images[0], label=1), *images[1:])
    renamed = (replace(images[0], path=images[0].path.with_name("other.png")), *images[1:])
    moved = tuple(replace(image, path=tmp_path / "elsewhere" / image.path.name) for image in images)
    others = (images[::-1], relabelled, renamed)
    assert len({order_sha256(some) for some in (images, *others)}) == 4
    assert order_sha256(moved) == order_sha256(images)
    assert len({set_sha256(some) for some in (images, *others)}) == 1


def test_an_order_tells_classes_within_a_label(tmp_path: Path) -> None:
    """As those of a second output, which a folder may tell."""
    put(tmp_path, "NORMAL", "a.png", 1)
    (image,) = read_images(tmp_path, LABELS)
    finer = tuple(ClassRule(label=name) for name in ("bacterial", "viral"))
    one, other = (replace(image, path=tmp_path / rule.label / "a.png") for rule in finer)
    assert order_sha256([one]) == order_sha256([other])
    assert order_sha256([one], finer) != order_sha256([other], finer)


def test_a_class_folder_may_begin_with_what_begins_a_comment(tmp_path: Path) -> None:
    labels = ("NORMAL", "#VIRAL")
    for number in range(30):
        put(tmp_path / "data", labels[number % 2], f"{number}.png", number)
    rules = [{"label": label} for label in labels]
    recipe = recipe_of(labels=list(labels), positive_labels=["#VIRAL"], selection={"classes": rules})
    split, run = select(recipe, tmp_path / "data"), RunFolder(tmp_path / "run")
    run.path.mkdir()
    write_split(run, tmp_path / "data", split)
    for name in ("training", "validation", "test"):
        assert read_selected(recipe, run.path / f"{name}.txt", tmp_path / "data") == getattr(split, name)


@pytest.mark.skipif(sys.platform == "win32", reason="few users of Windows may make links")
def test_a_link_to_a_folder_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "data", "NORMAL", "a.png", 1)
    put(tmp_path / "archive", "patient", "b.png", 2)
    (tmp_path / "data" / "NORMAL" / "linked").symlink_to(tmp_path / "archive" / "patient")
    with pytest.raises(UsageError, match="in the folder 'NORMAL' a link leads to a folder"):
        read_images(tmp_path / "data", LABELS)
