"""Two networks with different inputs, fused into one file: converted, certified, and run by the same runtime."""

import base64
import io
import json
import shutil
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
import tomlkit
from conftest import REPOSITORY
from contracts import MEMBER
from PIL import Image
from recipes import LAYERS, RECIPE, raw_recipe

pytest.importorskip("tensorflow", reason="needs the workbench: pip install ./export")

import onnx
import onnxruntime
from onnx import numpy_helper
from training_runs import METRICS

import cxr_edge
from cxr_edge.cli.app import run as cxr_edge_run
from cxr_edge.contract import Contract
from cxr_edge.errors import UsageError
from cxr_edge.phantom import chest_phantom
from cxr_edge_export import cli
from cxr_edge_export.card import write_card
from cxr_edge_export.certify import run
from cxr_edge_export.convert import build_float_graph, convert
from cxr_edge_export.fuse import fuse, weights_in
from cxr_edge_export.graph import first_convolutions, initializers, producers
from cxr_edge_export.islands import check_islands
from cxr_edge_export.original import load_original
from cxr_edge_export.recipe import parse_recipe, read_recipe
from cxr_edge_export.restamp import restamp
from cxr_edge_export.stamp import read_contract
from cxr_edge_export.training.run_folder import Beginning

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIDE, GRAY_SIDE = 48, 40
WEIGHTS = (0.25, 0.75)
MEMBERS = f"""
[[members]]
name = "colour"

[members.input]
height = {SIDE}
width = {SIDE}
channels = 3

[members.resize]
kernel = "pillow-bilinear"
pass_order = "horizontal-first"
aspect = "squash"

[members.normalization]
channel_order = "bgr"
mean = [103.939, 116.779, 123.68]
scale = [64.0, 64.0, 64.0]

[[members]]
name = "gray"
weight = 3

[members.input]
name = "gray-image"
height = {GRAY_SIDE}
width = {GRAY_SIDE}
channels = 1

[members.resize]
kernel = "pillow-bicubic"
pass_order = "horizontal-first"
aspect = "squash"

[members.normalization]
channel_order = "gray"
mean = [0.0]
scale = [255.0]

"""
HEAD, _, REST = RECIPE.partition("[input]")
TAIL = REST[REST.index("[[operating_points]]") :]
ENSEMBLE = HEAD + MEMBERS + TAIL
CONTRAST = "percentiles = [50]\nlevels = [150]\n"


@dataclass(frozen=True)
class Ensemble:
    """Two trained networks, as objects and as files, with the recipe of their mean."""

    networks: tuple[Any, Any]
    models: tuple[Path, Path]
    recipe: Path

    def expected(self, image: Image.Image) -> "NDArray[np.float64]":
        """The weighted mean by Pillow, numpy and Keras alone: float64 (labels,)."""
        gray = image.convert("L")
        small = gray.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        colour = np.repeat(np.asarray(small, np.float32)[None, :, :, None], 3, axis=3)
        colour = (colour - np.array([103.939, 116.779, 123.68], np.float32)) / np.float32(64)
        one = self.networks[0].predict(colour, verbose=0)[0].astype(np.float64)
        sick = self.networks[1].predict(gray_tensor(gray)[None], verbose=0)[0, 0].astype(np.float64)
        mean: NDArray[np.float64] = WEIGHTS[0] * one + WEIGHTS[1] * np.array([1 - sick, sick])
        return mean


def gray_tensor(image: Image.Image) -> "NDArray[np.float32]":
    """Normalized, float32 (rows, columns, 1), by Pillow and numpy alone."""
    small = image.convert("L").resize((GRAY_SIDE, GRAY_SIDE), Image.Resampling.BICUBIC)
    return np.asarray(small, np.float32)[:, :, None] / np.float32(255)


@pytest.fixture(scope="module")
def gray_network(keras: Any, workbench: Any) -> Any:
    """One channel in, one sigmoid out, trained for a few seconds on the calibration images."""
    keras.utils.set_random_seed(5)
    layers = keras.layers
    image = keras.Input((GRAY_SIDE, GRAY_SIDE, 1))
    x = image
    for width in (8, 16):
        x = layers.Conv2D(width, 3, strides=2, padding="same")(x)
        x = layers.BatchNormalization(momentum=0.8)(x)  # few steps
        x = layers.ReLU()(x)
    x = layers.GlobalAveragePooling2D()(x)
    network = keras.Model(image, layers.Dense(1, activation="sigmoid")(x))
    network.compile(keras.optimizers.Adam(0.003), "binary_crossentropy")
    files = sorted(workbench.calibration.rglob("*.png"))
    labels = np.array([file.parent.name == "PNEUMONIA" for file in files], np.float32)
    network.fit(np.stack([gray_tensor(Image.open(f)) for f in files]), labels, epochs=100, batch_size=16, verbose=0)
    return network


@pytest.fixture(scope="module")
def ensemble(trained: Any, gray_network: Any, workbench: Any, tmp_path_factory: pytest.TempPathFactory) -> Ensemble:
    folder = tmp_path_factory.mktemp("ensemble")
    gray, recipe = folder / "gray.keras", folder / "recipe.toml"
    gray_network.save(gray)
    recipe.write_text(ENSEMBLE, encoding="utf-8")
    return Ensemble((trained, gray_network), (workbench.model, gray), recipe)


@pytest.fixture(scope="module")
def request_of(ensemble: Ensemble, workbench: Any) -> Any:
    """A function: output and changes -> request to convert."""
    return lambda output, **changes: workbench.request(
        output, **({"models": ensemble.models, "recipe": ensemble.recipe} | changes)
    )


@pytest.fixture(scope="module")
def file(request_of: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The INT8 file. Read only."""
    output = tmp_path_factory.mktemp("fused") / "ensemble.onnx"
    convert(request_of(output))
    return output


@pytest.fixture(scope="module")
def float_file(ensemble: Ensemble, workbench: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The float32 file, by the command line. Read only."""
    output = tmp_path_factory.mktemp("fused") / "float.onnx"
    models = (str(path) for path in ensemble.models)
    assert cli.run(["convert", *models, *arguments(ensemble, workbench), "--float", "-o", str(output)]) == 0
    return output


def arguments(ensemble: Ensemble, workbench: Any) -> list[str]:
    sets = ["--calibration", str(workbench.calibration), "--validation", str(workbench.validation)]
    return ["--recipe", str(ensemble.recipe), *sets]


def contract_of(path: Path) -> Contract:
    return read_contract(onnx.load(path))


def jpegs(folder: Path) -> list[Path]:
    """Phantoms of three sizes, sick and not."""
    paths = []
    for seed, (rows, columns) in enumerate([(190, 250), (260, 170), (64, 64)]):
        for opacity in (0.0, 0.9):
            paths.append(folder / f"{seed}-{opacity}.jpeg")
            Image.fromarray(chest_phantom(rows, columns, seed=300 + seed, opacity=opacity)).save(paths[-1])
    return paths


@pytest.mark.parametrize(("edit", "weights"), [("weight = 3", WEIGHTS), ("", (0.5, 0.5))])
def test_the_float_graph_is_the_weighted_mean(ensemble: Ensemble, edit: str, weights: tuple[float, float]) -> None:
    recipe = parse_recipe(tomllib.loads(ENSEMBLE.replace("weight = 3", edit)))
    draw = np.random.Generator(np.random.PCG64(3))
    tensors = {
        "image": draw.integers(0, 256, (5, SIDE, SIDE, 3), dtype=np.uint8),
        "gray-image": draw.integers(0, 256, (5, GRAY_SIDE, GRAY_SIDE, 1), dtype=np.uint8),
    }
    images = [{name: tensor[place] for name, tensor in tensors.items()} for place in range(5)]
    network = build_float_graph(load_original(ensemble.models, recipe), recipe, images)
    assert weights_in(network, recipe.contract_members) == weights
    found = run(cxr_edge.engine.Engine(network.SerializeToString(), provider="cpu"), tensors)
    mean = np.array([103.939, 116.779, 123.68], np.float32)
    one = ensemble.networks[0].predict((tensors["image"].astype(np.float32) - mean) / np.float32(64), verbose=0)
    sick = ensemble.networks[1].predict(tensors["gray-image"].astype(np.float32) / np.float32(255), verbose=0)
    expected = weights[0] * one + weights[1] * np.concatenate([1 - sick, sick], axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(one - np.concatenate([1 - sick, sick], axis=1)).max() > 0.01  # else any weights would do


def test_sure_members_are_no_surer_together() -> None:
    """Float32 weights may sum to the number after 1."""
    parts, given = [], (2, 4, 4, 5)
    for _ in given:
        image = onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["N", 2])
        output = onnx.helper.make_tensor_value_info("probabilities", onnx.TensorProto.FLOAT, ["N", 2])
        nodes = [onnx.helper.make_node("Identity", ["image"], ["probabilities"], "same")]
        graph = onnx.helper.make_graph(nodes, "part", [image], [output])
        parts.append(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8))
    names = ("sum", "one", "weight", "sum/weight")  # none of which may become another node's name
    members = [replace(MEMBER, name=name) for name in names]
    weights = [weight / sum(given) for weight in given]
    session = onnxruntime.InferenceSession(fuse(parts, members, weights, 2).SerializeToString())
    sure = np.array([[0, 1]], np.float32)
    (found,) = session.run(["probabilities"], {f"member/{name}/image": sure for name in names})
    np.testing.assert_array_equal(found, sure)


def test_the_graph_has_an_input_per_member(file: Path) -> None:
    graph = onnx.load(file).graph
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim[1:]] for v in graph.input}
    assert shapes == {"image": [SIDE, SIDE, 3], "gray-image": [GRAY_SIDE, GRAY_SIDE, 1]}
    assert {v.type.tensor_type.elem_type for v in graph.input} == {onnx.TensorProto.UINT8}
    assert [v.name for v in graph.output] == ["probabilities"]


def test_the_graph_runs_in_integers(file: Path) -> None:
    operators = check_islands(onnx.load(file))
    assert (operators["QLinearConv"], operators["QuantizeLinear"], operators["DequantizeLinear"]) == (4, 2, 2)


def test_every_members_first_layer_keeps_its_flat_response(ensemble: Ensemble, file: Path) -> None:
    network = onnx.load(file)
    constants, makers = initializers(network.graph), producers(network.graph)
    found = first_convolutions(network.graph)
    assert ["/".join(node.name.split("/")[:2]) for node in found] == ["member/colour", "member/gray"]
    for node, keras_network in zip(found, ensemble.networks, strict=True):
        stored, scale = (numpy_helper.to_array(constants[name]) for name in makers[node.input[1]].input[:2])
        convolution, normalization = keras_network.layers[1], keras_network.layers[2]
        gamma, _, _, variance = (np.asarray(w, np.float64) for w in normalization.get_weights())
        folded = convolution.get_weights()[0].sum(axis=(0, 1, 2)) * gamma / np.sqrt(variance + normalization.epsilon)
        error = np.abs(stored.astype(np.int64).sum(axis=(1, 2, 3)) - folded / scale)
        assert error.max() <= 0.51
        assert np.abs(stored.astype(np.int64)).max() <= 64


def test_the_contract_carries_each_members_preprocessing(ensemble: Ensemble, file: Path) -> None:
    contract = contract_of(file)
    assert contract.members == read_recipe(ensemble.recipe).recipe.contract_members
    assert [(m.name, m.input.name, m.resize.kernel, m.normalization.folded) for m in contract.members] == [
        ("colour", "image", "pillow-bilinear", True),
        ("gray", "gray-image", "pillow-bicubic", True),
    ]
    assert contract.outputs.activation_map is None
    assert contract.quantization.first_layer == "sum-keeping"
    assert contract.parity.reference.startswith("0.25 colour + 0.75 gray, each by keras ")
    assert contract.parity.agreement.images == 60
    assert contract.operating_points[0].sensitivity.estimate > 0.8  # both really learned


def test_golden_cases_hold_a_tensor_per_member_and_replay(ensemble: Ensemble, file: Path) -> None:
    contract = contract_of(file)
    for case in contract.golden.cases:
        assert len(set(case.tensor_sha256)) == 2
        expected = ensemble.expected(Image.open(io.BytesIO(base64.b64decode(case.png))))
        np.testing.assert_allclose(case.reference, expected, atol=0.005)  # this Pillow's order of passes


def test_classified_as_pillow_and_keras_would(ensemble: Ensemble, file: Path, float_file: Path, tmp_path: Path) -> None:
    paths = jpegs(tmp_path)
    expected = [ensemble.expected(Image.open(path)) for path in paths]
    for model, tolerance in ((float_file, 0.005), (file, 0.1)):
        classifier = cxr_edge.load(model, provider="cpu")
        found = [list(classifier.classify(path).probabilities.values()) for path in paths]
        np.testing.assert_allclose(found, expected, atol=tolerance)


def test_processes_of_their_own_prepare_every_members_tensor(file: Path, tmp_path: Path) -> None:
    paths = jpegs(tmp_path)
    plain = [cxr_edge.load(file).classify(path).score for path in paths]
    with cxr_edge.load(file, isolation=cxr_edge.IsolationLimits()) as classifier:
        isolated = [
            result.score for result in classifier.classify_many(paths) if isinstance(result, cxr_edge.Prediction)
        ]
    assert isolated == plain


def test_every_command_takes_it(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = ["--model", str(file)]
    images = [str(path) for path in jpegs(tmp_path)]
    assert cxr_edge_run(["info", *model]) == 0
    text = capsys.readouterr().out
    assert "preprocessing of colour" in text
    assert "uint8 40 x 40 x 1" in text
    assert cxr_edge_run(["classify", *images, *model]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["status"] for row in rows if row["kind"] == "image"] == ["classified"] * len(images)
    assert cxr_edge_run(["selftest", *model]) == 0
    assert cxr_edge_run(["demo", *model]) == 0
    assert cxr_edge_run(["bench", images[0], *model, "--rounds", "3"]) == 0
    capsys.readouterr()
    heat_map = ["--heatmap", str(tmp_path / "maps")]
    assert cxr_edge_run(["classify", images[0], *model, *heat_map]) == 2
    assert "no activation map" in capsys.readouterr().err


def test_a_single_networks_commands_say_that_it_is_none(
    ensemble: Ensemble, file: Path, workbench: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = ["-o", str(tmp_path / "x")]
    assert cli.run(["gate", str(file), *arguments(ensemble, workbench), *output]) == 2
    assert "no image_gate" in capsys.readouterr().err
    assert cli.run(["train", str(ensemble.recipe), "--data", str(workbench.calibration), *output]) == 2
    assert "has no [network]" in capsys.readouterr().err
    with pytest.raises(UsageError, match="is of an ensemble"):
        _ = read_recipe(ensemble.recipe).recipe.member


def test_convert_needs_the_models_in_order(
    ensemble: Ensemble, workbench: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rest = [*arguments(ensemble, workbench), "--float", "-o", str(tmp_path / "x.onnx")]
    first, second = (str(path) for path in ensemble.models)
    assert cli.run(["convert", first, *rest]) == 2
    assert "models given: 1; the recipe needs 2: colour, gray" in capsys.readouterr().err
    assert cli.run(["convert", second, first, *rest]) == 5
    assert "cannot convert colour" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def run_of(folder: Path, model: Path, **changes: Any) -> Path:
    """A folder as a training leaves it, of a network that a test trained itself."""
    folder.mkdir()
    shutil.copyfile(model, folder / "model.keras")
    stages = [{"epochs": 3, "batch": 8, "learning_rate": 0.01}]
    raw = raw_recipe(network={"layers": LAYERS}, training={"stages": stages}, **changes)
    (folder / "recipe.toml").write_text(tomlkit.dumps(raw), encoding="utf-8")
    (folder / "metrics.json").write_bytes(msgspec.json.encode(METRICS))
    given = dict.fromkeys(("weights", "training_sha256", "validation_sha256", "test_sha256", "software"), "")
    begun = Beginning(recipe_sha256=read_recipe(folder / "recipe.toml").sha256, seed=0, **given)
    (folder / "run.json").write_bytes(msgspec.json.encode(begun))
    return folder


@pytest.fixture
def runs(ensemble: Ensemble, tmp_path: Path) -> list[Path]:
    """Of both members, in order."""
    gray = {key: tomllib.loads(ENSEMBLE)["members"][1][key] for key in ("input", "resize", "normalization")}
    return [run_of(tmp_path / "colour", ensemble.models[0]), run_of(tmp_path / "gray", ensemble.models[1], **gray)]


@pytest.fixture
def beside(ensemble: Ensemble, file: Path, tmp_path: Path) -> Path:
    """The file with its recipe beside it."""
    folder = tmp_path / "model"
    folder.mkdir()
    shutil.copyfile(ensemble.recipe, folder / "recipe.toml")
    return Path(shutil.copyfile(file, folder / "model.onnx"))


def test_the_card_tells_how_each_member_was_trained(beside: Path, runs: list[Path], tmp_path: Path) -> None:
    target = tmp_path / "CARD.md"
    given = [part for run in runs for part in ("--run", str(run))]
    assert cli.run(["card", str(beside), "-o", str(target), *given]) == 0
    text = target.read_text(encoding="utf-8")
    assert [line for line in text.splitlines() if line.startswith("## Training")] == [
        "## Training of colour",
        "## Training of gray",
    ]
    assert text.count("| Stage 1 | epochs 3, batch 8, learning_rate 0.01 |") == 2


def test_the_card_believes_no_other_runs(beside: Path, runs: list[Path], tmp_path: Path) -> None:
    def refused(words: str, *given: Path) -> None:
        with pytest.raises(UsageError, match=words):
            write_card(beside, tmp_path / "CARD.md", overwrite=False, runs=given)

    one, other = runs
    refused("runs given: 1; the model needs 2: colour, gray", one)
    refused("runs given: 3; the model needs 2", one, other, other)
    refused("are not, in this order, those that this file was made from: colour, gray", other, one)
    refused("are not, in this order", one, one)
    whole = (other / "recipe.toml").read_text(encoding="utf-8")
    (other / "recipe.toml").write_text(whole.replace("epochs = 3", "epochs = 4"), encoding="utf-8")
    refused("gray is not the one that the run was begun with", one, other)
    (other / "recipe.toml").write_text(whole.replace("bicubic", "lanczos"), encoding="utf-8")
    refused("another resize than the training run in", one, other)
    (other / "metrics.json").unlink()
    refused("gray holds no finished training run", one, other)
    assert not (tmp_path / "CARD.md").exists()


def test_two_models_for_a_recipe_of_one(request_of: Any, workbench: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="models given: 2; the recipe needs 1: tiny"):
        convert(request_of(tmp_path / "x.onnx", recipe=workbench.recipe))


def test_restamp_changes_words_alone(file: Path, tmp_path: Path) -> None:
    recipe, output = tmp_path / "words.toml", tmp_path / "again.onnx"
    recipe.write_text(ENSEMBLE.replace("Phantoms only", "New words"), encoding="utf-8")
    restamp(file, recipe, output, overwrite=False)
    before, after = onnx.load(file), onnx.load(output)
    assert before.graph == after.graph
    assert read_contract(after).intended_use.statement.startswith("New words")
    assert read_contract(after).members == read_contract(before).members
    assert weights_in(after, read_contract(after).members) == WEIGHTS


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("weight = 3", "weight = 2", "weights"),
        ('name = "gray"', 'name = "grey"', "input, resize, contrast or normalization"),
        ('"pillow-bicubic"', '"pillow-lanczos"', "input, resize, contrast or normalization"),
        ("[members.normalization]", f"[members.contrast]\n{CONTRAST}\n[members.normalization]", "contrast"),
        (
            MEMBERS[MEMBERS.index('[[members]]\nname = "gray"') :],
            "",
            "input, resize, contrast or normalization, weights",
        ),
    ],
)
def test_restamp_refuses_what_was_built_in(file: Path, tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in ENSEMBLE
    recipe = tmp_path / "other.toml"
    recipe.write_text(ENSEMBLE.replace(old, new), encoding="utf-8")
    with pytest.raises(UsageError, match=words):
        restamp(file, recipe, tmp_path / "again.onnx", overwrite=False)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("weight = 3", "weight = 0", "weight"),
        ("weight = 3", "weight = -1.0", "weight"),
        ("weight = 3", "weight = nan", "weight"),
        ("weight = 3", "wieght = 3", "wieght"),
        ('name = "gray-image"', "", "share their input name: image, image"),
        ('name = "gray"', 'name = "colour"', "share their name: colour, colour"),
        ("scale = [255.0]", "scale = [255.0]\nfold = true", r"members\[1\].normalization.fold"),
        ("scale = [255.0]", "", "scale"),
        (
            "[golden]",
            '[resize]\nkernel = "pillow-nearest"\npass_order = "pillow-13"\naspect = "pad"\n\n[golden]',
            "resize",
        ),
        ("[golden]", f"[contrast]\n{CONTRAST}\n[golden]", "cannot have contrast"),
        ("[golden]", "[input]\nheight = 1\nwidth = 1\nchannels = 1\n\n[golden]", "cannot have input"),
        (
            "[golden]",
            "[network]\n[training]\nstages = [{ epochs = 1, batch = 1, learning_rate = 1 }]\n[golden]",
            "network",
        ),
        (MEMBERS, "", "without members it needs input, resize and normalization"),
        (MEMBERS, "members = 3\n", "members"),
        (MEMBERS, "normalization = 3\n", "normalization"),
    ],
)
def test_mistakes_in_the_recipe_are_refused(old: str, new: str, words: str) -> None:
    assert old in ENSEMBLE
    with pytest.raises(UsageError, match=words):
        parse_recipe(tomllib.loads(ENSEMBLE.replace(old, new)))


def test_the_gray_ensemble_reads_as_its_members_do() -> None:
    recipes = {
        name: read_recipe(REPOSITORY / "models" / name / "recipe.toml").recipe
        for name in ("gray-cnn-a", "gray-cnn-b", "gray-ensemble")
    }
    fused = recipes["gray-ensemble"]
    assert fused.weights == (0.5, 0.5)
    for member in fused.contract_members:
        single = recipes[member.name]
        own = single.member
        assert (member.input.height, member.input.width, member.input.channels) == (
            own.input.height,
            own.input.width,
            own.input.channels,
        )
        assert (member.input.dtype, member.resize, member.normalization) == (
            own.input.dtype,
            own.resize,
            own.normalization,
        )
        for key in (
            "labels",
            "positive_labels",
            "rendering",
            "default_operating_point",
            "operating_points",
            "intended_use",
            "training_data",
            "quantization",
        ):
            assert getattr(fused, key) == getattr(single, key), key
