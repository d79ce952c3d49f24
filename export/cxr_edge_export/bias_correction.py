"""Bias correction: by what quantization shifts a channel on average is taken back, layer after layer.

Rounded weights err by a sum that hardly differs from image to image; where images differ little in a feature, that
shift is most of the error. After Nagel et al., ICCV 2019 (empirical bias correction).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from cxr_edge.engine import Engine
from cxr_edge.errors import ModelError
from cxr_edge_export.graph import initializers, producers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Tensors = Mapping[str, NDArray[Any]]

IMAGES = 128  # a mean needs no more of them
AXES_ARE_AN_INPUT = 18  # of ReduceMean, from this opset on
PLACES = [0, 2, 3]  # image, row, column


@dataclass(frozen=True, slots=True)
class _Layer:
    """A quantized convolution.

    Attributes:
        output: of it, in the quantized graph.
        exact: the same in the float graph.
        bias: name of the stored integers; `scale` is that of their scales.
        depth: how many such convolutions lead to it, itself included, on the longest way.
    """

    output: str
    exact: str
    bias: str
    scale: str
    depth: int


def give_biases(model: onnx.ModelProto) -> None:
    """Give convolutions without a bias, as where it was 0 and got lost, one of 0 that can be corrected; in place."""
    constants = initializers(model.graph)
    for node in model.graph.node:
        if node.op_type != "Conv" or len(node.input) > len("xw") or node.input[1] not in constants:
            continue
        name = f"{node.output[0]}:bias"
        channels = constants[node.input[1]].dims[0]
        model.graph.initializer.append(numpy_helper.from_array(np.zeros(channels, np.float32), name))
        node.input.append(name)


def correct_biases(
    model: onnx.ModelProto,
    quantized: onnx.ModelProto,
    images: "Sequence[Tensors]",
    progress: Callable[[int, int], None] = lambda *_: None,
) -> None:
    """Shift the biases of a quantized graph, in place, so that each channel's mean is that of the float graph.

    Args:
        model: the float graph that was quantized.
        quantized: its QDQ graph; biases are int32.
        images: tensors of quantization-calibration images, by input name, each [H, W, C]; some of them are used.
        progress: is told (done, total) of the layers' depths: a layer is measured when those before it are corrected.

    Raises:
        ModelError: no quantized convolution has a bias (`give_biases`).
    """
    layers = _layers(model, quantized)
    if not layers:
        message = "quantization.bias_correction: no quantized convolution has a bias"
        raise ModelError(message)
    some = images[:: -(-len(images) // IMAGES)]
    exact = _channel_means(model, [layer.exact for layer in layers], some)
    deepest = max(layer.depth for layer in layers)
    for depth in range(1, deepest + 1):
        level = [layer for layer in layers if layer.depth == depth]
        found = _channel_means(quantized, [layer.output for layer in level], some)
        for layer in level:
            _shift(initializers(quantized.graph), layer, exact[layer.exact] - found[layer.output])
        progress(depth, deepest)


def _layers(model: onnx.ModelProto, quantized: onnx.ModelProto) -> list[_Layer]:
    twins = {node.name: node.output[0] for node in model.graph.node if node.op_type == "Conv"}
    makers, constants = producers(quantized.graph), initializers(quantized.graph)
    depths: dict[str, int] = {}
    found = []
    for node in quantized.graph.node:
        depth = max((depths.get(name, 0) for name in node.input), default=0)
        maker = makers.get(node.input[2]) if node.op_type == "Conv" and len(node.input) == len("xwb") else None
        if maker is not None and node.name in twins and _is_int32(constants.get(maker.input[0])):
            depth += 1
            found.append(_Layer(node.output[0], twins[node.name], maker.input[0], maker.input[1], depth))
        depths |= dict.fromkeys(node.output, depth)
    return found


def _is_int32(constant: onnx.TensorProto | None) -> bool:
    return constant is not None and constant.data_type == onnx.TensorProto.INT32


def _shift(constants: Mapping[str, onnx.TensorProto], layer: _Layer, by: "NDArray[np.float64]") -> None:
    stored = constants[layer.bias]
    scale = numpy_helper.to_array(constants[layer.scale]).astype(np.float64)
    limits = np.iinfo(np.int32)
    moved = np.rint(numpy_helper.to_array(stored) + by / scale).clip(limits.min, limits.max)
    stored.CopyFrom(numpy_helper.from_array(moved.astype(np.int32), stored.name))


def _channel_means(
    model: onnx.ModelProto, tensors: Sequence[str], images: "Sequence[Tensors]"
) -> "dict[str, NDArray[np.float64]]":
    """Mean of each channel of these tensors [N, C, H, W], over images and places: float64 [C]."""
    names = list(dict.fromkeys(tensors))
    engine = Engine(_up_to(model, names).SerializeToString(), provider="cpu")
    sums: list[Any] = [0.0] * len(names)
    for image in images:
        means = engine.run(
            {name: tensor[None] for name, tensor in image.items()}, tuple(f"{name}:mean" for name in names)
        )
        sums = [total + mean.astype(np.float64) for total, mean in zip(sums, means, strict=True)]
    return {name: total / len(images) for name, total in zip(names, sums, strict=True)}


def _up_to(model: onnx.ModelProto, tensors: Sequence[str]) -> onnx.ModelProto:
    """The part of a graph that these tensors need, with their means as its outputs."""
    needed, nodes = set(tensors), []
    for node in reversed(model.graph.node):
        if needed & set(node.output):
            needed |= set(node.input)
            nodes.append(node)
    part = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    part.graph.name = model.graph.name
    part.graph.node.extend(reversed(nodes))
    part.graph.initializer.extend(constant for constant in model.graph.initializer if constant.name in needed)
    part.graph.input.extend(model.graph.input)
    version = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    as_input = version >= AXES_ARE_AN_INPUT
    if as_input:
        part.graph.initializer.append(numpy_helper.from_array(np.array(PLACES, np.int64), "mean:axes"))
    for name in tensors:
        inputs, attributes = ([name, "mean:axes"], {}) if as_input else ([name], {"axes": PLACES})
        node = helper.make_node("ReduceMean", inputs, [f"{name}:mean"], keepdims=0, **attributes)
        part.graph.node.append(node)
        part.graph.output.append(helper.make_tensor_value_info(f"{name}:mean", onnx.TensorProto.FLOAT, None))
    return part
