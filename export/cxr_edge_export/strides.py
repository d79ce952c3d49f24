"""What strided 1x1 convolutions skip is not computed: strides move up to the layers that compute it. Exact.

Keras' ResNet50 puts the stride of a stage on its 1x1 convolutions, so three quarters of what the stage before computes
last are thrown away. Known as stride propagation; OpenVINO does the same in its StridesOptimization.
"""

from collections.abc import Sequence

import onnx
from onnx import helper

from cxr_edge_export.graph import TAIL

_SEES_ONE_PIXEL = ("Relu", "Clip")  # the value at a position depends on that position alone
_PLAIN = ("", "NOTSET", "VALID")  # the automatic paddings depend on the stride


def move_strides_up(network: onnx.ModelProto) -> int:
    """Compute each feature map only where the convolutions that read it look. In place.

    Every value that is still computed is computed from the same numbers as before. A residual branch that is read
    elsewhere too gets a 1x1 max pooling, which takes every second pixel.

    Args:
        network: float, [N, C, H, W] inside, batch normalization folded; before quantization.

    Returns:
        How many convolutions compute less than before.
    """
    moved = 0
    while any(_is_sampler(node) and max(_ints(node, "strides", (1, 1))) > 1 for node in network.graph.node):
        inferred = onnx.shape_inference.infer_shapes(network)
        step = next((s for node in network.graph.node if (s := _step(inferred, network.graph, node))), 0)
        if not step:
            break
        moved += step
        del network.graph.value_info[:]  # shapes changed
    return moved


def _step(inferred: onnx.ModelProto, graph: onnx.GraphProto, node: onnx.NodeProto) -> int:
    """Move the stride of a tensor's readers above the convolution or sum that makes it; 0 where that is impossible."""
    readers = _readers(graph, node.output[0]) if node.op_type in ("Conv", "Add") else []
    while len(readers) == 1 and readers[0].op_type in _SEES_ONE_PIXEL:
        readers = _readers(graph, readers[0].output[0])
    strides = {tuple(_ints(reader, "strides", (1, 1))) for reader in readers if _is_sampler(reader)}
    if len(strides) != 1 or not all(_is_sampler(reader) for reader in readers):
        return 0
    stride = strides.pop()
    if max(stride) == 1:
        return 0
    convolutions = [node] if node.op_type == "Conv" else _branches(inferred, graph, node, stride)
    if not convolutions or not all(_is_plain(convolution) for convolution in convolutions):
        return 0
    for convolution in convolutions:
        own = _ints(convolution, "strides", (1, 1))
        _set_strides(convolution, [a * b for a, b in zip(own, stride, strict=True)])
    for reader in readers:
        _set_strides(reader, [1, 1])
    return len(convolutions)


def _branches(
    inferred: onnx.ModelProto, graph: onnx.GraphProto, addition: onnx.NodeProto, stride: Sequence[int]
) -> list[onnx.NodeProto]:
    """The convolutions that feed a sum and nothing else; its other inputs are subsampled by pooling."""
    shapes = [_shape(inferred, name) for name in addition.input]
    if len(set(shapes)) != 1 or len(shapes[0]) != 4:  # noqa: PLR2004 - N, C, H, W; no broadcasting
        return []
    makers = {name: _private_convolution(graph, name) for name in addition.input}
    found = [maker for maker in makers.values() if maker is not None]
    if not found or not all(_is_plain(maker) for maker in found):
        return []
    for index, name in enumerate(addition.input):
        if makers[name] is None:
            pooled = f"{name}/strided"
            pool = helper.make_node("MaxPool", [name], [pooled], name=pooled, kernel_shape=[1, 1], strides=list(stride))
            graph.node.insert(list(graph.node).index(addition), pool)
            addition.input[index] = pooled
    return found


def _private_convolution(graph: onnx.GraphProto, name: str) -> onnx.NodeProto | None:
    """The convolution that makes a tensor, through activations, where nothing else reads it."""
    while len(_readers(graph, name)) == 1:
        maker = next((node for node in graph.node if name in node.output), None)
        if maker is None or maker.op_type == "Conv":
            return maker
        if maker.op_type not in _SEES_ONE_PIXEL:
            return None
        name = maker.input[0]
    return None


def _readers(graph: onnx.GraphProto, name: str) -> list[onnx.NodeProto]:
    """Who reads a tensor, once per reading; an output of the graph is read by somebody unknown."""
    readers = [node for node in graph.node for read in node.input if read == name]
    if any(output.name == name for output in graph.output):
        readers.append(helper.make_node("Identity", [name], [""], name=f"{TAIL}/caller"))
    return readers


def _is_sampler(node: onnx.NodeProto) -> bool:
    """Whether a node is a 1x1 convolution without padding: with a stride it looks at every second pixel alone."""
    return (
        node.op_type == "Conv"
        and set(_ints(node, "kernel_shape", ())) == {1}
        and len(_ints(node, "kernel_shape", ())) == 2  # noqa: PLR2004 - rows, columns
        and not any(_ints(node, "pads", (0,)))
        and _is_plain(node)
    )


def _is_plain(node: onnx.NodeProto) -> bool:
    padding = next((a.s.decode() for a in node.attribute if a.name == "auto_pad"), "")
    return padding in _PLAIN


def _ints(node: onnx.NodeProto, name: str, default: Sequence[int]) -> Sequence[int]:
    return next((tuple(a.ints) for a in node.attribute if a.name == name), tuple(default))


def _set_strides(node: onnx.NodeProto, strides: Sequence[int]) -> None:
    for attribute in [attribute for attribute in node.attribute if attribute.name == "strides"]:
        node.attribute.remove(attribute)
    node.attribute.append(helper.make_attribute("strides", list(strides)))


def _shape(inferred: onnx.ModelProto, name: str) -> tuple[int | str, ...]:
    value = next((v for v in inferred.graph.value_info if v.name == name), None)
    if value is None:
        return ()
    return tuple(d.dim_value or d.dim_param for d in value.type.tensor_type.shape.dim)
