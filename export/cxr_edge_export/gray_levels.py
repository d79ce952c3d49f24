"""The first layer reads gray levels as they are: one integer for each, nothing rounded."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import numpy_helper

from cxr_edge_export.graph import NORMALIZATION, first_convolutions, initializers, producers

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MOVES_ONLY = ("Transpose", "Reshape", "Identity")


def align_with_gray_levels(model: onnx.ModelProto) -> dict[str, list[dict[str, Any]]]:
    """Choose the input's scale such that a gray level is one step, and its zero such that it lies on one. In place.

    A mean of 127.5 lies between two levels, and every level between two integers: rounding would lose a bit. So 128 is
    subtracted in its place and the first convolution's bias takes up the difference; its padding alone, if it has any,
    becomes half a gray level brighter. Where channels have means of their own, or where others read the normalized
    image too, nothing is changed.

    Args:
        model: float, its first nodes those of `graph.fold_preprocessing`.

    Returns:
        onnxruntime's TensorQuantOverrides: the tensor that a first convolution reads -> its scale and zero point.
    """
    graph = model.graph
    found: dict[str, list[dict[str, Any]]] = {}
    for convolution in first_convolutions(graph):
        steps = _normalization(graph, convolution.input[0])
        if steps is None:
            continue
        mean, scale = (_uniform(graph, steps.get(operator), neutral) for operator, neutral in (("Sub", 0), ("Div", 1)))
        if mean is None or scale is None or not 0 <= mean <= np.iinfo(np.uint8).max:
            continue
        level = np.floor(mean + 0.5)
        if level != mean:
            if not _reads_alone(graph, steps.values()):
                continue
            _subtract(graph, steps["Sub"], level)
            _add_to_bias(graph, convolution, (level - mean) / scale)
        step, zero = np.array(1 / scale, np.float32), np.array(level, np.uint8)
        found[convolution.input[0]] = [{"scale": step, "zero_point": zero}]
    return found


def _normalization(graph: onnx.GraphProto, name: str) -> dict[str, onnx.NodeProto] | None:
    """Operator -> node, between an input and the tensor; None where there is more than normalization between them."""
    made_by, steps = producers(graph), {}
    while name in made_by:
        node = made_by[name]
        if not node.name.startswith(f"{NORMALIZATION}/") and node.op_type not in _MOVES_ONLY:
            return None
        steps[node.op_type] = node
        name = node.input[0]
    return steps if "Cast" in steps else None


def _reads_alone(graph: onnx.GraphProto, steps: Iterable[onnx.NodeProto]) -> bool:
    """Whether nobody but the one convolution reads what these nodes, from the input to it, make."""
    made = [output for node in steps for output in node.output]
    return all(sum(name in node.input for node in graph.node) == 1 for name in made)


def _uniform(graph: onnx.GraphProto, node: onnx.NodeProto | None, neutral: float) -> float | None:
    """The constant of a node, where it is the same for all channels."""
    if node is None:
        return neutral
    values = numpy_helper.to_array(initializers(graph)[node.input[1]])
    return float(values.flat[0]) if (values == values.flat[0]).all() else None


def _subtract(graph: onnx.GraphProto, node: onnx.NodeProto, value: float) -> None:
    node.input[1] = f"{node.name}/level"
    graph.initializer.append(numpy_helper.from_array(np.array([value], np.float32), node.input[1]))


def _add_to_bias(graph: onnx.GraphProto, convolution: onnx.NodeProto, value: float) -> None:
    constants = initializers(graph)
    weights = numpy_helper.to_array(constants[convolution.input[1]]).astype(np.float64)
    bias: NDArray[Any] = np.zeros(len(weights))
    if len(convolution.input) > 2:  # noqa: PLR2004 - data, weights, bias
        bias = numpy_helper.to_array(constants[convolution.input.pop()])
    name = f"{convolution.name}/bias"
    shifted = (bias + value * weights.sum(axis=(1, 2, 3))).astype(np.float32)
    graph.initializer.append(numpy_helper.from_array(shifted, name))
    convolution.input.append(name)
