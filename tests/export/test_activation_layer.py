"""`{ kind = "activation" }` puts normalization between a convolution and its ReLU, where INT8 has it for nothing."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tensorflow", reason="needs the workbench: pip install ./export")

from cxr_edge_export.onnx_float import OPSET, tf2onnx_module
from cxr_edge_export.quantize import simplify
from cxr_edge_export.recipe import read_recipe
from cxr_edge_export.training.network import build

RECIPE = Path(__file__).resolve().parents[2] / "models" / "gray-cnn-a" / "recipe.toml"


def test_normalization_folds_into_the_convolutions(keras: Any) -> None:
    import tensorflow as tf

    network = build(read_recipe(RECIPE).recipe, RECIPE.parent).model
    kinds = [type(layer).__name__ for layer in network.layers]
    place = kinds.index("Conv2D")
    assert kinds[place : place + 3] == ["Conv2D", "BatchNormalization", "Activation"]
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.beta.assign(layer.beta + 0.5)
    signature = [tf.TensorSpec([None, 256, 256, 1], tf.float32, name="image")]
    model = tf2onnx_module().convert.from_keras(network, input_signature=signature, opset=OPSET)[0]
    operators = [node.op_type for node in simplify(model).graph.node]
    assert operators.count("Conv") == operators.count("Relu") == kinds.count("BatchNormalization")
    assert not {"Mul", "Add", "BatchNormalization"}.intersection(operators)
