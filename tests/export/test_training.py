"""Training on phantoms: it learns, repeats itself, and goes on after being killed as if nothing had happened."""

import errno
import hashlib
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("tensorflow", reason="needs the workbench: pip install ./export")

from recipes import LAYERS
from training_runs import METRICS, TRAINING, Watching, recipe_file, request

from cxr_edge.errors import ModelError, OutputError, UsageError
from cxr_edge_export import cli
from cxr_edge_export.recipe import Augmentation
from cxr_edge_export.training import images as training_images
from cxr_edge_export.training.metrics_file import Metrics
from cxr_edge_export.training.run_folder import Checkpoint, Row, RunFolder, State
from cxr_edge_export.training.train import train
from cxr_edge_export.training.trainer import TrainingDiverged


@pytest.fixture(scope="module")
def data(workbench: Any) -> Path:
    """Eighty phantoms."""
    folder: Path = workbench.calibration
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, data: Path) -> tuple[Path, Metrics, Watching]:
    """A run that nothing disturbed: its folder, figures, and what its watcher saw. Read only."""
    folder = tmp_path_factory.mktemp("run")
    watching = Watching()
    found = train(request(recipe_file(folder), data, folder / "run"), watching)
    return folder / "run", found, watching


def test_it_learns(finished: tuple[Path, Metrics, Watching], keras: Any) -> None:
    run, found, watching = finished
    assert (found.validation.balanced_accuracy or 0) > 0.8
    assert found.test is not None
    assert found.epochs == len(watching.rows) == 14
    assert msgspec.json.decode((run / "history.json").read_bytes(), type=list[Row]) == watching.rows
    assert [row.side for row in watching.rows] == [32] * 4 + [48] * 10
    assert watching.shares == sorted(watching.shares)
    assert watching.shares[-1] == pytest.approx(1)
    assert watching.shares[len(watching.shares) * 2 // 7] == pytest.approx(
        4 * 32**2 / (4 * 32**2 + 10 * 48**2), abs=0.03
    )
    model = keras.saving.load_model(run / "model.keras", compile=False)
    assert model.count_params() == found.parameters > found.trainable_parameters
    assert model.input_shape == (None, 48, 48, 3)
    with Image.open(run / "curves.png") as curves:
        assert curves.size[0] > 500
    names = {path.name for path in run.iterdir()} - {".lock"}
    files = {"recipe.toml", "run.json", "history.json", "metrics.json", "curves.png", "model.keras"}
    assert names == files | {"training.txt", "validation.txt", "test.txt"}


def test_the_saved_model_is_the_one_that_was_measured(
    finished: tuple[Path, Metrics, Watching], keras: Any, data: Path
) -> None:
    run, found, _ = finished
    model = keras.saving.load_model(run / "model.keras", compile=False)
    right = []
    for line in (run / "validation.txt").read_text(encoding="utf-8").splitlines():
        gray = np.asarray(Image.open(data / line).resize((48, 48), Image.Resampling.BILINEAR), np.float32)
        pixels = (gray[..., None] - np.array([103.939, 116.779, 123.68], np.float32)) / np.float32(64)
        right.append((model(pixels[None]).numpy().argmax() == 1) == line.startswith("PNEUMONIA"))
    assert np.mean(right) == pytest.approx(found.validation.accuracy)


def test_lists_name_images_as_they_were_given_not_where_links_lead(tmp_path: Path, data: Path) -> None:
    for folder in ("NORMAL", "PNEUMONIA"):
        (tmp_path / "linked" / folder).mkdir(parents=True)
        for number, file in enumerate(sorted((data / folder).iterdir())):
            try:
                (tmp_path / "linked" / folder / f"patient{number}{file.suffix}").symlink_to(file)
            except OSError as error:
                pytest.skip(f"no links here: {error}")
    (tmp_path / "x").mkdir()
    recipe = recipe_file(tmp_path, training={"stages": SHORT})
    with pytest.raises(KeyboardInterrupt):
        train(request(recipe, tmp_path / "x" / ".." / "linked", tmp_path / "run"), Watching(stop_after=1))
    listed = (tmp_path / "run" / "training.txt").read_text(encoding="utf-8").splitlines()
    assert listed
    assert all(line.split("/")[0] in {"NORMAL", "PNEUMONIA"} and "/patient" in line for line in listed)


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
    with RunFolder(tmp_path / "run").held(), pytest.raises(UsageError, match="another process trains in"):
        train(request(recipe_file(tmp_path), data, tmp_path / "run"), Watching())
    with pytest.raises(KeyboardInterrupt):  # and it is free again, also after an interrupt
        train(request(recipe_file(tmp_path), data, tmp_path / "run"), Watching(stop_after=1))
    with RunFolder(tmp_path / "run").held():
        pass


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
        assert len(watching.notes) == notes
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


def test_it_is_said_what_the_selection_leaves_out(tmp_path: Path, data: Path) -> None:
    shutil.copytree(data, tmp_path / "data")
    file = next((tmp_path / "data" / "NORMAL").iterdir())
    shutil.copyfile(file, file.with_name(f"IM-9999-0001{file.suffix}"))
    watching = Watching(stop_after=1)
    with pytest.raises(KeyboardInterrupt):
        train(request(recipe_file(tmp_path), tmp_path / "data", tmp_path / "run"), watching)
    assert watching.notes == ["left out of the data folder: 1 double, or of several classes"]


def test_another_run_is_not_gone_on_with(tmp_path: Path, data: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train(request(recipe_file(tmp_path), data, run), Watching(stop_after=9))
    with pytest.raises(UsageError, match="another seed"):
        train(request(recipe_file(tmp_path), data, run, resume=True, seed=7), Watching())
    with pytest.raises(UsageError, match="another recipe_sha256"):
        changed = recipe_file(tmp_path, training=TRAINING | {"optimizer": "adam"})
        train(request(changed, data, run, resume=True), Watching())


def test_seeds_differ(tmp_path: Path, data: Path, finished: tuple[Path, Metrics, Watching]) -> None:
    found = train(request(recipe_file(tmp_path), data, tmp_path / "run", seed=5), Watching())
    assert found.validation.cross_entropy != finished[1].validation.cross_entropy


def test_early_stopping_takes_the_best_weights(tmp_path: Path, data: Path) -> None:
    # far too high a rate: after a good start everything gets worse
    stage = {"epochs": 12, "batch": 8, "learning_rate": 0.2}
    plan = {"optimizer": "sgd", "early_stopping": {"patience": 2}, "stages": [stage]}
    watching = Watching()
    found = train(request(recipe_file(tmp_path, training=plan), data, tmp_path / "run"), watching)
    best = min(range(len(watching.rows)), key=lambda index: watching.rows[index].validation_loss)
    assert len(watching.rows) == min(12, best + 3)
    assert found.validation.cross_entropy == pytest.approx(watching.rows[best].validation_loss, rel=1e-4)


@pytest.mark.parametrize("balance", ["none", "undersample", "undersample-once", "class-weights"])
def test_sigmoid_and_every_balance(tmp_path: Path, data: Path, balance: str) -> None:
    plan = {"balance": balance, "stages": [{"epochs": 10, "batch": 8, "learning_rate": 0.01}]}
    network = {"layers": LAYERS, "output": "sigmoid"}
    found = train(request(recipe_file(tmp_path, training=plan, network=network), data, tmp_path / "run"), Watching())
    assert (found.validation.auc or 0) > 0.9


def test_the_auxiliary_output_is_dropped(tmp_path: Path, data: Path, keras: Any) -> None:
    finer = {"weight": 0.5, "classes": [{"label": "healthy", "folder": "NORMAL"}, {"label": "PNEUMONIA"}]}
    plan = {"auxiliary": finer, "stages": [{"epochs": 1, "batch": 8, "learning_rate": 0.01}]}
    train(request(recipe_file(tmp_path, training=plan), data, tmp_path / "run"), Watching())
    model = keras.saving.load_model(tmp_path / "run" / "model.keras", compile=False)
    assert model.output_shape == (None, 2)
    assert "auxiliary" not in {layer.name for layer in model.layers}


@pytest.fixture
def augmentations(monkeypatch: pytest.MonkeyPatch) -> list[Augmentation]:
    """Those that batches were asked for with, in order."""
    seen: list[Augmentation] = []
    real = training_images.augmented

    def listening(images: Any, indices: Any, plan: Augmentation, seed: int, epoch: int) -> Any:
        seen.append(plan)
        return real(images, indices, plan, seed, epoch)

    monkeypatch.setattr(training_images, "augmented", listening)
    return seen


def test_a_stage_may_have_an_augmentation_of_its_own(
    tmp_path: Path, data: Path, augmentations: list[Augmentation]
) -> None:
    stage = {"epochs": 1, "batch": 80, "learning_rate": 0.01}
    stages = [stage, {**stage, "augmentation": {"aspect": 0.3}}, {**stage, "augmentation": {}}]
    plan = {"stages": stages, "augmentation": {"flip": True}}
    train(request(recipe_file(tmp_path, training=plan), data, tmp_path / "run"), Watching())
    assert augmentations == [Augmentation(flip=True), Augmentation(aspect=0.3), Augmentation()]


@pytest.mark.slow
def test_feature_maps_are_not_kept_where_the_stage_augments(
    tmp_path: Path, data: Path, augmentations: list[Augmentation]
) -> None:
    network = {"backbone": "MobileNet", "layers": [{"kind": "global-average-pool"}]}
    stage = {"epochs": 1, "batch": 80, "learning_rate": 0.01, "backbone_layers": 0}
    plan = {"stages": [{**stage, "augmentation": {"flip": True}}, stage]}
    train(request(recipe_file(tmp_path, training=plan, network=network), data, tmp_path / "run"), Watching())
    assert augmentations == [Augmentation(flip=True)]


@pytest.mark.slow
def test_a_frozen_backbone_stays_as_it_is(tmp_path: Path, data: Path, keras: Any) -> None:
    network = {"backbone": "MobileNet", "layers": [{"kind": "global-average-pool"}]}
    stages = [{"epochs": 2, "batch": 8, "learning_rate": 0.01, "backbone_layers": layers} for layers in (0, 3)]
    models = []
    for count, augmentation in ((1, {}), (1, {"flip": True}), (2, {})):
        plan = {"stages": stages[:count], "augmentation": augmentation}
        run = tmp_path / f"run-{count}-{len(augmentation)}"
        found = train(request(recipe_file(tmp_path, training=plan, network=network), data, run), Watching())
        models.append((keras.saving.load_model(run / "model.keras", compile=False), found))
    initial, *_ = (model for model, _ in models)
    normalization = [n for n, layer in enumerate(initial.layers) if isinstance(layer, keras.layers.BatchNormalization)]
    for model, _ in models:
        assert np.array_equal(model.layers[1].get_weights(), initial.layers[1].get_weights())
        # but for the last three layers in the last run; moving means are 0 and moving variances 1 before any step
        for place in normalization[: -1 if model is models[-1][0] else None]:
            _, _, mean, variance = model.layers[place].get_weights()
            assert not mean.any()
            assert (variance == 1).all()
    assert models[0][1].trainable_parameters == 1024 * 2 + 2
    assert models[2][1].trainable_parameters > models[0][1].trainable_parameters


def test_the_deployed_network_takes_what_it_is_fed_with(tmp_path: Path) -> None:
    """Keras warns of a bare array where a list of one was expected."""
    from cxr_edge_export.recipe import read_recipe
    from cxr_edge_export.training.network import build, deployed

    recipe = read_recipe(recipe_file(tmp_path)).recipe
    network = deployed(build(recipe, tmp_path).model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert network(np.zeros((2, 48, 48, 3), np.float32)).shape == (2, 2)


SHORT = [{"epochs": 3, "batch": 8, "learning_rate": 0.01}]


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_16_bits_are_for_training_alone(tmp_path: Path, data: Path, keras: Any, precision: str) -> None:
    recipe = recipe_file(tmp_path, training={"precision": precision, "averaging": 0.8, "stages": SHORT})
    found = train(request(recipe, data, tmp_path / "run"), Watching())
    model = keras.saving.load_model(tmp_path / "run" / "model.keras", compile=False)
    assert {layer.dtype_policy.compute_dtype for layer in model.layers} == {"float32"}
    last = msgspec.json.decode((tmp_path / "run" / "history.json").read_bytes(), type=list[Row])[-1]
    assert found.validation.cross_entropy == pytest.approx(last.validation_loss, abs=0.01)
    with pytest.raises(KeyboardInterrupt):
        train(request(recipe, data, tmp_path / "other"), Watching(stop_after=15))
    train(request(recipe, data, tmp_path / "other", resume=True), Watching())
    histories = [(tmp_path / name / "history.json").read_bytes() for name in ("run", "other")]
    assert histories[0] == histories[1]


def test_what_16_bits_need_is_in_the_checkpoint(tmp_path: Path) -> None:
    from cxr_edge_export.recipe import read_recipe
    from cxr_edge_export.training.trainee import Trainee

    recipe = read_recipe(recipe_file(tmp_path, training={"precision": "float16", "stages": SHORT})).recipe
    trainee = Trainee(recipe, tmp_path, 0, 4, 0, cached=False)
    names = {variable.name for variable in trainee.optimizer.variables}
    assert {"dynamic_scale", "step_counter", "iteration"} <= names


@pytest.mark.parametrize(("decay", "expected"), [(0.0, 0.0), (0.3, 0.3)])
def test_weight_decay_is_the_recipes(tmp_path: Path, decay: float, expected: float) -> None:
    from cxr_edge_export.recipe import read_recipe
    from cxr_edge_export.training.trainee import Trainee

    plan = {"optimizer": "adamw", "weight_decay": decay, "stages": SHORT}
    recipe = read_recipe(recipe_file(tmp_path, training=plan)).recipe
    seed = (1 << 32) - 1  # the largest
    assert Trainee(recipe, tmp_path, 0, 4, seed, cached=False).optimizer.weight_decay == expected


@pytest.mark.parametrize("clip", [None, 0.01])
def test_a_long_gradient_is_scaled_down(tmp_path: Path, keras: Any, clip: float | None) -> None:
    from cxr_edge_export.recipe import read_recipe
    from cxr_edge_export.training.trainee import Trainee

    stages = [{"epochs": 1, "batch": 8, "learning_rate": 1.0}]
    plan = {"optimizer": "sgd", "momentum": 0.0, "stages": stages} | ({} if clip is None else {"gradient_clip": clip})
    trainee = Trainee(read_recipe(recipe_file(tmp_path, training=plan)).recipe, tmp_path, 0, 1, 0, cached=False)
    trained, array = trainee.built.model.trainable_variables, keras.ops.convert_to_numpy
    before = [array(variable).copy() for variable in trained]
    inputs = np.random.default_rng(0).normal(0, 10, (8, 48, 48, 3)).astype(np.float32)
    trainee.step(inputs, [np.array([0, 1] * 4)], None)
    moved = np.sqrt(sum(np.square(array(v) - old).sum() for v, old in zip(trained, before, strict=True)))
    if clip is None:
        assert moved > 0.02
    else:
        assert moved == pytest.approx(clip, rel=1e-3)


def test_the_history_has_the_mean_loss_of_each_epoch(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cxr_edge_export.training.trainee import Trainee

    seen, step = [], Trainee.step

    def listening(trainee: Trainee, *given: Any) -> float:
        seen.append(step(trainee, *given))
        return seen[-1]

    monkeypatch.setattr(Trainee, "step", listening)
    watching = Watching()
    train(request(recipe_file(tmp_path, training={"stages": SHORT}), data, tmp_path / "run"), watching)
    assert len(set(seen)) == len(seen) > len(watching.rows)
    epochs = np.reshape(seen, (len(watching.rows), -1))
    assert [row.loss for row in watching.rows] == pytest.approx(epochs.mean(axis=1))


def test_a_training_that_diverges_says_so(tmp_path: Path, data: Path) -> None:
    plan = {"optimizer": "sgd", "stages": [{"epochs": 4, "batch": 8, "learning_rate": 1e30}]}
    with pytest.raises(TrainingDiverged, match="epoch 1 of 4: the loss is no number"):
        train(request(recipe_file(tmp_path, training=plan), data, tmp_path / "run"), Watching())
    assert not (tmp_path / "run" / "model.keras").exists()


def test_test_images_of_one_class_have_no_balanced_accuracy(tmp_path: Path, data: Path) -> None:
    from cxr_edge_export.training.compare import compare, to_table

    listing = tmp_path / "list.txt"
    files = sorted((data / "PNEUMONIA").iterdir())[:5]
    listing.write_text("".join(f"{file}\n" for file in files), encoding="utf-8")
    recipe = recipe_file(tmp_path, training={"stages": SHORT})
    found = train(request(recipe, data, tmp_path / "run", test=listing), Watching())
    assert found.test is not None
    assert (found.test.balanced_accuracy, found.test.auc) == (None, None)
    (line,) = to_table(compare([tmp_path / "run"]))
    assert (line["on"], line["balanced"], line["AUC"]) == ("5 test", "", "")


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


def test_evaluate_reports_what_training_measured(finished: tuple[Path, Metrics, Watching], data: Path) -> None:
    from cxr_edge_export.training.judge import JudgeRequest, judge

    run, found, _ = finished
    report = judge(JudgeRequest(run=run, data=data, images=None, operating_point="standard"))
    assert found.test is not None
    assert report.data.images == found.test.images
    assert report.images.accuracy is not None
    assert report.images.accuracy.estimate == pytest.approx(found.test.accuracy)
    assert report.images.auc is not None
    assert report.images.auc.estimate == pytest.approx(found.test.auc)
    with pytest.raises(UsageError, match="no operating point 'best'"):
        judge(JudgeRequest(run=run, data=data, images=None, operating_point="best"))
    with pytest.raises(UsageError, match="no finished training run"):
        judge(JudgeRequest(run=data, data=data, images=None, operating_point=None))


def test_evaluate_knows_no_patients_where_nothing_tells_them(
    finished: tuple[Path, Metrics, Watching], data: Path, tmp_path: Path
) -> None:
    from cxr_edge_export.training.judge import JudgeRequest, judge

    for label in ("NORMAL", "PNEUMONIA"):
        (tmp_path / label).mkdir()
        for number, file in enumerate(sorted((data / label).iterdir())[:4]):
            shutil.copyfile(file, tmp_path / label / f"{label}{number}{file.suffix}")
    report = judge(JudgeRequest(run=finished[0], data=data, images=tmp_path, operating_point=None))
    assert report.patients is None
    assert judge(JudgeRequest(run=finished[0], data=data, images=None, operating_point=None)).patients is not None


def test_compare_puts_runs_side_by_side(
    finished: tuple[Path, Metrics, Watching], tmp_path: Path, converted: Path, workbench: Any
) -> None:
    from cxr_edge_export.training.compare import compare, to_table

    run, found, _ = finished
    copy = tmp_path / "with-int8"
    shutil.copytree(run, copy)
    shutil.copyfile(converted, copy / "model.onnx")
    with pytest.raises(UsageError, match="not made from the network beside it"):
        compare([run, copy])
    shutil.copyfile(workbench.model, copy / "model.keras")
    rows = compare([run, copy])
    assert found.test is not None
    assert rows[0].accuracy == rows[1].accuracy == found.test.accuracy
    assert rows[0].confusion == found.test.confusion
    for number, label in enumerate(("NORMAL", "PNEUMONIA")):
        row = found.test.confusion[number]
        assert rows[0].recall[label] == pytest.approx(row[number] / sum(row))
    assert rows[0].trainable_parameters == found.trainable_parameters
    assert rows[0].int8_mb is None
    assert rows[1].int8_mb == pytest.approx(converted.stat().st_size / 1e6)
    assert (rows[1].int8_ms or 0) > 0
    assert [line["run"] for line in to_table(rows)] == ["run", "with-int8"]
    with pytest.raises(UsageError, match="no finished training run"):
        compare([tmp_path])


def test_compare_says_where_the_figures_are_of_other_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tested = msgspec.structs.replace(METRICS.validation, sha256="a" * 64)
    runs = {"tested": msgspec.structs.replace(METRICS, test=tested), "untested": METRICS}
    for name, found in runs.items():
        (tmp_path / name).mkdir()
        recipe_file(tmp_path / name)
        (tmp_path / name / "metrics.json").write_bytes(msgspec.json.encode(found))
    one, other, stored = str(tmp_path / "tested"), str(tmp_path / "untested"), tmp_path / "compared.json"
    assert cli.run(["compare", one, one]) == 0
    assert capsys.readouterr().err == ""
    assert cli.run(["compare", one, other, "--json", str(stored)]) == 0
    said = capsys.readouterr()
    assert "note: the figures are of 2 different sets of images" in said.err
    assert [row["set_sha256"] for row in msgspec.json.decode(stored.read_bytes())] == ["a" * 64, "0" * 64]
    assert ["  aaaaaaaa  " in line for line in said.out.splitlines()] == [False, True, False]
    assert "  00000000  " in said.out


def first_rows(run: Path) -> Row:
    return msgspec.json.decode((run / "history.json").read_bytes(), type=list[Row])[0]


def test_it_starts_from_a_network_trained_before(
    tmp_path: Path, data: Path, finished: tuple[Path, Metrics, Watching], keras: Any
) -> None:
    """Its first epoch is better than the first from random weights, and the record says where they are from."""
    trained = finished[0] / "model.keras"
    found = train(request(recipe_file(tmp_path), data, tmp_path / "run", weights=str(trained)), Watching())
    assert first_rows(tmp_path / "run").validation_loss < first_rows(finished[0]).validation_loss - 0.1
    assert found.weights == "sha256:" + hashlib.sha256(trained.read_bytes()).hexdigest()
    assert finished[1].weights == "random"
    model = keras.saving.load_model(trained, compile=False)
    model.save_weights(tmp_path / "x.weights.h5")
    recipe = recipe_file(tmp_path, network={"layers": LAYERS, "weights": "x.weights.h5"})
    train(request(recipe, data, tmp_path / "other"), Watching(stop_after=None))
    rows = [msgspec.structs.asdict(first_rows(tmp_path / name)) for name in ("run", "other")]
    assert rows[0] == rows[1]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_share_of_the_initial_weights_is_kept(
    tmp_path: Path, data: Path, finished: tuple[Path, Metrics, Watching], keras: Any, precision: str
) -> None:
    """Moving averages included; and the epochs are those of a training that keeps nothing."""
    initial = finished[0] / "model.keras"
    plan = {"stages": SHORT, "precision": precision}
    for name, share in (("all", 0.0), ("kept", 0.25)):
        recipe = recipe_file(tmp_path, training=plan | {"initial_share": share})
        train(request(recipe, data, tmp_path / name, weights=str(initial)), Watching())
    files = (initial, tmp_path / "all" / "model.keras", tmp_path / "kept" / "model.keras")
    before, trained, kept = (keras.saving.load_model(file, compile=False).get_weights() for file in files)
    assert any(not np.array_equal(one, other) for one, other in zip(before, trained, strict=True))
    for one, other, mixed in zip(before, trained, kept, strict=True):
        np.testing.assert_allclose(mixed, 0.25 * one + 0.75 * other, rtol=1e-5, atol=1e-7)
    histories = [(tmp_path / name / "history.json").read_bytes() for name in ("all", "kept")]
    assert histories[0] == histories[1]


def test_random_weights_are_not_worth_keeping(tmp_path: Path, data: Path) -> None:
    recipe = recipe_file(tmp_path, training={"stages": SHORT, "initial_share": 0.25})
    with pytest.raises(UsageError, match=r"initial_share, but begins with random weights"):
        train(request(recipe, data, tmp_path / "run"), Watching())


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda _, path: path.with_name("none.keras"), "cannot be read: No such file"),
        (lambda _, path: path.write_bytes(b"x") and path, "is not a Keras file"),
        (lambda keras, path: _saved(keras, path, keras.layers.Lambda(lambda x: x)), "holds a Lambda layer"),
        (lambda keras, path: _saved(keras, path, keras.layers.Conv2D(3, 3)), "do not fit layer conv2d"),
    ],
)
def test_a_network_that_cannot_be_started_from(
    tmp_path: Path, data: Path, keras: Any, make: Callable[[Any, Path], Path], says: str
) -> None:
    file = make(keras, tmp_path / "other.keras")
    with pytest.raises(ModelError, match=says):
        train(request(recipe_file(tmp_path), data, tmp_path / "run", weights=str(file)), Watching())


def _saved(keras: Any, path: Path, layer: Any) -> Path:
    keras.Sequential([keras.Input((48, 48, 3)), layer]).save(path)
    return path
