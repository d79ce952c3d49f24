"""Rounding of the first layer, and the check for float islands."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("tensorflow", reason="needs the workbench: pip install ./export")

import onnx
from onnx import numpy_helper

from cxr_edge.errors import LimitBroken, ModelError
from cxr_edge_export.convert import build_float_graph
from cxr_edge_export.graph import initializers, producers
from cxr_edge_export.islands import check_islands
from cxr_edge_export.original import load_original
from cxr_edge_export.quantize import quantize
from cxr_edge_export.recipe import read_recipe
from cxr_edge_export.rounding import round_keeping_sums


@given(st.lists(st.lists(st.floats(-60, 60), min_size=9, max_size=9), min_size=1, max_size=4))
def test_rounding_keeps_sums(rows: list[list[float]]) -> None:
    exact = np.array(rows)
    rounded = round_keeping_sums(exact, 64)
    assert np.abs(rounded.sum(axis=1) - exact.sum(axis=1)).max() <= 0.5 + 1e-9
    assert np.abs(rounded - exact).max() < 1.5
    assert np.abs(rounded).max() <= 64


def test_rounding_does_not_leave_the_range() -> None:
    exact = np.array([[64.0, 64.0, 0.4, 0.4, 0.4]])
    assert round_keeping_sums(exact, 64).tolist() == [[64, 64, 1, 0, 0]]


def some_images() -> list[dict[str, Any]]:
    """Noise, as tensors by input name."""
    images = np.random.Generator(np.random.PCG64(3)).integers(0, 256, (16, 48, 48, 3), dtype=np.uint8)
    return [{"image": image} for image in images]


@pytest.fixture(scope="module")
def graphs(workbench: Any) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """The tiny network in float and in INT8."""
    recipe = read_recipe(workbench.recipe).recipe
    images = some_images()
    model = build_float_graph(load_original([workbench.model], recipe), recipe, images)
    return model, quantize(model, recipe.quantization, images)


def test_first_layer_keeps_its_flat_response(graphs: tuple[onnx.ModelProto, onnx.ModelProto]) -> None:
    model, quantized = graphs
    first = next(node for node in quantized.graph.node if node.op_type == "Conv")
    node = producers(quantized.graph)[first.input[1]]
    constants = initializers(quantized.graph)
    weights, scale = (numpy_helper.to_array(constants[name]) for name in node.input[:2])
    exact = numpy_helper.to_array(
        initializers(model.graph)[next(n for n in model.graph.node if n.name == first.name).input[1]]
    )
    error = np.abs(weights.astype(np.int64).sum(axis=(1, 2, 3)) - exact.sum(axis=(1, 2, 3)) / scale)
    assert error.max() <= 0.51
    assert np.abs(weights.astype(np.int64)).max() <= 64


def test_float_graph_is_one_island(graphs: tuple[onnx.ModelProto, onnx.ModelProto]) -> None:
    model, quantized = graphs
    with pytest.raises(LimitBroken, match="float convolutions"):
        check_islands(model)
    assert check_islands(quantized)["QLinearConv"] == 2


def test_layer_left_in_float(graphs: tuple[onnx.ModelProto, onnx.ModelProto], workbench: Any, tmp_path: Path) -> None:
    model, _ = graphs
    second = [node.name for node in model.graph.node if node.op_type == "Conv"][1]
    edited = workbench.recipe_with(
        tmp_path, ("reduce_range = true", f'reduce_range = true\nfloat_layers = ["{second}"]')
    )
    plan = read_recipe(edited).recipe.quantization
    images = some_images()
    mixed = quantize(model, plan, images)
    with pytest.raises(LimitBroken, match="float convolutions"):
        check_islands(mixed)
    check_islands(mixed, float_layers=(second,))


def test_unknown_float_layer(graphs: tuple[onnx.ModelProto, onnx.ModelProto], workbench: Any, tmp_path: Path) -> None:
    edited = workbench.recipe_with(tmp_path, ("reduce_range = true", 'reduce_range = true\nfloat_layers = ["nothing"]'))
    with pytest.raises(ModelError, match="nothing"):
        quantize(graphs[0], read_recipe(edited).recipe.quantization, [])
