"""Words change without the graph, and the card says what the contract says."""

import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tomlkit
from recipes import LAYERS, raw_recipe, recipe_of
from training_runs import METRICS

pytest.importorskip("tensorflow", reason="needs the workbench: pip install ./export")

import onnx

from cxr_edge.errors import LimitBroken, OutputError, UsageError
from cxr_edge.modelfile import read_model
from cxr_edge_export import cli
from cxr_edge_export.card import Beside, card, write_card
from cxr_edge_export.card_sources import Training
from cxr_edge_export.restamp import restamp
from cxr_edge_export.stamp import read_contract


def test_restamp_changes_metadata_only(converted: Path, workbench: Any, tmp_path: Path) -> None:
    output = tmp_path / "again.onnx"
    recipe = workbench.recipe_with(tmp_path, ('version = "0.1.0"', 'version = "0.2.0"'), ("Phantoms only", "New words"))
    restamp(converted, recipe, output, overwrite=False)
    before, after = onnx.load(converted), onnx.load(output)
    assert before.graph == after.graph
    old, new = read_contract(before), read_contract(after)
    assert new.identity.version == "0.2.0"
    assert new.intended_use.statement.startswith("New words")
    assert new.parity == old.parity
    assert new.golden == old.golden
    assert output.with_name("again.onnx.sha256").is_file()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("value = 0.5", "value = 0.4", "operating_points"),
        ("scale = [64.0, 64.0, 64.0]", "scale = [1.0, 1.0, 1.0]", "normalization"),
        ("reduce_range = true", "reduce_range = false", "quantization"),
        ("images = 16", "images = 16\nseed = 9", "quantization"),
        ("recipe_version = 1", "recipe_version = 1\ntemperature = 3.0", "temperature"),
        ('labels = ["NORMAL", "PNEUMONIA"]', 'labels = ["PNEUMONIA", "NORMAL"]', "labels"),
    ],
)
def test_restamp_refuses_what_was_measured(
    converted: Path, workbench: Any, tmp_path: Path, old: str, new: str, words: str
) -> None:
    output = tmp_path / "again.onnx"
    with pytest.raises(UsageError, match=words):
        restamp(converted, workbench.recipe_with(tmp_path, (old, new)), output, overwrite=False)
    assert not output.exists()


def test_restamp_holds_the_limits(converted: Path, workbench: Any, tmp_path: Path) -> None:
    recipe = workbench.recipe_with(tmp_path, ("agreement_images = 50", "agreement_images = 5000"))
    with pytest.raises(LimitBroken):
        restamp(converted, recipe, tmp_path / "again.onnx", overwrite=False)


def test_restamp_refuses_an_existing_output(converted: Path, workbench: Any, tmp_path: Path) -> None:
    output = tmp_path / "again.onnx"
    output.write_bytes(b"precious")
    with pytest.raises(OutputError):
        restamp(converted, workbench.recipe, output, overwrite=False)
    assert output.read_bytes() == b"precious"


def test_restamp_through_a_link_leaves_the_file_itself_whole(converted: Path, workbench: Any, tmp_path: Path) -> None:
    store, link = tmp_path / "store", tmp_path / "link.onnx"
    store.mkdir()
    for name in (converted.name, f"{converted.name}.sha256"):
        shutil.copyfile(converted.with_name(name), store / name)
    link.symlink_to(store / converted.name)
    restamp(link, workbench.recipe, link, overwrite=True)
    assert read_model(store / converted.name).pinned
    assert sorted(path.name for path in tmp_path.iterdir() if not path.is_dir()) == ["link.onnx"]


def test_card_names_what_matters(converted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "MODEL_CARD.md"
    assert cli.run(["card", str(converted), "-o", str(target)]) == 0
    text = target.read_text(encoding="utf-8")
    for words in (
        "# tiny 0.1.0",
        "not a medical device",
        "balanced accuracy",
        "limit on flips",
        "screening",
        "pillow-bilinear",
        "PNEUMONIA",
    ):
        assert words in text
    assert cli.run(["card", str(converted), "-o", str(target)]) == 6
    assert "exists already" in capsys.readouterr().err


def test_a_card_believes_no_run_with_another_training(converted: Path, workbench: Any, tmp_path: Path) -> None:
    folder, run = tmp_path / "model", tmp_path / "run"
    for place in (folder, run):
        place.mkdir()
        shutil.copyfile(workbench.recipe, place / "recipe.toml")
    model = folder / "model.onnx"
    shutil.copyfile(converted, model)
    shutil.copyfile(workbench.model, run / "model.keras")
    (run / "metrics.json").write_bytes(msgspec.json.encode(METRICS))
    write_card(model, folder / "CARD.md", overwrite=False, runs=[run])
    (folder / "recipe.toml").rename(tmp_path / "elsewhere.toml")
    with pytest.raises(UsageError, match="is not that one"):
        write_card(model, folder / "other.md", overwrite=False, runs=[run])
    write_card(model, folder / "other.md", overwrite=False, runs=[run], recipe=tmp_path / "elsewhere.toml")
    assert (folder / "other.md").read_bytes() == (folder / "CARD.md").read_bytes()
    (tmp_path / "elsewhere.toml").rename(folder / "recipe.toml")
    (folder / "other.md").unlink()
    (run / "metrics.json").write_bytes(msgspec.json.encode(msgspec.structs.replace(METRICS, training_images=7)))
    with pytest.raises(UsageError, match=r"says training_data\.images = 96; the run in .* had 7"):
        write_card(model, folder / "other.md", overwrite=False, runs=[run])
    (run / "metrics.json").write_bytes(msgspec.json.encode(METRICS))
    stages = {"network": {"layers": LAYERS}, "training": {"stages": [{"epochs": 3, "batch": 8, "learning_rate": 0.01}]}}
    (run / "recipe.toml").write_text(tomlkit.dumps(raw_recipe(**stages)), encoding="utf-8")
    with pytest.raises(UsageError, match="tells another network, training than the run"):
        write_card(model, folder / "other.md", overwrite=False, runs=[run])
    other = workbench.recipe.read_text(encoding="utf-8").replace("scale = [64.0", "scale = [32.0")
    (run / "recipe.toml").write_text(other, encoding="utf-8")
    with pytest.raises(UsageError, match="another normalization than the training run"):
        write_card(model, folder / "other.md", overwrite=False, runs=[run])
    with pytest.raises(UsageError, match="runs given: 2; the model needs 1: tiny"):
        write_card(model, folder / "other.md", overwrite=False, runs=[run, run])
    (run / "model.keras").write_bytes(b"another")
    with pytest.raises(UsageError, match="not the one that this file was made from"):
        write_card(model, folder / "other.md", overwrite=False, runs=[run])
    shutil.copyfile(workbench.model, run / "model.keras")
    (folder / "recipe.toml").unlink()
    with pytest.raises(UsageError, match="is not that one"):
        write_card(model, folder / "other.md", overwrite=False, runs=[run])


@pytest.mark.parametrize("place", ["../first.keras", "C:\\networks\\first.keras"])
def test_a_card_believes_a_run_whose_weights_lay_in_another_folder(
    converted: Path, workbench: Any, tmp_path: Path, place: str
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    shutil.copyfile(workbench.model, run / "model.keras")
    (run / "metrics.json").write_bytes(msgspec.json.encode(METRICS))
    ours = tmp_path / "recipe.toml"
    for name, weights in ((ours, "first.keras"), (run / "recipe.toml", place)):
        raw = tomlkit.parse(workbench.recipe.read_text(encoding="utf-8"))
        raw["training"] = {"stages": [{"epochs": 3, "batch": 8, "learning_rate": 0.01}]}
        raw["network"] = {"backbone": "ResNet50", "weights": weights, "layers": [{"kind": "global-average-pool"}]}
        name.write_text(tomlkit.dumps(raw), encoding="utf-8")
    model = tmp_path / "model.onnx"
    restamp(converted, ours, model, overwrite=False)
    write_card(model, tmp_path / "CARD.md", overwrite=False, runs=[run])
    (tmp_path / "first.keras").write_bytes(b"of another training")
    with pytest.raises(UsageError, match=r"first\.keras are sha256:\w+; the run began with "):
        write_card(model, tmp_path / "other.md", overwrite=False, runs=[run])
    (tmp_path / "first.keras").unlink()
    text = (run / "recipe.toml").read_text(encoding="utf-8").replace("first.keras", "second.keras")
    (run / "recipe.toml").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match="tells another network than the run"):
        write_card(model, tmp_path / "other.md", overwrite=False, runs=[run])


def test_card_tells_how_it_was_trained(converted: Path) -> None:
    stage = {"epochs": 3, "batch": 8, "learning_rate": 0.01}
    stages = [stage, {**stage, "augmentation": {"zoom": 0.2}}]
    finer = {"weight": 0.4, "classes": [{"label": "well"}, {"label": "bacterial"}, {"label": "viral"}]}
    training = {"stages": stages, "auxiliary": finer, "early_stopping": {"patience": 4}, "averaging": 0.9}
    recipe = recipe_of(network={"layers": LAYERS}, training=training, selection={"per_patient": "one", "test": 0.2})
    contract = read_contract(onnx.load(converted))
    assert "## Training" not in card(contract, "0" * 64), "no run says that it took place"
    text = card(contract, "0" * 64, Beside(trainings=(Training("tiny", recipe, METRICS, ("PNEUMONIA",)),)))
    assert "## Training\n" in text
    assert "| Network | plain, weights random, output softmax |" in text
    assert recipe.network is not None
    elsewhere = msgspec.structs.replace(recipe.network, weights="elsewhere/somebody/first.keras")
    recipe = msgspec.structs.replace(recipe, network=elsewhere)
    placed = card(contract, "0" * 64, Beside(trainings=(Training("tiny", recipe, METRICS, ("PNEUMONIA",)),)))
    assert "weights first.keras," in placed
    assert "somebody" not in placed
    assert "| Training images | 96, 3 epochs |" in text
    assert "| Stage 1 | epochs 3, batch 8, learning_rate 0.01 |" in text
    assert "| Stage 2 | epochs 3, batch 8, learning_rate 0.01 |" in text
    assert "| Augmentation in stage 2 | zoom 0.2 |" in text
    assert "| Augmentation | none |" in text
    assert "| Second output, in training only | well, bacterial, viral, weight 0.4 in the loss |" in text
    assert "| Early stopping | monitor loss, patience 4 |" in text
    assert "| Settings | averaging 0.9 |" in text
    assert "| Selection of images | per_patient one, test 0.2 |" in text
    assert "test images" not in text
    tested = msgspec.structs.replace(METRICS, test=METRICS.validation)
    text = card(contract, "0" * 64, Beside(trainings=(Training("tiny", recipe, tested, ("PNEUMONIA",)),)))
    assert "| Keras on the run's test images | accuracy 1.0000, balanced" in text
    assert "its AUC is that of" not in text
    text = card(contract, "0" * 64, Beside(trainings=(Training("tiny", recipe, tested, ("NORMAL",)),)))
    assert "not by an operating point; its AUC is that of NORMAL |" in text


def test_exit_codes(converted: Path, workbench: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = ["-o", str(tmp_path / "x.onnx")]
    recipe = ["--recipe", str(workbench.recipe)]
    sets = ["--calibration", str(workbench.calibration), "--validation", str(workbench.validation)]
    broken = ["--recipe", str(workbench.recipe_with(tmp_path, ("agreement_images = 50", "agreement_images = 5000")))]
    assert cli.run(["convert", str(workbench.model), *recipe, *output]) == 2
    assert cli.run(["convert", str(tmp_path / "absent.keras"), *recipe, *sets, *output]) == 5
    assert cli.run(["convert", str(workbench.model), *broken, *sets, *output]) == 7
    assert cli.run(["convert", str(workbench.model), *recipe, *sets, "-o", str(converted)]) == 6
    assert cli.run(["restamp", str(workbench.model), *recipe, *output]) == 5
    assert not (tmp_path / "x.onnx").exists()
    assert "Traceback" not in capsys.readouterr().err
