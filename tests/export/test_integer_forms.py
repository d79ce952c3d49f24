"""Networks of other make than ResNet50 become integer graphs, and whatever is float without need is named."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("tensorflow", reason="needs the workbench: pip install ./export")

import onnx
import onnxruntime
from onnx import numpy_helper

from cxr_edge.contract import Input, Member, Normalization, Resize
from cxr_edge.errors import LimitBroken
from cxr_edge_export import graph, onnx_float, quantize
from cxr_edge_export.gray_levels import align_with_gray_levels
from cxr_edge_export.integer_forms import to_integer_forms
from cxr_edge_export.islands import check_islands
from cxr_edge_export.recipe import QuantizationPlan

SIDE = 24


def normalized(layers: Any, x: Any) -> Any:
    """Batch normalization that changes something before it is trained."""
    return layers.BatchNormalization(moving_mean_initializer="random_normal", beta_initializer="random_normal")(x)


def convolved(layers: Any, x: Any, *, kernel: Any = 3, stride: int = 1, relu: bool = True) -> Any:
    x = layers.Conv2D(8, kernel, strides=stride, padding="same", use_bias=False)(x)
    x = normalized(layers, x)
    return layers.Activation("relu")(x) if relu else x


def pooled_head(layers: Any, x: Any) -> Any:
    return layers.Dense(2, activation="softmax")(layers.GlobalAveragePooling2D()(x))


def inception(layers: Any, image: Any) -> Any:
    """Branches, pooling of both kinds, a concatenation of concatenations."""
    x = convolved(layers, image, stride=2)
    mean = layers.AveragePooling2D(3, strides=1, padding="same")(x)
    branches = [convolved(layers, x, kernel=1), convolved(layers, x, kernel=5), convolved(layers, mean, kernel=1)]
    x = layers.Concatenate()([*branches, layers.MaxPooling2D(3, strides=1, padding="same")(x)])
    y = convolved(layers, x, stride=2)
    split = layers.Concatenate()([convolved(layers, y, kernel=[1, 3]), convolved(layers, y, kernel=[3, 1])])
    return pooled_head(layers, layers.Concatenate()([y, layers.MaxPooling2D(2)(x), split]))


def nasnet(layers: Any, image: Any) -> Any:
    """A ReLU beside other readers, shared padding, cropping, normalization behind a concatenation."""
    x = convolved(layers, image, stride=2, relu=False)
    rectified = layers.Activation("relu")(x)
    left = normalized(layers, layers.SeparableConv2D(8, 3, padding="same", use_bias=False)(rectified))
    mean = layers.AveragePooling2D(3, strides=1, padding="same")(x)
    x = layers.Concatenate()([layers.Add()([left, x]), layers.Add()([mean, x]), x])
    x = layers.Activation("relu")(x)
    padded = layers.ZeroPadding2D(((0, 1), (0, 1)))(x)
    even = layers.Conv2D(8, 1, use_bias=False)(layers.AveragePooling2D(1, strides=2)(x))
    odd = layers.Cropping2D(((1, 0), (1, 0)))(padded)
    odd = layers.Conv2D(8, 1, use_bias=False)(layers.AveragePooling2D(1, strides=2)(odd))
    x = normalized(layers, layers.Concatenate()([even, odd]))
    x = layers.Add()([x, layers.Conv2D(16, 1)(x)])
    x = layers.Concatenate()([layers.AveragePooling2D(2)(x), layers.MaxPooling2D(2)(layers.Activation("relu")(x))])
    x = layers.Flatten()(layers.AveragePooling2D(3)(x))
    return layers.Dense(2, activation="softmax")(layers.Dense(16, activation="relu")(x))


def relu_first(layers: Any, image: Any) -> Any:
    """Normalization that no convolution precedes."""
    x = image
    for _ in range(3):
        x = normalized(layers, layers.Conv2D(8, 3, padding="same", activation="relu")(x))
        x = layers.MaxPooling2D(2)(x)
    return pooled_head(layers, x)


def flattened(layers: Any, image: Any) -> Any:
    """Most weights in a dense layer."""
    x = layers.MaxPooling2D(2)(layers.Conv2D(16, 3, activation="relu")(image))
    x = layers.Dense(64, activation="relu", bias_initializer="random_normal")(layers.Flatten()(x))
    x = layers.Dropout(0.5)(layers.BatchNormalization()(x))
    return layers.Dense(1, activation="sigmoid")(x)


def branched(layers: Any, image: Any) -> Any:
    """Two convolutions read the image."""
    both = [layers.Conv2D(8, size, padding="same", activation="relu")(image) for size in (1, 3)]
    return pooled_head(layers, layers.Conv2D(8, 3)(layers.Concatenate()(both)))


def gated(layers: Any, image: Any) -> Any:
    """A function without integer kernel in the middle."""
    x = layers.Conv2D(8, 3, activation="tanh")(image)
    return pooled_head(layers, layers.Conv2D(8, 3, activation="relu")(x))


Build = Callable[[Any, Any], Any]


@pytest.fixture(scope="module")
def images() -> NDArray[np.uint8]:
    rows = np.random.Generator(np.random.PCG64(5)).integers(0, 256, (16, SIDE // 4, SIDE // 4, 1), dtype=np.uint8)
    return np.repeat(rows.repeat(4, axis=1).repeat(4, axis=2), 3, axis=3)


@pytest.fixture(scope="module")
def float_graph(keras: Any) -> Callable[[Build], onnx.ModelProto]:
    """Builder -> simplified float graph, each made once."""
    made: dict[Build, onnx.ModelProto] = {}

    def make(build: Build) -> onnx.ModelProto:
        if build not in made:
            made[build] = _float_graph(keras, build)
        copy = onnx.ModelProto()
        copy.CopyFrom(made[build])
        return copy

    return make


def _float_graph(keras: Any, build: Build) -> onnx.ModelProto:
    import tensorflow as tf

    keras.utils.set_random_seed(4)
    image = keras.Input((SIDE, SIDE, 3))
    network = keras.Model(image, build(keras.layers, image))
    signature = [tf.TensorSpec([None, SIDE, SIDE, 3], tf.float32, name="image")]
    convert = onnx_float.tf2onnx_module().convert.from_keras
    model: onnx.ModelProto = convert(network, input_signature=signature, opset=onnx_float.OPSET)[0]
    graph.name_outputs(model, 2)
    graph.add_activation_map(model, 2)
    graph.fold_preprocessing(model, [member()])
    return quantize.simplify(model)


def member() -> Member:
    return Member(
        name="tiny",
        input=Input(name="image", dtype="uint8", height=SIDE, width=SIDE, channels=3),
        resize=Resize(kernel="pillow-bilinear", pass_order="horizontal-first", aspect="squash"),
        normalization=Normalization(channel_order="rgb", mean=(127.5,) * 3, scale=(127.5,) * 3, folded=True),
    )


def run(model: onnx.ModelProto, images: NDArray[np.uint8], output: str = "probabilities") -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run([output], {"image": images})[0])


def to_int8(model: onnx.ModelProto, images: NDArray[np.uint8], *float_layers: str) -> onnx.ModelProto:
    plan = QuantizationPlan(ranges="minmax", images=16, float_layers=float_layers)
    return quantize.quantize(model, plan, [{"image": image} for image in images])


@pytest.mark.parametrize("build", [inception, nasnet, relu_first, flattened])
def test_integers_throughout(
    float_graph: Callable[[Build], onnx.ModelProto], images: NDArray[np.uint8], build: Build
) -> None:
    model = float_graph(build)
    quantized = to_int8(model, images)
    operators = check_islands(quantized)
    assert operators["QuantizeLinear"] == 1
    assert operators["Relu"] <= 1, "of a hidden dense layer"
    np.testing.assert_allclose(run(quantized, images), run(model, images), atol=0.03)


@pytest.mark.parametrize("build", [inception, nasnet, relu_first, flattened])
def test_integer_forms_are_exact(
    float_graph: Callable[[Build], onnx.ModelProto], images: NDArray[np.uint8], build: Build
) -> None:
    model, changed = float_graph(build), float_graph(build)
    to_integer_forms(changed)
    onnx.checker.check_model(changed)
    np.testing.assert_allclose(run(changed, images), run(model, images), atol=1e-5)


def test_what_has_no_integer_kernel_is_named(
    float_graph: Callable[[Build], onnx.ModelProto], images: NDArray[np.uint8]
) -> None:
    with pytest.raises(LimitBroken, match=r"1 float operators with no integer kernel where they stand: Tanh .*Tanh"):
        check_islands(to_int8(float_graph(gated), images))


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_layer_left_in_float_stays_float(
    float_graph: Callable[[Build], onnx.ModelProto], images: NDArray[np.uint8], place: int
) -> None:
    model = float_graph(relu_first)
    name = [node.name for node in model.graph.node if node.op_type == "Conv"][place]
    mixed = to_int8(model, images, name)
    check_islands(mixed, (name,))
    # onnxruntime would quantize its weights by itself
    with pytest.raises(LimitBroken, match=f"1 float convolutions: [A-Za-z]*Conv {name}"):
        check_islands(mixed)
    np.testing.assert_allclose(run(mixed, images), run(model, images), atol=0.03)


def test_large_dense_layers_are_integers(
    float_graph: Callable[[Build], onnx.ModelProto], images: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = float_graph(flattened)
    small = to_int8(model, images)
    monkeypatch.setattr(graph, "LARGE_DENSE", 1 << 10)
    large = to_int8(model, images)
    operators = check_islands(large)
    assert (operators["QGemm"], operators["QLinearSoftmax"], operators["QLinearSigmoid"]) == (1, 0, 0)
    assert large.ByteSize() < small.ByteSize() / 3
    np.testing.assert_allclose(run(large, images), run(model, images), atol=0.03)


def test_what_is_concatenated_is_rounded_once(
    float_graph: Callable[[Build], onnx.ModelProto], images: NDArray[np.uint8]
) -> None:
    quantized = to_int8(float_graph(inception), images).graph
    made_by = graph.producers(quantized)
    scales = {node.input[0]: node.input[1] for node in quantized.node if node.op_type == "QuantizeLinear"}
    shared = []
    for node in [node for node in quantized.node if node.op_type == "Concat"]:
        for pair in [made_by[name] for name in node.input]:
            rounded = made_by[pair.input[0]]
            assert rounded.input[1:] == pair.input[1:], "the two of a pair change together"
            if pair.input[1] == scales[node.output[0]]:
                shared.append(made_by[rounded.input[0]].op_type)
    assert shared == ["Conv"] * 5, "the branches that nothing else reads, and no pooling layer"


def test_a_relu_stays_one_beside_negative_values(keras: Any, images: NDArray[np.uint8]) -> None:
    def build(layers: Any, image: Any) -> Any:
        x = convolved(layers, image)
        both = [convolved(layers, x, kernel=1), convolved(layers, x, kernel=1, relu=False)]
        return pooled_head(layers, convolved(layers, layers.Concatenate()(both)))

    quantized = to_int8(_float_graph(keras, build), images).graph
    made_by, constants = graph.producers(quantized), graph.initializers(quantized)
    concatenated = next(node for node in quantized.node if node.op_type == "Concat")
    zeros = [int(numpy_helper.to_array(constants[made_by[name].input[2]])) for name in concatenated.input]
    assert zeros[0] == 0, "the removed ReLU is the lowest integer"
    assert zeros[1] > 0


def test_gray_levels_are_not_rounded(
    float_graph: Callable[[Build], onnx.ModelProto], images: NDArray[np.uint8]
) -> None:
    model = float_graph(flattened)  # its first convolution has no padding
    aligned = float_graph(flattened)
    overrides = align_with_gray_levels(aligned)
    np.testing.assert_allclose(run(aligned, images), run(model, images), atol=1e-5)
    quantized = to_int8(model, images)
    constants = graph.initializers(quantized.graph)
    (tensor,) = overrides
    pair = [node for node in quantized.graph.node if node.input[0] == tensor or node.output[0].startswith(tensor)]
    scale, zero = (numpy_helper.to_array(constants[name]) for name in pair[-1].input[1:])
    levels = np.arange(256, dtype=np.float32)
    stored = np.rint((levels - 128) / np.float32(127.5) / scale) + zero
    assert (stored == levels).all()


def test_an_image_that_several_layers_read_is_left_alone(
    float_graph: Callable[[Build], onnx.ModelProto], images: NDArray[np.uint8]
) -> None:
    model, aligned = float_graph(branched), float_graph(branched)
    assert align_with_gray_levels(aligned) == {}
    np.testing.assert_allclose(run(aligned, images), run(model, images), atol=1e-6)


def test_means_of_each_channel_are_left_alone(keras: Any) -> None:
    model = _float_graph(keras, flattened)
    constant = next(node.input[1] for node in model.graph.node if node.op_type == "Sub")
    graph.initializers(model.graph)[constant].CopyFrom(
        numpy_helper.from_array(np.array([103.9, 116.8, 123.7], np.float32), constant)
    )
    before = model.SerializeToString()
    assert align_with_gray_levels(model) == {}
    assert model.SerializeToString() == before


def test_activations_held_at_once(
    float_graph: Callable[[Build], onnx.ModelProto], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = float_graph(flattened)
    assert [quantize.held_at_once(model, number) for number in (64, 50, 7, 17)] == [16, 10, 7, 1]
    monkeypatch.setattr(quantize, "HELD", 1)
    assert quantize.held_at_once(model, 64) == 1
