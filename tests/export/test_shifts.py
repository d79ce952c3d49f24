"""What a model does on shifted images, and the card that says so."""

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import tomlkit
from PIL import Image
from recipes import raw_recipe

pytest.importorskip("tensorflow", reason="needs the workbench: pip install ./export")

from training_runs import begun, recipe_file

from cxr_edge.errors import OutputError, UsageError
from cxr_edge.phantom import chest_phantom
from cxr_edge_export.card import write_card
from cxr_edge_export.corruptions import CORRUPTIONS
from cxr_edge_export.shifts import UNCHANGED, ShiftRequest, Shifts, measure_shifts, read_shifts, to_table

PHANTOM = chest_phantom(150, 130, seed=4)


def request(model: Path, images: Path, output: Path | None = None) -> ShiftRequest:
    return ShiftRequest(
        model=str(model),
        images=images,
        data=None,
        recipe=None,
        operating_point="youden",
        output=output,
        overwrite=False,
    )


@pytest.fixture(scope="module")
def found(converted: Path, workbench: Any) -> Shifts:
    """Of the tiny network on its validation phantoms."""
    return measure_shifts(request(converted, workbench.validation))


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_change_gives_an_image_and_repeats_itself(name: str) -> None:
    before = PHANTOM.copy()
    changed = CORRUPTIONS[name](PHANTOM)
    assert changed.dtype == np.uint8
    assert changed.ndim == 2
    assert np.array_equal(changed, CORRUPTIONS[name](PHANTOM))
    assert np.array_equal(PHANTOM, before)
    same = changed.shape == PHANTOM.shape and np.array_equal(changed, PHANTOM)
    assert same == (name == UNCHANGED)


def test_intervals_draw_patients(
    found: Shifts, converted: Path, workbench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cxr_edge_export import dataset

    monkeypatch.setattr(dataset, "patient_groups", lambda images: np.arange(len(images)) // 4)
    together = measure_shifts(request(converted, workbench.validation))
    pairs = [(one.auc, other.auc) for one, other in zip(found.rows, together.rows, strict=True)]
    assert all(one and other and one.estimate == other.estimate for one, other in pairs)
    assert any(one != other for one, other in pairs)


def test_every_row_is_measured(found: Shifts, workbench: Any) -> None:
    rows = {row.images: row for row in found.rows}
    assert set(rows) >= set(CORRUPTIONS)
    assert rows[UNCHANGED].same_decision == 1
    assert all(row.positives == row.negatives == 20 for name, row in rows.items() if name in CORRUPTIONS)
    assert any(row.same_decision < 1 for row in found.rows), "a network that tells bright from dark must notice"
    lower = [min(r.sensitivity.estimate, r.specificity.estimate) for r in found.rows if r.sensitivity and r.specificity]
    assert found.worst.sensitivity is not None
    assert found.worst.specificity is not None
    assert min(found.worst.sensitivity.estimate, found.worst.specificity.estimate) == min(lower)
    table = to_table(found)
    assert f"worst: {found.worst.images}\n" in table
    assert f"threshold: at that temperature {found.choice.threshold:g} " in table
    assert found.choice.lowest is not None
    assert found.choice.lowest >= min(lower) - 1e-9  # the file's own threshold is one of those looked at
    assert workbench.validation.stem in found.data


def test_the_unchanged_images_give_what_the_contract_says(found: Shifts, converted: Path) -> None:
    import cxr_edge

    with cxr_edge.load(converted, operating_point="youden", gate="off") as classifier:
        point = classifier.operating_point
    plain = found.rows[0]
    assert plain.sensitivity is not None
    assert plain.specificity is not None
    assert plain.sensitivity.estimate == pytest.approx(point.sensitivity.estimate)
    assert plain.specificity.estimate == pytest.approx(point.specificity.estimate)


def test_the_card_shows_them_and_those_of_no_other_file(found: Shifts, converted: Path, tmp_path: Path) -> None:
    stored = tmp_path / "shifts.json"
    stored.write_bytes(msgspec.json.encode(found))
    assert read_shifts(stored) == found
    write_card(converted, tmp_path / "CARD.md", overwrite=False, shifts=stored)
    text = (tmp_path / "CARD.md").read_text(encoding="utf-8")
    assert "## Shifted images" in text
    assert all(f"| {row.images} |" in text for row in found.rows)
    stored.write_bytes(msgspec.json.encode(msgspec.structs.replace(found, model_sha256="0" * 64)))
    with pytest.raises(UsageError, match="another file"):
        write_card(converted, tmp_path / "other.md", overwrite=False, shifts=stored)
    stored.write_text("{}", encoding="utf-8")
    with pytest.raises(UsageError, match="cannot be read"):
        write_card(converted, tmp_path / "other.md", overwrite=False, shifts=stored)


def test_classes_lie_where_the_recipe_says(converted: Path, tmp_path: Path) -> None:
    for seed in range(4):
        for name in (f"a_well_{seed}.png", f"a_sick_{seed}.png"):
            (tmp_path / "all").mkdir(exist_ok=True)
            opacity = 0.9 if "sick" in name else 0.0
            Image.fromarray(chest_phantom(60, 60, seed=seed, opacity=opacity)).save(tmp_path / "all" / name)
    rules = [{"label": "NORMAL", "folder": "all", "name_contains": "well"}]
    rules += [{"label": "PNEUMONIA", "folder": "all", "name_contains": "sick"}]
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(tomlkit.dumps(raw_recipe(selection={"classes": rules})), encoding="utf-8")
    listing = tmp_path / "list.txt"
    listing.write_text("".join(f"all/{path.name}\n" for path in (tmp_path / "all").iterdir()), encoding="utf-8")
    asked = replace(request(converted, listing), recipe=recipe)
    row = measure_shifts(asked).rows[0]
    assert (row.positives, row.negatives) == (4, 4)
    with pytest.raises(UsageError, match="of no class"):
        measure_shifts(replace(asked, recipe=None))
    text = recipe.read_text(encoding="utf-8").replace("NORMAL", "WELL")
    recipe.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match="the model has"):
        measure_shifts(asked)


def test_images_that_trained_the_model_are_refused(converted: Path, workbench: Any, tmp_path: Path) -> None:
    """Where the file lies in the run that its network came out of."""
    recipe_file(tmp_path)
    begun(tmp_path)
    shutil.copyfile(converted, tmp_path / "model.onnx")
    images = sorted((workbench.validation / "NORMAL").iterdir())[:3]
    seen = "".join(f"{hashlib.sha256(image.read_bytes()).hexdigest()}\n" for image in images)
    (tmp_path / "trained-on.sha256").write_text(seen, encoding="utf-8")
    with pytest.raises(UsageError, match="3 of the 40 given images trained the network of"):
        measure_shifts(request(tmp_path / "model.onnx", workbench.validation))
    (tmp_path / "training.txt").write_text(f"NORMAL/{images[0].name}\n", encoding="utf-8")
    (tmp_path / "trained-on.sha256").write_text("0" * 64 + "\n", encoding="utf-8")
    measure_shifts(request(tmp_path / "model.onnx", workbench.validation))  # another folder's file of the same name


def test_an_existing_output_is_refused_before_the_work(converted: Path, workbench: Any, tmp_path: Path) -> None:
    output = tmp_path / "shifts.json"
    output.write_text("mine", encoding="utf-8")
    with pytest.raises(OutputError, match="exists already"):
        measure_shifts(request(converted, workbench.validation, output))
