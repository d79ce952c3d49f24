"""What cannot be trained, or not in this folder, says so in a line before the work."""

import errno
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("tensorflow", reason="needs the workbench: pip install ./export")

from recipes import LAYERS
from training_runs import SHORT, TRAINING, Watching, recipe_file, request

from cxr_edge.errors import ModelError, OutputError, UsageError
from cxr_edge_export.folds import FoldsRequest, write_folds
from cxr_edge_export.training.metrics_file import Metrics
from cxr_edge_export.training.run_folder import Checkpoint, RunFolder, State
from cxr_edge_export.training.train import train
from cxr_edge_export.training.trainer import TrainingDiverged


def test_what_a_folder_holds_is_not_overwritten(
    tmp_path: Path, data: Path, finished: tuple[Path, Metrics, Watching]
) -> None:
    recipe = recipe_file(tmp_path)
    with pytest.raises(OutputError, match="holds a run already"):
        train(request(recipe, data, finished[0]), Watching())
    with pytest.raises(UsageError, match="is done"):
        train(request(recipe, data, finished[0], resume=True), Watching())
    with pytest.raises(OutputError, match="is not empty, and holds no run"):
        train(request(recipe, data, tmp_path), Watching())


def test_two_processes_do_not_train_in_one_folder(tmp_path: Path, data: Path) -> None:
    with RunFolder(tmp_path / "run").held(), pytest.raises(UsageError, match="another process works in"):
        train(request(recipe_file(tmp_path), data, tmp_path / "run"), Watching())
    with pytest.raises(KeyboardInterrupt):  # and it is free again, also after an interrupt
        train(request(recipe_file(tmp_path), data, tmp_path / "run"), Watching(stop_after=1))
    with RunFolder(tmp_path / "run").held():
        pass


def test_nothing_is_written_among_the_images(tmp_path: Path, data: Path) -> None:
    for output in (data / "run", data / "NORMAL" / "run", data / "NORMAL" / ".." / "run"):
        with pytest.raises(UsageError, match="lies in the data folder"):
            train(request(recipe_file(tmp_path), data, output), Watching())
        assert not output.exists()


def test_there_has_to_be_a_run_to_go_on_with(tmp_path: Path, data: Path) -> None:
    with pytest.raises(UsageError, match="holds no run to go on with"):
        train(request(recipe_file(tmp_path), data, tmp_path / "mistyped", resume=True), Watching())


def test_a_kill_before_the_first_record_leaves_nothing_in_the_way(tmp_path: Path, data: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".cxr-edge-0123456789abcdef.part").write_bytes(b"{")
    with pytest.raises(KeyboardInterrupt):
        train(request(recipe_file(tmp_path), data, tmp_path / "run"), Watching(stop_after=1))
    assert not list((tmp_path / "run").glob("*.part"))


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped"])
def test_a_damaged_checkpoint_is_told_in_one_line(tmp_path: Path, damage: str) -> None:
    folder = RunFolder(tmp_path)
    folder.save(Checkpoint(State(), [np.arange(500.0)], [], []))
    file = tmp_path / "checkpoint.npz"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes({"cut": bytes(content[: len(content) // 2]), "empty": b"", "flipped": bytes(content)}[damage])
    with pytest.raises(ModelError, match=r"^the checkpoint .* is damaged: [^\n]+$"):
        folder.checkpoint()


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path, data: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train(request(recipe_file(tmp_path), data, run), Watching(stop_after=1))
    RunFolder(run).save(Checkpoint(State(), [np.arange(500.0)], [], []))
    with pytest.raises(ModelError, match=r"^the checkpoint holds other arrays than this network"):
        train(request(recipe_file(tmp_path), data, run, resume=True), Watching())


def test_a_disk_too_full_for_the_model_leaves_no_half_of_it(tmp_path: Path) -> None:
    class Unsaved:
        def save(self, path: Path) -> None:
            path.write_bytes(b"PK")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OutputError, match=r"^cannot write .*model\.keras: No space left on device$"):
        RunFolder(tmp_path).write_model(Unsaved())
    assert list(tmp_path.iterdir()) == []


def test_a_bad_test_image_is_found_before_the_training(tmp_path: Path, data: Path) -> None:
    shutil.copytree(data, tmp_path / "data")
    listing = tmp_path / "test.txt"
    chosen = [next((tmp_path / "data" / label).iterdir()) for label in ("NORMAL", "PNEUMONIA")]
    listing.write_text("".join(f"{file.as_posix()}\n" for file in chosen), encoding="utf-8")
    chosen[1].write_bytes(chosen[1].read_bytes()[:100])
    watching = Watching()
    with pytest.raises(ModelError, match="image 2 of"):
        train(request(recipe_file(tmp_path), tmp_path / "data", tmp_path / "run", test=listing), watching)
    assert watching.rows == []


def test_only_training_images_need_an_auxiliary_class(tmp_path: Path, data: Path) -> None:
    """Those of another hospital are named otherwise."""
    elsewhere = tmp_path / "elsewhere"
    for label in ("NORMAL", "PNEUMONIA"):
        (elsewhere / label).mkdir(parents=True)
        for number, file in enumerate(sorted((data / label).iterdir())[:3]):
            Image.open(file).rotate(180).save(elsewhere / label / f"{number}{file.suffix}")
    kinds = [{"label": "NORMAL", "name_contains": "IM-"}, {"label": "PNEUMONIA", "name_contains": "person"}]
    stages = [{"epochs": 1, "batch": 8, "learning_rate": 0.01}]
    recipe = recipe_file(tmp_path, training={"stages": stages, "auxiliary": {"weight": 0.5, "classes": kinds}})
    found = train(request(recipe, data, tmp_path / "run", test=elsewhere), Watching())
    assert found.test is not None
    assert found.test.images == 6


def test_it_is_said_where_nothing_tells_the_patients(tmp_path: Path, data: Path) -> None:
    for label in ("NORMAL", "PNEUMONIA"):
        (tmp_path / "data" / label).mkdir(parents=True)
        for number, file in enumerate(sorted((data / label).iterdir())):
            shutil.copyfile(file, tmp_path / "data" / label / f"scan{number}{file.suffix}")
    for folder, notes in ((data, 0), (tmp_path / "data", 1)):
        watching = Watching(stop_after=1)
        with pytest.raises(KeyboardInterrupt):
            train(request(recipe_file(tmp_path), folder, tmp_path / f"run{notes}"), watching)
        assert sum("nothing tells" in note for note in watching.notes) == notes
    assert "nothing tells the patient of 80 of 80 images" in watching.notes[0]


@pytest.mark.parametrize("damage", ["network", "image"])
def test_a_run_that_fails_at_its_start_does_not_block_its_folder(tmp_path: Path, data: Path, damage: str) -> None:
    shutil.copytree(data, tmp_path / "data")
    bad = next((tmp_path / "data" / "NORMAL").iterdir())
    whole = bad.read_bytes()
    if damage == "image":
        bad.write_bytes(whole[:100])
    layers = LAYERS[:3] if damage == "network" else LAYERS
    with pytest.raises((UsageError, ModelError)):
        train(
            request(recipe_file(tmp_path, network={"layers": layers}), tmp_path / "data", tmp_path / "run"), Watching()
        )
    bad.write_bytes(whole)
    with pytest.raises(KeyboardInterrupt):
        train(request(recipe_file(tmp_path), tmp_path / "data", tmp_path / "run"), Watching(stop_after=40))


def test_a_size_that_a_later_stage_cannot_have_is_refused_before_the_first(tmp_path: Path, data: Path) -> None:
    layers = [{"kind": "conv", "filters": 2}, *[{"kind": "max-pool"}] * 5, {"kind": "global-average-pool"}]
    stage = {"epochs": 1, "batch": 8, "learning_rate": 0.01}
    stages = [stage, stage | {"side": 16}, stage]
    watching = Watching()
    with pytest.raises(UsageError, match=r"^stage 2, of 16 pixels: the network .* cannot be built: Computed"):
        train(
            request(
                recipe_file(tmp_path, network={"layers": layers}, training={"stages": stages}), data, tmp_path / "run"
            ),
            watching,
        )
    assert watching.calls == 0


def test_a_network_without_pooling_is_refused_before_any_work(tmp_path: Path, data: Path) -> None:
    recipe = recipe_file(tmp_path, network={"layers": LAYERS[:3]})
    watching = Watching()
    with pytest.raises(UsageError, match="a pooling or flatten layer is missing"):
        train(request(recipe, data, tmp_path / "run"), watching)
    assert watching.calls == 0


def test_a_plain_network_has_no_imagenet_weights(tmp_path: Path, data: Path) -> None:
    with pytest.raises(UsageError, match="has no backbone, so there are no ImageNet weights"):
        train(request(recipe_file(tmp_path), data, tmp_path / "run", weights="imagenet"), Watching())
    assert not (tmp_path / "run").exists()


def test_it_is_said_where_folders_are_no_patients(tmp_path: Path, data: Path) -> None:
    for label in ("NORMAL", "PNEUMONIA"):
        for number, file in enumerate(sorted((data / label).iterdir())):
            copy = tmp_path / "data" / label / f"{2020 + number // 14}" / f"scan{number}{file.suffix}"
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
    watching = Watching(stop_after=1)
    with pytest.raises(KeyboardInterrupt):
        train(request(recipe_file(tmp_path), tmp_path / "data", tmp_path / "run"), watching)
    assert any(note.startswith("one patient has 28 of the 80 images") for note in watching.notes)
    said = list[str]()
    folds = FoldsRequest(
        recipe=tmp_path / "recipe.toml", data=tmp_path / "data", test=None, output=tmp_path / "folds", by_patient=2
    )
    write_folds(folds, note=said.append)
    assert any(note.startswith("one patient has 28 of the 80 images") for note in said)


def test_it_is_said_what_the_selection_leaves_out(tmp_path: Path, data: Path) -> None:
    shutil.copytree(data, tmp_path / "data")
    file = next((tmp_path / "data" / "NORMAL").iterdir())
    shutil.copyfile(file, file.with_name(f"IM-9999-0001{file.suffix}"))
    watching = Watching(stop_after=1)
    with pytest.raises(KeyboardInterrupt):
        train(request(recipe_file(tmp_path), tmp_path / "data", tmp_path / "run"), watching)
    assert watching.notes == [
        "left out of the data folder: 1 double, or of several classes",
        "small sample: 8 of NORMAL, 8 of PNEUMONIA in the test images; figures on them say little",
    ]


def test_a_history_without_its_checkpoint_is_kept(tmp_path: Path, data: Path) -> None:
    recipe, run = recipe_file(tmp_path), tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train(request(recipe, data, run), Watching(stop_after=12))
    before = (run / "history.json").read_bytes()
    (run / "checkpoint.npz").unlink()
    with pytest.raises(UsageError, match=r"holds a history, but no checkpoint\.npz"):
        train(request(recipe, data, run, resume=True), Watching())
    assert (run / "history.json").read_bytes() == before


def test_another_run_is_not_gone_on_with(tmp_path: Path, data: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train(request(recipe_file(tmp_path), data, run), Watching(stop_after=9))
    with pytest.raises(UsageError, match="another seed"):
        train(request(recipe_file(tmp_path), data, run, resume=True, seed=7), Watching())
    with pytest.raises(UsageError, match=r"another recipe; it cannot be gone on with; .*recipe\.toml is the one"):
        changed = recipe_file(tmp_path, training=TRAINING | {"optimizer": "adam"})
        train(request(changed, data, run, resume=True), Watching())


def test_a_training_that_diverges_says_so(tmp_path: Path, data: Path) -> None:
    plan = {"optimizer": "sgd", "stages": [{"epochs": 4, "batch": 8, "learning_rate": 1e30}]}
    with pytest.raises(TrainingDiverged, match="epoch 1 of 4: the loss is no number"):
        train(request(recipe_file(tmp_path, training=plan), data, tmp_path / "run"), Watching())
    assert not (tmp_path / "run" / "model.keras").exists()


def test_a_run_begun_a_moment_ago_is_gone_on_with(tmp_path: Path, data: Path) -> None:
    recipe, run = recipe_file(tmp_path, training={"stages": SHORT}), tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train(request(recipe, data, run), Watching(stop_after=1))
    (run / "recipe.toml").unlink()  # it is written last
    train(request(recipe, data, run, resume=True), Watching())
    assert (run / "recipe.toml").read_bytes() == recipe.read_bytes()


def test_a_recipe_without_training_says_so(tmp_path: Path, data: Path, workbench: Any) -> None:
    with pytest.raises(UsageError, match="trained elsewhere"):
        train(request(workbench.recipe, data, tmp_path / "run"), Watching())
