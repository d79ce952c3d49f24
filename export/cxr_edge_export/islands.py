"""Looking at the graph that onnxruntime really runs: whatever it computes in float has to be float on purpose."""

import tempfile
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

import onnx
from onnx import TensorProto

from cxr_edge.errors import LimitBroken
from cxr_edge_export.graph import initializers, producers, tail_nodes

_PAIR = ("QuantizeLinear", "DequantizeLinear")
_FROM_INTEGERS = ("MatMulIntegerToFloat", "QGemm")  # integer products, whose sums are handed on in float
_CONVOLUTIONS = ("Conv", "FusedConv")
_ACTIVATIONS = ("Relu", "Clip", "LeakyRelu")
_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)
_SHOWN = 5  # faults in a message


def optimized_operators(model: onnx.ModelProto) -> "Counter[str]":
    """Operator -> how often, in the graph after onnxruntime's optimizer for this machine's CPU."""
    return Counter(node.op_type for node in _optimized(model, layout=True).graph.node)


def check_islands(model: onnx.ModelProto, float_layers: Collection[str] = ()) -> "Counter[str]":
    """Refuse a quantized graph that onnxruntime does not run in integers throughout.

    Float may be what comes before the first convolution, the activation map, the head (`graph.tail_nodes`), and the
    layers left in float on purpose, with the activation behind them. Everything else is a fault: a float operator, a
    feature map that is dequantized and quantized again with nothing in between, weights stored as integers in vain.

    Args:
        model: the QDQ graph.
        float_layers: names of nodes.

    Returns:
        The operators of the optimized graph.

    Raises:
        LimitBroken: naming what was found.
    """
    # layout changes rename and split nodes, so names are looked at before them
    optimized = _optimized(model, layout=False)
    allowed = {*tail_nodes(model.graph), *float_layers}
    strangers = [node for node in _float_nodes(optimized.graph) if not _is_meant(node, allowed, optimized.graph)]
    convolutions = [node for node in strangers if node.op_type in _CONVOLUTIONS]
    others = [node for node in strangers if node.op_type not in _CONVOLUTIONS]
    faults = []
    if convolutions:
        faults.append(f"{len(convolutions)} float convolutions: {_named(convolutions)}")
    if others:
        faults.append(f"{len(others)} float operators with no integer kernel where they stand: {_named(others)}")
    again, weights = _quantized_again(optimized.graph), _dequantized_weights(optimized.graph)
    if again:
        faults.append(f"{len(again)} feature maps dequantized and quantized again: {_named(again)}")
    if weights:
        faults.append(f"{len(weights)} layers whose stored integers are used as floats: {_named(weights)}")
    found = optimized_operators(model)
    if not found["QLinearConv"]:
        faults.append("no QLinearConv at all")
    if faults:
        message = (
            f"the optimized graph is not integer throughout: {'; '.join(faults)}; "
            "a layer that may be float has to stand in quantization.float_layers"
        )
        raise LimitBroken(message)
    return found


def _optimized(model: onnx.ModelProto, *, layout: bool) -> onnx.ModelProto:
    import onnxruntime

    levels = onnxruntime.GraphOptimizationLevel
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if layout else levels.ORT_ENABLE_EXTENDED
    with tempfile.TemporaryDirectory(prefix="cxr-edge-") as folder:
        target = Path(folder) / "optimized.onnx"
        options.optimized_model_filepath = str(target)
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return onnx.load(str(target))


def _float_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """The nodes that take or give a float tensor that is no constant, but for those that change between the two."""
    values = (*graph.value_info, *graph.input, *graph.output)
    floats = {value.name for value in values if value.type.tensor_type.elem_type in _FLOATS}
    floats -= {constant.name for constant in graph.initializer}
    for node in graph.node:
        if node.op_type not in (*_PAIR, *_FROM_INTEGERS) and floats.intersection((*node.input, *node.output)):
            yield node


def _is_meant(node: onnx.NodeProto, allowed: Collection[str], graph: onnx.GraphProto) -> bool:
    if node.name.removeprefix("fused ") in allowed:
        return True
    maker = producers(graph).get(node.input[0]) if node.op_type in _ACTIVATIONS else None
    return maker is not None and maker.name in allowed


def _quantized_again(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    made_by = producers(graph)
    quantizing = [node for node in graph.node if node.op_type == "QuantizeLinear" and node.input[0] in made_by]
    return [node for node in quantizing if made_by[node.input[0]].op_type == "DequantizeLinear"]


def _dequantized_weights(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    constants = initializers(graph)
    weights = {n.output[0] for n in graph.node if n.op_type == "DequantizeLinear" and n.input[0] in constants}
    return [node for node in graph.node if weights.intersection(node.input)]


def _named(nodes: list[onnx.NodeProto]) -> str:
    shown = ", ".join(f"{node.op_type} {node.name}" for node in nodes[:_SHOWN])
    return shown if len(nodes) <= _SHOWN else f"{shown} and {len(nodes) - _SHOWN} more"
