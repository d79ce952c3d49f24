"""Moving strides up changes what is computed, never a value that is used."""

from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

ort = pytest.importorskip("onnxruntime")
from cxr_edge_export.strides import move_strides_up  # noqa: E402

CHANNELS = 4


class _Network:
    """A network written down node by node."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._generator = np.random.Generator(np.random.PCG64(5))

    def conv(self, given: str, name: str, kernel: int = 1, stride: int = 1, **attributes: Any) -> str:
        shape = (CHANNELS, CHANNELS, kernel, kernel)
        weights = self._generator.standard_normal(shape).astype(np.float32)
        self.constants.append(numpy_helper.from_array(weights, f"{name}/w"))
        settings: dict[str, Any] = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2}
        if "auto_pad" not in attributes:
            settings["pads"] = [kernel // 2] * 4
        self.nodes.append(helper.make_node("Conv", [given, f"{name}/w"], [name], name=name, **settings, **attributes))
        return name

    def op(self, operator: str, given: list[str], name: str) -> str:
        self.nodes.append(helper.make_node(operator, given, [name], name=name))
        return name

    def model(self, *outputs: str) -> onnx.ModelProto:
        def value(name: str) -> onnx.ValueInfoProto:
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", CHANNELS, None, None])

        given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", CHANNELS, 13, 14])
        graph = helper.make_graph(self.nodes, "g", [given], [value(name) for name in outputs], self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        onnx.checker.check_model(model)
        return model


def run(model: onnx.ModelProto) -> list[NDArray[Any]]:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    images = np.random.Generator(np.random.PCG64(7)).standard_normal((2, CHANNELS, 13, 14)).astype(np.float32)
    return [np.asarray(output) for output in session.run(None, {"x": images})]


def moved(model: onnx.ModelProto) -> int:
    """How many moved; the outputs are those of before."""
    before = run(model)
    count = move_strides_up(model)
    onnx.checker.check_model(model, full_check=True)
    for ours, theirs in zip(run(model), before, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    return count


def strides(model: onnx.ModelProto) -> dict[str, list[int]]:
    return {n.name: list(a.ints) for n in model.graph.node for a in n.attribute if a.name == "strides"}


def residual_stage(network: _Network) -> tuple[str, str]:
    """The end of one ResNet stage and the strided beginning of the next."""
    root = network.op("Relu", [network.conv("x", "root", 3)], "root_relu")
    network.op("Relu", [network.conv(root, "one")], "one_relu")
    network.op("Relu", [network.conv("one_relu", "two", 3)], "two_relu")
    total = network.op("Add", [network.conv("two_relu", "three"), root], "sum")
    network.op("Relu", [total], "sum_relu")
    return network.conv("sum_relu", "next_a", stride=2), network.conv("sum_relu", "next_b", stride=2)


def test_a_resnet_stage_is_computed_where_the_next_looks() -> None:
    network = _Network()
    model = network.model(*residual_stage(network))
    assert moved(model) == 2
    now = strides(model)
    assert (now["next_a"], now["next_b"], now["three"], now["two"]) == ([1, 1], [1, 1], [1, 1], [2, 2])
    assert (now["one"], now["root"]) == ([1, 1], [1, 1])
    assert now["root_relu/strided"] == [2, 2], "the branch that others read is subsampled"


def test_a_chain_of_plain_convolutions() -> None:
    network = _Network()
    network.op("Relu", [network.conv("x", "first", 3, stride=2)], "relu")
    network.conv("relu", "second")
    model = network.model(network.conv("second", "third", stride=2))
    assert moved(model) == 2
    assert strides(model) == {"first": [4, 4], "second": [1, 1], "third": [1, 1]}


@pytest.mark.parametrize("why", ["also an output", "another reader", "other stride", "same padding", "3x3 reader"])
def test_nothing_moves_where_other_pixels_are_needed(why: str) -> None:
    network = _Network()
    padding: dict[str, Any] = {"auto_pad": "SAME_UPPER"} if why == "same padding" else {}
    network.conv("x", "first", 3, **padding)
    outputs = [network.conv("first", "reader", 3 if why == "3x3 reader" else 1, stride=2)]
    if why == "also an output":
        outputs.append("first")
    elif why == "another reader":
        outputs.append(network.op("Relu", [network.op("Neg", ["first"], "negative")], "other"))
    elif why == "other stride":
        outputs.append(network.conv("first", "wider", stride=3))
    model = network.model(*outputs)
    before = model.SerializeToString()
    assert moved(model) == 0
    assert model.SerializeToString() == before


def test_a_sum_that_broadcasts_stays() -> None:
    network = _Network()
    network.constants.append(numpy_helper.from_array(np.ones((1, CHANNELS, 1, 1), np.float32), "bias"))
    network.op("Add", [network.conv("x", "first", 3), "bias"], "sum")
    assert moved(network.model(network.conv("sum", "reader", stride=2))) == 0
