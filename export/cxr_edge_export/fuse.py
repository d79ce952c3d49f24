"""Several networks side by side in one graph, which gives the weighted mean of their probabilities."""

from collections.abc import Sequence
from functools import reduce

import numpy as np
import onnx
from onnx import TensorProto, compose, helper, numpy_helper

from cxr_edge.contract import Member
from cxr_edge.errors import ModelError
from cxr_edge_export.graph import PROBABILITIES, TAIL, initializers

_MEAN = f"{TAIL}/mean"


def fuse(
    networks: Sequence[onnx.ModelProto], members: Sequence[Member], weights: Sequence[float], labels: int
) -> onnx.ModelProto:
    """One graph of several.

    Args:
        networks: each with one input and the one output `probabilities`, [N, labels].
        members: their names, which then stand in every node's name: member/NAME/...
        weights: of their probabilities; they sum to 1.
        labels: how many.

    Returns:
        A graph with the inputs in the members' order and the one output `probabilities`.

    Raises:
        ModelError: the graphs do not go together.
    """
    parts = [_prefixed(network, member.name) for network, member in zip(networks, members, strict=True)]
    try:
        fused = reduce(lambda one, other: compose.merge_models(one, other, io_map=[]), parts)
    except ValueError as error:
        message = f"the networks cannot be fused into one graph: {error}"
        raise ModelError(message) from error
    versions = {entry.domain: entry.version for entry in fused.opset_import}  # merging left each domain several times
    del fused.opset_import[:]
    fused.opset_import.extend(helper.make_opsetid(*entry) for entry in versions.items())
    _add_mean(fused.graph, members, weights)
    del fused.graph.output[:]
    fused.graph.output.append(helper.make_tensor_value_info(PROBABILITIES, TensorProto.FLOAT, ["N", labels]))
    return fused


def weights_in(network: onnx.ModelProto, members: Sequence[Member]) -> tuple[float, ...]:
    """The weights that a graph was fused with, as float32 holds them; (1.0,) of a single network.

    Raises:
        ModelError: the graph was not made by `fuse`.
    """
    if len(members) == 1:
        return (1.0,)
    constants, nodes = initializers(network.graph), {node.name: node for node in network.graph.node}
    try:
        # by the node's input: onnxruntime stores equal constants once, under one of their names
        given = [constants[nodes[_product(member)].input[1]] for member in members]
    except KeyError as error:
        message = f"the graph is no ensemble of its contract's members: it has no {error}"
        raise ModelError(message) from error
    return tuple(float(numpy_helper.to_array(constant)) for constant in given)


def _prefixed(network: onnx.ModelProto, name: str) -> onnx.ModelProto:
    part = compose.add_prefix(network, _own(name))
    del part.graph.value_info[:]  # dimensions without a size are named by number, in each graph from the same one on
    return part


def _add_mean(graph: onnx.GraphProto, members: Sequence[Member], weights: Sequence[float]) -> None:
    weighted = []
    for member, weight in zip(members, weights, strict=True):
        product = _product(member)
        constant = f"{_MEAN}/weight/{member.name}"
        graph.initializer.append(numpy_helper.from_array(np.float32(weight), constant))
        graph.node.append(helper.make_node("Mul", [_own(member.name) + PROBABILITIES, constant], [product], product))
        weighted.append(product)
    graph.node.append(helper.make_node("Sum", weighted, [f"{_MEAN}/sum"], f"{_MEAN}/sum"))
    # float32 weights like 2, 4, 4 and 5 of 15 sum to the number after 1, which is no probability
    graph.initializer.append(numpy_helper.from_array(np.float32(1), f"{_MEAN}/one"))
    graph.node.append(helper.make_node("Min", [f"{_MEAN}/sum", f"{_MEAN}/one"], [PROBABILITIES], _MEAN))


def _own(name: str) -> str:
    return f"member/{name}/"  # whatever the name: no prefix that `graph` gives a meaning to


def _product(member: Member) -> str:
    return f"{_MEAN}/product/{member.name}"
