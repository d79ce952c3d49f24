"""Training on phantoms: it learns, in stages, in 16 bits, and what is deployed of it."""

import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("tensorflow", reason="needs the workbench: pip install ./export")

from recipes import LAYERS
from training_runs import SHORT, Watching, recipe_file, request

from cxr_edge.phantom import chest_phantom
from cxr_edge_export.recipe import Augmentation
from cxr_edge_export.training import images as training_images
from cxr_edge_export.training import sixteen_bits
from cxr_edge_export.training.metrics_file import Metrics
from cxr_edge_export.training.run_folder import Row
from cxr_edge_export.training.train import train
from cxr_edge_export.training.trainee import Trainee


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
    assert names == files | {"training.txt", "validation.txt", "test.txt", "trained-on.sha256"}


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
def test_a_sigmoid_learns_with_classes_balanced_in_each_way(tmp_path: Path, data: Path, balance: str) -> None:
    plan = {"balance": balance, "stages": [{"epochs": 10, "batch": 8, "learning_rate": 0.01}]}
    network = {"layers": LAYERS, "output": "sigmoid"}
    found = train(request(recipe_file(tmp_path, training=plan, network=network), data, tmp_path / "run"), Watching())
    assert (found.validation.auc or 0) > 0.9


BY_BORDER = {"balance": "class-and-border-weights", "stages": [{"epochs": 1, "batch": 1, "learning_rate": 0.01}] * 2}


def with_borders(folder: Path, counts: dict[str, tuple[int, int]]) -> Path:
    """Phantoms of each class, so many of so many with a black bar."""
    for label, (bars, total) in counts.items():
        (folder / label).mkdir(parents=True)
        for seed in range(total):
            pixels = chest_phantom(64, 60, seed=seed, opacity=0.9 if label == "PNEUMONIA" else 0.0)
            if seed < bars:
                pixels[:, :4] = 0
            Image.fromarray(pixels).save(folder / label / f"{label}{seed}.png")
    return folder


def test_images_with_a_border_are_balanced_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = with_borders(tmp_path / "data", {"NORMAL": (36, 60), "PNEUMONIA": (32, 60)})
    seen: list[tuple[int, float]] = []
    real = Trainee.step

    def listening(trainee: Trainee, inputs: Any, truth: Any, weights: Any) -> float:
        seen.extend(zip(truth[0].tolist(), weights.tolist(), strict=True))
        return real(trainee, inputs, truth, weights)

    monkeypatch.setattr(Trainee, "step", listening)
    watching = Watching()
    train(request(recipe_file(tmp_path, training=BY_BORDER), folder, tmp_path / "run"), watching)
    assert not any("decide much" in note for note in watching.notes)
    stages = [[(label, round(weight, 5)) for label, weight in part] for part in np.array_split(seen, 2)]
    assert sorted(stages[0]) == sorted(stages[1])
    sums = [weight * count for (_, weight), count in Counter(stages[0]).items()]
    np.testing.assert_allclose(sorted(sums)[::2], sorted(sums)[1::2], rtol=1e-4, err_msg="of two classes in each group")
    assert len(sums) == 4
    assert sum(sums) == pytest.approx(len(stages[0]), rel=1e-4)


def test_few_images_that_decide_much_are_worth_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cxr_edge_export.training.images.HEAVY", 1.0)
    folder = with_borders(tmp_path / "data", {"NORMAL": (36, 60), "PNEUMONIA": (32, 60)})
    plan = {**BY_BORDER, "stages": [{"epochs": 1, "batch": 64, "learning_rate": 0.01}]}
    watching = Watching()
    train(request(recipe_file(tmp_path, training=plan), folder, tmp_path / "run"), watching)
    assert any("few images decide much: each of" in note for note in watching.notes), watching.notes


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


@pytest.mark.parametrize("precision", ["bfloat16", pytest.param("float16", marks=pytest.mark.slow)])
def test_16_bits_are_for_training_alone(
    tmp_path: Path, data: Path, keras: Any, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_file(tmp_path, training={"precision": precision, "averaging": 0.8, "stages": SHORT})
    monkeypatch.setattr(sixteen_bits, "times_as_long", {precision: 8.0}.__getitem__)
    watching = Watching()
    found = train(request(recipe, data, tmp_path / "run"), watching)
    assert any("takes 8.0 times as long in it as in float32" in note for note in watching.notes)
    model = keras.saving.load_model(tmp_path / "run" / "model.keras", compile=False)
    assert {layer.dtype_policy.compute_dtype for layer in model.layers} == {"float32"}
    last = msgspec.json.decode((tmp_path / "run" / "history.json").read_bytes(), type=list[Row])[-1]
    assert found.validation.cross_entropy == pytest.approx(last.validation_loss, abs=0.01)
    with pytest.raises(KeyboardInterrupt):
        train(request(recipe, data, tmp_path / "other"), Watching(stop_after=15))
    resumed = Watching()
    train(request(recipe, data, tmp_path / "other", resume=True), resumed)
    assert not any("float32" in note for note in resumed.notes), "what cannot be changed any more"
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
