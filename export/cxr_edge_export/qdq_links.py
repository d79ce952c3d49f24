"""Changes to the quantizer's pairs of QuantizeLinear and DequantizeLinear, for fewer and cheaper integer kernels."""

from collections.abc import Mapping
from dataclasses import dataclass

import onnx
from onnx import numpy_helper

from cxr_edge_export.graph import initializers, producers

# their kernels take no scale for the output; a Clip that the quantizer removed lives on in the scale
_KEEPS_SCALE = ("MaxPool", "Pad", "Slice", "Transpose", "Reshape", "Clip")


@dataclass(frozen=True, slots=True)
class _Pair:
    """A tensor's QuantizeLinear and DequantizeLinear."""

    quantize: onnx.NodeProto
    dequantize: onnx.NodeProto

    def take_scale(self, of: onnx.NodeProto) -> None:
        for node in (self.quantize, self.dequantize):
            node.input[1], node.input[2] = of.input[1], of.input[2]


def pad_integers(quantized: onnx.ModelProto) -> None:
    """Zero padding between two integer tensors of one scale pads with the integer that means zero. In place.

    onnxruntime does not fuse DequantizeLinear, Pad, QuantizeLinear.
    """
    graph = quantized.graph
    made_by, readers = producers(graph), _readers(graph)
    for node in [node for node in graph.node if node.op_type == "Pad"]:
        before = made_by.get(node.input[0])
        after = readers.get(node.output[0], [])
        if before is None or before.op_type != "DequantizeLinear" or len(after) != 1:
            continue
        if after[0].op_type != "QuantizeLinear" or list(after[0].input[1:]) != list(before.input[1:]):
            continue
        pads = [before.input[0], node.input[1], before.input[2]]
        del node.input[:]
        node.input.extend(pads)
        node.output[0] = after[0].output[0]
        graph.node.remove(after[0])
        if not any(before.output[0] in other.input for other in graph.node):
            graph.node.remove(before)


def share_concat_scales(quantized: onnx.ModelProto, model: onnx.ModelProto) -> None:
    """Let what only a concatenation reads be quantized as the concatenation is: rounded once, copied after. In place.

    Args:
        quantized: the QDQ graph.
        model: the float graph that was quantized.
    """
    graph = quantized.graph
    made_by, readers, constants = producers(graph), _readers(graph), initializers(graph)
    operators = {output: node.op_type for node in model.graph.node for output in node.output}
    # the last one first: its scale may reach through another concatenation
    for node in [node for node in reversed(graph.node) if node.op_type == "Concat"]:
        after = readers.get(node.output[0], [])
        if len(after) != 1 or after[0].op_type != "QuantizeLinear":
            continue
        zero_means_lowest = not numpy_helper.to_array(constants[after[0].input[2]]).any()
        for name in node.input:
            pair = _private_pair(name, made_by, readers)
            operator = operators.get(pair.quantize.input[0]) if pair is not None else None
            if pair is None or operator is None or operator in _KEEPS_SCALE:
                continue
            # a ReLU that the quantizer removed lives on in a zero point of 0
            if operator != "Relu" or zero_means_lowest:
                pair.take_scale(after[0])


def _private_pair(
    name: str, made_by: Mapping[str, onnx.NodeProto], readers: Mapping[str, list[onnx.NodeProto]]
) -> _Pair | None:
    """The pair behind which nothing but one operator reads; None where others do."""
    dequantize = made_by.get(name)
    quantize = made_by.get(dequantize.input[0]) if dequantize is not None else None
    if dequantize is None or quantize is None or quantize.op_type != "QuantizeLinear":
        return None
    private = len(readers[name]) == 1 and len(readers[dequantize.input[0]]) == 1
    return _Pair(quantize, dequantize) if private else None


def _readers(graph: onnx.GraphProto) -> dict[str, list[onnx.NodeProto]]:
    found: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            found.setdefault(name, []).append(node)
    return found
