"""Fitting the image part of the gate on a tiny network, and measuring what it refuses."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from conftest import REPOSITORY
from PIL import Image

pytest.importorskip("tensorflow", reason="needs the workbench: pip install ./export")

import onnx

import cxr_edge
from cxr_edge.contract import Contract
from cxr_edge.engine import Engine
from cxr_edge.errors import ModelError, Reason, UsageError
from cxr_edge.image_gate import layout_of, read_template
from cxr_edge_export import dataset, features, gate_families, image_gate
from cxr_edge_export.convert import convert, gather_sets
from cxr_edge_export.image_gate import _upright_direction, fit_image_gate
from cxr_edge_export.recipe import ImageGatePlan, LayoutPlan, OutOfDistributionPlan, read_recipe
from cxr_edge_export.refit import GateRequest, refit
from cxr_edge_export.restamp import restamp
from cxr_edge_export.stamp import read_contract
from cxr_edge_export.strangers import synthetic_families

SECTION = """
[image_gate.out_of_distribution]
layer = "stage16"
components = 3
images = 72
false_alarm_rate = 0.05

[image_gate.layout]
minimum_correlation = 0.0
upside_down_false_alarm_rate = 0.02

[golden]"""


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """White and black pages that are to be refused."""
    folder = tmp_path_factory.mktemp("families")
    pages = folder / "refuse" / "checks"
    pages.mkdir(parents=True)
    for size in (4, 8, 16):
        y, x = np.mgrid[:64, :64]
        Image.fromarray(((x // size + y // size) % 2 * 255).astype(np.uint8)).save(pages / f"{size}.png")
    return folder


@pytest.fixture(scope="module")
def recipe(workbench: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny recipe with an image gate."""
    return Path(workbench.recipe_with(tmp_path_factory.mktemp("recipe"), ("[golden]", SECTION)))


@pytest.fixture(scope="module")
def gated(workbench: Any, recipe: Path, families: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The INT8 file with its image gate. Read only."""
    output = tmp_path_factory.mktemp("gated") / "tiny.onnx"
    convert(workbench.request(output, recipe=recipe, families=families))
    return output


RATE = 0.05
PLAN = ImageGatePlan(
    out_of_distribution=OutOfDistributionPlan(layer="layer", components=3, images=1500, false_alarm_rate=RATE),
    layout=LayoutPlan(minimum_correlation=0.0, upside_down_false_alarm_rate=RATE),
)


@pytest.fixture(scope="module")
def training() -> image_gate.Training:
    """1500 images of which 500 give the limits; up and down are told so badly that some look upside down."""
    random = np.random.default_rng(4)
    shade = np.repeat(np.linspace(1, -1, 16), 16)
    layouts = np.stack(
        [layout_of((row + 0.05 * shade).reshape(16, 16)).ravel() for row in random.normal(size=(1500, 256))]
    )
    return image_gate.Training(random.normal(size=(1500, 6)), layouts, np.arange(1500) % 3 == 0)


def labelled(patients: Sequence[str]) -> list[dataset.LabelledImage]:
    return [dataset.LabelledImage(Path(f"{n}.png"), 0, patient, f"{n}") for n, patient in enumerate(patients)]


def test_no_patient_gives_both_the_fit_and_the_threshold() -> None:
    patients = [f"p{n // 4}" for n in range(120)]
    chosen = image_gate._for_threshold(labelled(patients), 0)  # noqa: SLF001
    by_patient = chosen.reshape(30, 4)
    assert (by_patient.all(axis=1) | ~by_patient.any(axis=1)).all()
    assert by_patient[:, 0].sum() == 10


def test_the_threshold_has_the_false_alarm_rate_that_the_recipe_asks_for(
    training: image_gate.Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = REPOSITORY / "models" / "resnet50-binary" / "recipe.toml"
    recipe = msgspec.structs.replace(read_recipe(released).recipe, image_gate=PLAN)
    monkeypatch.setattr(image_gate, "_run", lambda *_: training)
    for name in ("add_pooled_layer", "add_projection"):
        monkeypatch.setattr(features, name, lambda *_: None)
    images = labelled([str(n) for n in range(1500)])
    limit = fit_image_gate(onnx.ModelProto(), recipe, images, KERAS_3, lambda *_: None).out_of_distribution
    assert limit is not None
    held_out = training.features[training.for_threshold]
    distances = np.linalg.norm(features.fit(training.features[~training.for_threshold], 3).project(held_out), axis=1)
    assert (limit.fit_images, limit.threshold_images, limit.false_alarm_rate) == (1000, 500, RATE)
    assert (distances > limit.threshold).sum() == 24  # of 499 gaps, 5 %


def test_as_many_look_upside_down_as_the_recipe_allows(training: image_gate.Training) -> None:
    layout = image_gate._layout(training, PLAN)  # noqa: SLF001
    held_out = training.layouts[training.for_threshold]
    along = held_out @ read_template(layout.upright).ravel()
    assert layout.minimum_upright < 0
    assert (along < layout.minimum_upright - 1e-7).sum() == 24
    assert (layout.false_alarm_rate, layout.images) == (RATE, 1500)


def test_features_are_taken_as_the_next_layer_sees_them() -> None:
    """After the quantization of the layer's output, not before."""
    helper, kinds = onnx.helper, onnx.TensorProto
    real, quantized = "net_1/stage16_1/Relu:0", "net_1/stage16_1/Relu:0_QuantizeLinear_Output"
    restored = "net_1/stage16_1/Relu:0_DequantizeLinear_Output"
    nodes = [
        helper.make_node("Relu", ["image"], [real]),
        helper.make_node("QuantizeLinear", [real, "scale", "zero"], [quantized]),
        helper.make_node("DequantizeLinear", [quantized, "scale", "zero"], [restored]),
        helper.make_node("Identity", [restored], ["out"]),
    ]
    constants = [
        onnx.numpy_helper.from_array(np.array(0.5, np.float32), "scale"),
        onnx.numpy_helper.from_array(np.array(0, np.uint8), "zero"),
    ]
    image, out = (helper.make_tensor_value_info(name, kinds.FLOAT, ["N", 2, 4, 4]) for name in ("image", "out"))
    graph = helper.make_graph(nodes, "net", [image], [out], constants)
    network = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    features.add_pooled_layer(network, "stage16", KERAS_3)
    ones = np.full((1, 2, 4, 4), 1.2, np.float32)
    (pooled,) = Engine(network.SerializeToString(), provider="cpu").run({"image": ones}, ("features",))
    np.testing.assert_array_equal(pooled, [[1.0, 1.0]])  # 1.2 in steps of 0.5


KERAS_3, KERAS_2, SAVED = "keras 3.15.1 float32", "tf_keras 2.21.0 float32", "SavedModel float32"
CALLS = "StatefulPartitionedCall/StatefulPartitionedCall"


def chain_of(*tensors: str) -> onnx.ModelProto:
    """A network of Relu after Relu, from the tensor `image` to the last one of these."""
    helper, steps = onnx.helper, ("image", *tensors)
    nodes = [helper.make_node("Relu", [before], [after]) for before, after in itertools.pairwise(steps)]
    image, out = (helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, ["N", 2, 4, 4]) for n in ("image", "out"))
    graph = helper.make_graph([*nodes, helper.make_node("Identity", [steps[-1]], ["out"])], "net", [image], [out])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize(
    ("framework", "tensors", "layer", "taken"),
    [
        (KERAS_3, ("net_1/act_1/Relu:0", "net_1/act_1_1/Relu:0"), "act", "net_1/act_1/Relu:0"),
        (KERAS_3, ("net_1/act_1/Relu:0", "net_1/act_1_1/Relu:0"), "act_1", "net_1/act_1_1/Relu:0"),
        (KERAS_3, ("n_1/bn_1/batchnorm/mul_1:0", "n_1/bn_1/batchnorm/add_1:0"), "bn", "n_1/bn_1/batchnorm/add_1:0"),
        (KERAS_3, ("net_1/inner_1/act_1/Relu:0", "net_1/last_1/Relu:0"), "inner", "net_1/inner_1/act_1/Relu:0"),
        (KERAS_3, ("net_1/conv_1/BiasAdd__6:0", "net_1/conv_1/Relu:0"), "conv", "net_1/conv_1/Relu:0"),
        (KERAS_2, ("net/act/Relu:0", "net/act_1/Relu:0"), "act", "net/act/Relu:0"),
        (KERAS_2, ("net/act/Relu:0", "net/act_1/Relu:0"), "act_1", "net/act_1/Relu:0"),
        (
            KERAS_2,
            ("net_1/act_2/Relu:0", "net_1/act_3/Relu:0"),
            "act_2",
            "net_1/act_2/Relu:0",
        ),
        (SAVED, (f"{CALLS}/net_1/act_1/Relu:0", f"{CALLS}/net_1/act_1_1/Relu:0"), "act", f"{CALLS}/net_1/act_1/Relu:0"),
        (SAVED, (f"{CALLS}/net_1/act_2/Relu:0", f"{CALLS}/net_1/act_3/Relu:0"), "act_2", f"{CALLS}/net_1/act_2/Relu:0"),
        (SAVED, ("net/act/Relu:0", "net/act_1/Relu:0"), "act_1", "net/act_1/Relu:0"),
    ],
)
def test_the_layer_is_the_one_that_keras_calls_so(
    framework: str, tensors: tuple[str, ...], layer: str, taken: str
) -> None:
    network = chain_of(*tensors)
    features.add_pooled_layer(network, layer, framework)
    assert next(node for node in network.graph.node if node.op_type == "GlobalAveragePool").input[0] == taken


def test_what_brings_the_input_of_a_layer_into_order_is_not_that_layer() -> None:
    """A convolution that was merged with its batch normalization leaves nothing but that under its own name."""
    network = chain_of("net_1/conv_1/BiasAdd__6:0", "net_1/bn_1/batchnorm/add_1:0", "net_1/act_1/Relu:0")
    with pytest.raises(ModelError, match=r"no feature map of a layer 'conv' .*; it has: bn, act$"):
        features.add_pooled_layer(network, "conv", KERAS_3)


def test_a_number_that_is_the_layers_own_is_no_count_of_uses() -> None:
    """Keras 3 numbers every name; a layer that was merged is not the other one of which its name looks like a use."""
    network = chain_of("net_1/act_1/Relu:0", "net_1/last_1/Relu:0")
    with pytest.raises(ModelError, match=r"it has: act, last$"):
        features.add_pooled_layer(network, "act_1", KERAS_3)


def contract_of(path: Path) -> Contract:
    return read_contract(onnx.load(path))


def test_the_contract_says_what_was_fitted_and_what_is_refused(gated: Path) -> None:
    contract = contract_of(gated)
    limit, layout = contract.gate.out_of_distribution, contract.gate.layout
    assert limit is not None
    assert layout is not None
    assert contract.outputs.features == "features"
    assert (limit.layer, limit.components, limit.fit_images + limit.threshold_images) == ("stage16", 3, 72)
    assert limit.threshold_images == 24
    assert layout.images == 72
    found = {family.name: family for family in limit.families}
    assert found["validation images"].images == 40
    assert found["validation images"].role == "in_distribution"
    assert (found["checks"].role, found["checks"].images) == ("tested_on", 3)
    assert found["synthetic: training radiographs, inverted"].role == "chosen_on"
    assert found["synthetic: training radiographs, inverted"].refused.estimate > 0.8


def test_the_gate_does_not_touch_the_probabilities(gated: Path, converted: Path, workbench: Any) -> None:
    with_gate, without = (cxr_edge.load(path, gate="off") for path in (gated, converted))
    for path in sorted(workbench.validation.rglob("*.png"))[:5]:
        assert with_gate.classify(path).probabilities == without.classify(path).probabilities


def test_runtime_refuses_by_the_fitted_gate(gated: Path, families: Path, workbench: Any) -> None:
    classifier = cxr_edge.load(gated)
    (rejection,) = classifier.classify_many([families / "refuse" / "checks" / "4.png"])
    assert isinstance(rejection, cxr_edge.Rejection)
    assert rejection.reason == Reason.GATE_OUT_OF_DISTRIBUTION
    results = list(classifier.classify_many(sorted(workbench.validation.rglob("*.png"))))
    refused = sum(isinstance(result, cxr_edge.Rejection) for result in results)
    limit = contract_of(gated).gate.out_of_distribution
    assert limit is not None
    in_contract = next(family for family in limit.families if family.name == "validation images")
    assert refused == round(in_contract.refused.estimate * in_contract.images)
    assert refused < len(results) / 4


def test_whitened_features_have_unit_variance() -> None:
    random = np.random.default_rng(5)
    values = random.normal(size=(300, 6)) * [1, 10, 0.1, 5, 2, 3] + [7, 0, 1, -3, 0, 0]
    projected = features.fit(values, 4).project(values)
    np.testing.assert_allclose(np.cov(projected.T, bias=True), np.eye(4), atol=1e-8)
    np.testing.assert_allclose(projected.mean(0), 0, atol=1e-10)


@pytest.mark.parametrize(("images", "components"), [(3, 4), (20, 7)])
def test_more_components_than_the_images_span(images: int, components: int) -> None:
    with pytest.raises(UsageError, match="components"):
        features.fit(np.random.default_rng(5).normal(size=(images, 6)), components)


def test_a_channel_that_never_changes_is_no_division_by_zero() -> None:
    values = np.random.default_rng(5).normal(size=(50, 4))
    values[:, 2] = 0
    assert np.isfinite(features.fit(values, 3).project(values)).all()
    with pytest.raises(UsageError, match="span"):
        features.fit(np.ones((50, 4)), 3)


def test_an_unknown_layer_is_an_error(converted: Path) -> None:
    with pytest.raises(ModelError, match="stage99"):
        features.add_pooled_layer(onnx.load(converted), "stage99", KERAS_3)


def test_too_few_training_images(converted: Path, recipe: Path) -> None:
    with pytest.raises(UsageError, match="72 training images; there are 0"):
        fit_image_gate(onnx.load(converted), read_recipe(recipe).recipe, (), KERAS_3, lambda *_: None)


@pytest.mark.parametrize("names", [(), ("other",)])
def test_a_families_folder_of_another_shape(
    workbench: Any, recipe: Path, tmp_path: Path, names: tuple[str, ...]
) -> None:
    for name in names:
        (tmp_path / "families" / name).mkdir(parents=True)
    request = workbench.request(tmp_path / "x.onnx", recipe=recipe, families=tmp_path / "families")
    with pytest.raises(UsageError, match="pass and refuse"):
        convert(request)


def test_restamp_refuses_another_gate(workbench: Any, gated: Path, recipe: Path, tmp_path: Path) -> None:
    target = tmp_path / "new.onnx"
    assert restamp(gated, recipe, target, overwrite=False).gate == contract_of(gated).gate
    text = recipe.read_text(encoding="utf-8")
    other = tmp_path / "other.toml"
    for edited in (text.replace("components = 3", "components = 2"), workbench.recipe.read_text(encoding="utf-8")):
        other.write_text(edited, encoding="utf-8")
        with pytest.raises(UsageError, match="image_gate"):
            restamp(gated, other, tmp_path / "none.onnx", overwrite=False)


def test_synthetic_families_are_the_same_every_time() -> None:
    radiographs = [np.arange(64 * 64, dtype=np.uint32).reshape(64, 64).astype(np.uint8)]
    first, second = ({name: list(images) for name, images in synthetic_families(radiographs)} for _ in range(2))
    assert first.keys() == second.keys()
    for name, images in first.items():
        assert images
        for one, other in zip(images, second[name], strict=True):
            assert one.dtype == np.uint8
            np.testing.assert_array_equal(one, other)


def test_each_transformed_family_is_what_it_is_called() -> None:
    """Listed first and drawn later, as the export does it."""
    radiograph = np.random.default_rng(3).integers(0, 256, (64, 64)).astype(np.uint8)
    listed = list(synthetic_families([radiograph]))
    found = {name.rpartition(", ")[2]: next(iter(images)) for name, images in listed if "radiographs" in name}
    np.testing.assert_array_equal(found["inverted"], 255 - radiograph)
    np.testing.assert_array_equal(found["upside down"], radiograph[::-1, ::-1])
    np.testing.assert_array_equal(found["a corner of them"], radiograph[:25, :25])
    sideways = [np.rot90(radiograph), np.rot90(radiograph, 3)]
    assert any(np.array_equal(found["turned sideways"], turned) for turned in sideways)
    shuffled = found["shuffled in 16 blocks"]
    assert not np.array_equal(shuffled, radiograph)
    np.testing.assert_array_equal(np.sort(shuffled, axis=None), np.sort(radiograph, axis=None))


def test_radiographs_of_every_class_are_transformed(workbench: Any, recipe: Path) -> None:
    parsed = read_recipe(recipe).recipe
    sets = gather_sets(workbench.request(Path("unused"), recipe=recipe), parsed)
    chosen = gate_families._of_every_class(sets.calibration)  # noqa: SLF001 - what the families are made from
    assert {image.label for image in chosen[:4]} == {0, 1}


def test_the_upright_axis_tells_upright_from_flipped() -> None:
    random = np.random.default_rng(8)
    shade = np.linspace(1, -1, 16)[:, None] * np.ones((16, 16))
    images = [layout_of((shade + random.normal(0, 0.8, (16, 16))).astype(np.float32)) for _ in range(300)]
    layouts = np.stack([layout.ravel() for layout in images])
    axis = _upright_direction(layouts[:200])
    assert np.linalg.norm(axis) == pytest.approx(1)
    np.testing.assert_allclose(axis.reshape(16, 16), -axis.reshape(16, 16)[::-1], atol=1e-9)
    assert (layouts[200:] @ axis > 0).all()


def test_the_gate_of_a_file_is_fitted_anew(
    workbench: Any, converted: Path, gated: Path, recipe: Path, tmp_path: Path
) -> None:
    """On a file without a gate and on one that has one: the same gate as `convert` fits, the same probabilities."""
    for number, source in enumerate((converted, gated)):
        target = tmp_path / f"{number}.onnx"
        request = GateRequest(
            model=source,
            recipe=recipe,
            calibration=workbench.calibration,
            validation=workbench.validation,
            families=None,
            output=target,
            overwrite=False,
        )
        refit(request)
        new, old = contract_of(target), contract_of(gated)
        assert new.gate.layout == old.gate.layout
        assert new.gate.out_of_distribution is not None
        assert old.gate.out_of_distribution is not None
        assert new.gate.out_of_distribution.threshold == old.gate.out_of_distribution.threshold
        assert new.parity.validation.abs_delta_max == contract_of(source).parity.validation.abs_delta_max
        first = min(workbench.validation.rglob("*.png"))
        scores = [cxr_edge.load(path, gate="off").classify(first).score for path in (source, target)]
        assert scores[0] == scores[1]


def test_a_contract_with_features_needs_limits_on_them(gated: Path) -> None:
    contract = contract_of(gated)
    from cxr_edge.contract.check import check

    with pytest.raises(cxr_edge.ContractError, match="go together"):
        check(replace(contract, outputs=replace(contract.outputs, features=None)))
