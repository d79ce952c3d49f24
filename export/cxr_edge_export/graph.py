"""From the bare network to the contract's graph: uint8 NHWC in, named probabilities and activation map out."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from cxr_edge.contract import Member
from cxr_edge.errors import ModelError

PROBABILITIES = "probabilities"
ACTIVATION_MAP = "activation_map"
NORMALIZATION = "normalization"  # prefix of the nodes that this file puts in front; never quantized
TAIL = "tail"  # prefix of those it adds behind
LARGE_DENSE = 1 << 18  # weights: a megabyte in float
_HEADS = ("AveragePool", "Gemm", "GlobalAveragePool", "MatMul", "ReduceMean", "Sigmoid", "Softmax")
_PASS_THROUGH = ("Squeeze", "Flatten", "Reshape", "Identity", "Dropout")


def fold_preprocessing(model: onnx.ModelProto, members: Sequence[Member]) -> None:
    """Put y = (x - mean) / scale in front, so that the graph takes [N, H, W, C] as the contract describes it.

    Args:
        model: with one input per member, in their order, each float32 [N, H, W, C]; changed in place.
        members: input name and dtype, mean and scale.

    Raises:
        ModelError: the graph has another number of inputs.
    """
    found = len(model.graph.input)
    if found != len(members):
        message = f"the network has {found} inputs; need {len(members)}"
        raise ModelError(message)
    for place, member in enumerate(members):
        _fold(model.graph, place, member)


def _fold(graph: onnx.GraphProto, place: int, member: Member) -> None:
    given, before = member.input, f"{NORMALIZATION}/{member.input.name}"
    old, inner = graph.input[place].name, f"{before}/output"
    for node in graph.node:
        _replace(node.input, old, inner)
    dtype = TensorProto.UINT8 if given.dtype == "uint8" else TensorProto.FLOAT
    shape = ["N", given.height, given.width, given.channels]
    graph.input[place].CopyFrom(helper.make_tensor_value_info(given.name, dtype, shape))
    mean, scale = (np.asarray(v, np.float32) for v in (member.normalization.mean, member.normalization.scale))
    steps = [_node("Cast", [given.name], f"{before}/float", to=TensorProto.FLOAT)]
    for operator, values, neutral in (("Sub", mean, 0), ("Div", scale, 1)):
        if (values != neutral).any():
            constant = f"{before}/{operator}/constant"
            graph.initializer.append(numpy_helper.from_array(values, constant))
            steps.append(_node(operator, [steps[-1].output[0], constant], f"{before}/{operator}"))
    steps[-1].output[0] = inner
    _insert(graph, steps)


def name_outputs(model: onnx.ModelProto, labels: int) -> None:
    """Make the one output `probabilities` [N, labels]; a single sigmoid p becomes (1 - p, p). In place.

    Raises:
        ModelError: several outputs, or not as many as labels.
    """
    graph = model.graph
    if len(graph.output) != 1:
        message = f"the network has {len(graph.output)} outputs; need one"
        raise ModelError(message)
    output = graph.output[0]
    width = output.type.tensor_type.shape.dim[-1].dim_value
    old = output.name
    if width == 1 and labels == 2:  # noqa: PLR2004 - negative and positive
        old = _rename(graph, old, f"{TAIL}/positive")
        graph.initializer.append(numpy_helper.from_array(np.float32(1), f"{TAIL}/one"))
        graph.node.append(_node("Sub", [f"{TAIL}/one", old], f"{TAIL}/complement"))
        graph.node.append(_node("Concat", [f"{TAIL}/complement", old], PROBABILITIES, axis=1))
    elif width == labels:
        _rename(graph, old, PROBABILITIES)
    else:
        message = f"the network has {width} outputs; the recipe has {labels} labels"
        raise ModelError(message)
    graph.output[0].CopyFrom(helper.make_tensor_value_info(PROBABILITIES, TensorProto.FLOAT, ["N", labels]))


def add_activation_map(model: onnx.ModelProto, labels: int) -> bool:
    """Add the class activation map as an output [N, h, w, labels]: last feature map times dense kernel, without bias.

    Exact for a head of global average pooling and one dense layer (Zhou et al., CVPR 2016); with any other head there
    is none.

    Returns:
        Whether the network has such a head, so that the output was added.
    """
    graph = model.graph
    head = _pooled_dense_head(graph)
    if head is None:
        return False
    features, kernel = head
    if kernel.shape[1] == 1:
        kernel = np.concatenate([np.zeros_like(kernel), kernel], axis=1)  # one sigmoid: softmax over (0, z)
    weights = np.ascontiguousarray(kernel.T[:, :, np.newaxis, np.newaxis])
    graph.initializer.append(numpy_helper.from_array(weights, f"{TAIL}/activation_map/kernel"))
    graph.node.append(_node("Conv", [features, f"{TAIL}/activation_map/kernel"], f"{TAIL}/activation_map/nchw"))
    graph.node.append(_node("Transpose", [f"{TAIL}/activation_map/nchw"], ACTIVATION_MAP, perm=[0, 2, 3, 1]))
    shape = ["N", None, None, labels]
    graph.output.append(helper.make_tensor_value_info(ACTIVATION_MAP, TensorProto.FLOAT, shape))
    return True


def tail_nodes(graph: onnx.GraphProto) -> list[str]:
    """Names of the nodes that stay float.

    They are what comes before the first convolution, the activation map, and the head: all from the first pooling or
    dense layer on behind which feature maps are neither convolved nor joined any more, but for hidden dense layers of
    more than `LARGE_DENSE` weights.

    Args:
        graph: its nodes in topological order, shapes inferred.
    """
    convolutions = [n for n in graph.node if n.op_type == "Conv" and not n.name.startswith(f"{TAIL}/")]
    behind = _behind(graph, convolutions)
    before = _before(graph, [*convolutions, *_joints(graph, behind)])
    names = {node.name for node in graph.node if node.name.startswith((f"{NORMALIZATION}/", f"{TAIL}/"))}
    names.update(n.name for n in graph.node if n.op_type != "Conv" and not behind.intersection(n.output))
    heads = [n for n in graph.node if n.op_type in _HEADS and not before.intersection(n.output)]
    head = _behind(graph, heads)
    names.update(node.name for node in graph.node if head.intersection(node.output))
    return sorted(names - large_dense_layers(graph))


def large_dense_layers(graph: onnx.GraphProto) -> set[str]:
    """Names of the hidden dense layers whose weights are worth storing in 8 bits; their sums stay float."""
    constants = initializers(graph)
    dense = [node for node in graph.node if node.op_type in ("MatMul", "Gemm") and node.input[1] in constants]
    before = _before(graph, dense)
    return {
        node.name
        for node in dense
        if before.intersection(node.output) and int(np.prod(constants[node.input[1]].dims)) > LARGE_DENSE
    }


def _joints(graph: onnx.GraphProto, behind: set[str]) -> list[onnx.NodeProto]:
    """Sums and concatenations of feature maps."""
    maps = {value.name for value in graph.value_info if len(value.type.tensor_type.shape.dim) == 4}  # noqa: PLR2004
    joining = [node for node in graph.node if node.op_type in ("Add", "Concat") and maps.intersection(node.output)]
    return [node for node in joining if sum(name in behind for name in node.input) > 1]


def _behind(graph: onnx.GraphProto, nodes: Sequence[onnx.NodeProto]) -> set[str]:
    """The tensors that these nodes, and all that follow them, make."""
    made = {output for node in nodes for output in node.output}
    for node in graph.node:
        if made.intersection(node.input):
            made.update(node.output)
    return made


def _before(graph: onnx.GraphProto, nodes: Sequence[onnx.NodeProto]) -> set[str]:
    """The tensors that these nodes are computed from."""
    needed = {name for node in nodes for name in node.input}
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
    return needed


def first_convolutions(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The convolution that each input reaches first; inputs without any are left out.

    Args:
        graph: its nodes in topological order.
    """
    found = []
    for given in graph.input:
        reached = {given.name}
        for node in graph.node:
            if reached.intersection(node.input):
                if node.op_type == "Conv":
                    found.append(node)
                    break
                reached.update(node.output)
    return found


def producers(graph: onnx.GraphProto) -> Mapping[str, onnx.NodeProto]:
    """Tensor name -> the node that computes it."""
    return {output: node for node in graph.node for output in node.output}


def initializers(graph: onnx.GraphProto) -> Mapping[str, onnx.TensorProto]:
    """Tensor name -> the constant stored under it."""
    return {tensor.name: tensor for tensor in graph.initializer}


def _pooled_dense_head(graph: onnx.GraphProto) -> tuple[str, Any] | None:
    """(feature map in NCHW, dense kernel [D, K]) where the network ends in pooling, dense, softmax or sigmoid."""
    made_by, constants = producers(graph), initializers(graph)
    node = made_by[PROBABILITIES]
    if node.op_type == "Concat":
        node = made_by[node.input[1]]
    if node.op_type not in ("Softmax", "Sigmoid"):
        return None
    node = made_by[node.input[0]]
    if node.op_type == "Add":
        node = made_by.get(node.input[0]) or made_by[node.input[1]]
    if node.op_type != "MatMul" or node.input[1] not in constants:
        return None
    kernel = numpy_helper.to_array(constants[node.input[1]])
    node = made_by[node.input[0]]
    while node.op_type in _PASS_THROUGH and node.input[0] in made_by:
        node = made_by[node.input[0]]
    return (node.input[0], kernel) if node.op_type == "GlobalAveragePool" else None


def _node(operator: str, inputs: list[str], output: str, **attributes: Any) -> onnx.NodeProto:  # noqa: ANN401
    prefix = output if "/" in output else f"{TAIL}/{output}"
    return helper.make_node(operator, inputs, [output], name=prefix, **attributes)


def _insert(graph: onnx.GraphProto, nodes: list[onnx.NodeProto]) -> None:
    for position, node in enumerate(nodes):
        graph.node.insert(position, node)


def _rename(graph: onnx.GraphProto, old: str, new: str) -> str:
    for node in graph.node:
        _replace(node.output, old, new)
        _replace(node.input, old, new)
    return new


def _replace(names: Any, old: str, new: str) -> None:  # noqa: ANN401 - a repeated protobuf field
    for index, name in enumerate(names):
        if name == old:
            names[index] = new
