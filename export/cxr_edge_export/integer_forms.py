"""What onnxruntime has no integer kernel for, written as something it has one for. Every step is exact.

onnxruntime fuses DequantizeLinear, operator, QuantizeLinear into one integer kernel for some operators only
(its QDQSelectorActionTransformer); between the others it goes through float, twice over the whole feature map.
"""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from cxr_edge_export.graph import initializers, large_dense_layers, producers, tail_nodes

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TAKES_OVER = ("Conv", "Add", "Concat")  # kernels that clip their output: a ReLU behind costs nothing
_IMAGES = 4  # dimensions of a feature map: N, C, H, W


def to_integer_forms(model: onnx.ModelProto) -> None:
    """Rewrite batch normalization, ReLU and flattening where they would be computed in float. In place.

    Args:
        model: float, simplified, shapes inferred; nodes in topological order.
    """
    graph = model.graph
    shapes = {value.name: _dimensions(value) for value in (*graph.value_info, *graph.output)}
    _flatten_to_known_width(graph, shapes)
    _affine_to_depthwise(graph, shapes)
    _relu_to_table(graph)
    _large_dense_to_gemm(graph)
    remove_unread(graph)


def keep_in_float(model: onnx.ModelProto, layers: Collection[str]) -> list[str]:
    """Keep onnxruntime from quantizing layers that were left out on purpose. In place.

    Where a convolution stands between DequantizeLinear and QuantizeLinear, onnxruntime quantizes its weights itself, in
    8 bits for the whole tensor (its WeightBiasQuantization). A leaky ReLU behind, which it computes together with the
    convolution, prevents that; it leaks nothing in the place of a ReLU, and everything where there was none.

    Args:
        model: float; nodes in topological order.
        layers: names of nodes.

    Returns:
        Names of the leaky ReLUs: they stay float, too.
    """
    graph, guards = model.graph, []
    for node in [node for node in graph.node if node.name in layers]:
        readers = _readers(graph, node.output[0])
        if len(readers) == 1 and readers[0].op_type == "Relu":
            guards.append(_leaky(readers[0], 0.0).name)
            continue
        name = f"{node.name}/float"
        guard = _leaky(helper.make_node("LeakyRelu", [name], list(node.output), name=name), 1.0)
        node.output[0] = name
        graph.node.insert(list(graph.node).index(node) + 1, guard)
        guards.append(name)
    return guards


def _leaky(node: onnx.NodeProto, alpha: float) -> onnx.NodeProto:
    node.op_type = "LeakyRelu"
    node.attribute.append(helper.make_attribute("alpha", alpha))
    return node


def _flatten_to_known_width(graph: onnx.GraphProto, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """[N, ...] -> [N, width]: tf2onnx computes the shape from the feature map, which would be dequantized for that."""
    constants = initializers(graph)
    for node in graph.node:
        shape = shapes.get(node.output[0], ())
        if node.op_type == "Reshape" and node.input[1] not in constants and len(shape) == 2 and shape[1]:  # noqa: PLR2004
            name = f"{node.name}/width"
            graph.initializer.append(numpy_helper.from_array(np.array([-1, shape[1]], np.int64), name))
            node.input[1] = name


def _affine_to_depthwise(graph: onnx.GraphProto, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Batch normalization that no convolution precedes is a factor and a summand for each channel.

    As a depthwise 1x1 convolution it is one integer kernel, with a scale of its own for each channel's factor.
    """
    floats, constants = set(tail_nodes(graph)), initializers(graph)
    for node in [node for node in graph.node if node.op_type in ("Mul", "Add") and node.name not in floats]:
        if node not in graph.node:  # taken with the factor before
            continue
        given, values = _per_channel(node, constants, shapes)
        if values is None:
            continue
        last, factor, summand = node, np.ones_like(values), values
        if node.op_type == "Mul":
            factor, summand = values, np.zeros_like(values)
            readers = _readers(graph, node.output[0])
            following = _per_channel(readers[0], constants, shapes)[1] if _is_sole_sum(readers) else None
            if following is not None:
                last, summand = readers[0], following
        _replace_by_depthwise(graph, (node, last), given, factor, summand)


def _is_sole_sum(readers: list[onnx.NodeProto]) -> bool:
    return len(readers) == 1 and readers[0].op_type == "Add"


def _per_channel(
    node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto], shapes: Mapping[str, tuple[int, ...]]
) -> "tuple[str, NDArray[np.float32] | None]":
    """(the input that is a feature map, the constant for each channel); None where it is no such operator."""
    for given, other in (tuple(node.input), tuple(reversed(node.input))):
        shape = shapes.get(given, ())
        if other not in constants or given in constants or len(shape) != _IMAGES or not shape[1]:
            continue
        values = numpy_helper.to_array(constants[other])
        if values.dtype == np.float32 and values.size in (1, shape[1]) and _along_channels(values, shape[1]):
            return given, np.broadcast_to(values.reshape(-1), (shape[1],))
    return "", None


def _along_channels(values: "NDArray[Any]", channels: int) -> bool:
    full = (1,) * (_IMAGES - values.ndim) + values.shape
    return full in ((1, 1, 1, 1), (1, channels, 1, 1))


def _replace_by_depthwise(
    graph: onnx.GraphProto,
    nodes: tuple[onnx.NodeProto, onnx.NodeProto],
    given: str,
    factor: "NDArray[np.float32]",
    summand: "NDArray[np.float32]",
) -> None:
    first, last = nodes
    weights, bias = f"{last.name}/weights", f"{last.name}/bias"
    graph.initializer.append(numpy_helper.from_array(factor.reshape(-1, 1, 1, 1).copy(), weights))
    graph.initializer.append(numpy_helper.from_array(summand.copy(), bias))
    depthwise = helper.make_node(
        "Conv", [given, weights, bias], list(last.output), name=last.name, group=factor.size, kernel_shape=[1, 1]
    )
    graph.node.insert(list(graph.node).index(first), depthwise)
    for node in (first, last) if first is not last else (first,):
        graph.node.remove(node)


def _relu_to_table(graph: onnx.GraphProto) -> None:
    """A ReLU that no kernel before it can take over, as a leaky one that leaks nothing: that has a table of 256."""
    made_by, floats = producers(graph), set(tail_nodes(graph))
    for node in graph.node:
        maker = made_by.get(node.input[0]) if node.op_type == "Relu" and node.name not in floats else None
        if maker is None:
            continue
        if maker.op_type not in _TAKES_OVER or len(_readers(graph, node.input[0])) > 1:
            _leaky(node, 0.0)


def _large_dense_to_gemm(graph: onnx.GraphProto) -> None:
    """Hidden dense layers as onnxruntime takes them for integers: Gemm, with no ReLU straight behind."""
    large = large_dense_layers(graph)
    for node in [node for node in graph.node if node.name in large]:
        node.op_type = "Gemm"  # without a summand it is a MatMul still
        for reader in _readers(graph, node.output[0]):
            if reader.op_type == "Relu":
                _leaky(reader, 0.0)


def _readers(graph: onnx.GraphProto, name: str) -> list[onnx.NodeProto]:
    """Who reads a tensor; an output of the graph is read by the caller."""
    callers = [helper.make_node("Identity", [name], [""]) for output in graph.output if output.name == name]
    return [node for node in graph.node if name in node.input] + callers


def remove_unread(graph: onnx.GraphProto) -> None:
    """Take out the nodes and constants that nothing is computed from. In place."""
    outputs = {output.name for output in graph.output}
    while True:
        read = {name for node in graph.node for name in node.input} | outputs
        unread = [node for node in graph.node if not read.intersection(node.output)]
        if not unread:
            break
        for node in unread:
            graph.node.remove(node)
    for constant in [constant for constant in graph.initializer if constant.name not in read]:
        graph.initializer.remove(constant)


def _dimensions(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    """0 where a dimension is not fixed."""
    return tuple(dimension.dim_value for dimension in value.type.tensor_type.shape.dim)
