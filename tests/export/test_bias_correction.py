"""Bias correction brings each channel's mean back to the float graph's."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

pytest.importorskip("tensorflow", reason="needs the workbench: pip install ./export")

from onnx import numpy_helper

from cxr_edge.classifier import load
from cxr_edge.errors import ModelError
from cxr_edge_export.bias_correction import _channel_means, _layers, correct_biases, give_biases
from cxr_edge_export.convert import build_float_graph, convert
from cxr_edge_export.graph import initializers
from cxr_edge_export.original import load_original
from cxr_edge_export.quantize import quantize
from cxr_edge_export.recipe import read_recipe


def some_images() -> list[dict[str, Any]]:
    """Noise, as tensors by input name."""
    images = np.random.Generator(np.random.PCG64(3)).integers(0, 256, (16, 48, 48, 3), dtype=np.uint8)
    return [{"image": image} for image in images]


@pytest.fixture(scope="module")
def graphs(workbench: Any) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """The tiny network in float and in INT8."""
    recipe, images = read_recipe(workbench.recipe).recipe, some_images()
    model = build_float_graph(load_original([workbench.model], recipe), recipe, images)
    return model, quantize(model, recipe.quantization, images)


def shifted(quantized: onnx.ModelProto, layer: Any, levels: int) -> None:
    """Another bias, by so many integer levels: an error that is known."""
    stored = initializers(quantized.graph)[layer.bias]
    stored.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(stored) + np.int32(levels), stored.name))


def test_means_come_back(graphs: tuple[onnx.ModelProto, onnx.ModelProto]) -> None:
    model, given = graphs
    quantized = onnx.ModelProto()
    quantized.CopyFrom(given)
    images = some_images()
    layers = _layers(model, quantized)
    assert [layer.depth for layer in layers] == list(range(1, len(layers) + 1))
    for layer in layers:
        shifted(quantized, layer, 300)
    exact = _channel_means(model, [layer.exact for layer in layers], images)

    def errors() -> list[float]:
        found = _channel_means(quantized, [layer.output for layer in layers], images)
        return [float(np.abs(found[layer.output] - exact[layer.exact]).max()) for layer in layers]

    before = errors()
    seen: list[tuple[int, int]] = []
    correct_biases(model, quantized, images, lambda done, total: seen.append((done, total)))
    constants = initializers(quantized.graph)
    steps = [float(numpy_helper.to_array(constants[layer.scale]).max()) for layer in layers]
    for was, is_now, step in zip(before, errors(), steps, strict=True):
        assert is_now < min(was / 20, 2 * step)
    assert seen[-1] == (len(layers), len(layers))
    onnx.checker.check_model(quantized)


def test_a_graph_without_biases_is_refused(graphs: tuple[onnx.ModelProto, onnx.ModelProto]) -> None:
    model, _ = graphs
    with pytest.raises(ModelError, match="no quantized convolution has a bias"):
        correct_biases(model, model, some_images())


def test_convolutions_without_a_bias_get_one(graphs: tuple[onnx.ModelProto, onnx.ModelProto], workbench: Any) -> None:
    """As of layers that begin with biases of 0 and are frozen: what is 0 does not come through the conversion."""
    plan, images = read_recipe(workbench.recipe).recipe.quantization, some_images()
    bare = onnx.ModelProto()
    bare.CopyFrom(graphs[0])
    for node in bare.graph.node:
        if node.op_type == "Conv":
            del node.input[2:]
    with pytest.raises(ModelError, match="no quantized convolution has a bias"):
        correct_biases(bare, quantize(bare, plan, images), images)
    give_biases(bare)
    onnx.checker.check_model(bare)
    quantized = quantize(bare, plan, images)
    layers = _layers(bare, quantized)
    assert len(layers) == len(_layers(*graphs)) > 1
    exact = _channel_means(bare, [layer.exact for layer in layers], images)
    correct_biases(bare, quantized, images)
    found = _channel_means(quantized, [layer.output for layer in layers], images)
    scales = initializers(quantized.graph)
    for layer in layers:
        step = float(numpy_helper.to_array(scales[layer.scale]).max())
        assert np.abs(found[layer.output] - exact[layer.exact]).max() < 2 * step


def test_the_contract_says_so(workbench: Any, tmp_path: Path) -> None:
    recipe = workbench.recipe_with(tmp_path, ("[quantization]", "[quantization]\nbias_correction = true"))
    contract = convert(workbench.request(tmp_path / "tiny.onnx", recipe=recipe))
    assert contract.quantization.bias_correction
    assert load(tmp_path / "tiny.onnx").contract.quantization.bias_correction
