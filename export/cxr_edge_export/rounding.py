"""Rounding the first layer's weights so that each output channel's answer to a flat image stays what it was.

Rounding to nearest leaves a sum of errors per output channel. Radiographs are smooth, so that sum, times the local gray
level, is most of what 7-bit weights cost in the first layer; the following layers see sparse features, where it is not.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import numpy_helper

from cxr_edge.errors import ModelError
from cxr_edge_export.graph import first_convolutions, initializers, producers
from cxr_edge_export.recipe import QuantizationPlan

if TYPE_CHECKING:
    from numpy.typing import NDArray

REDUCED_MAX = 64  # 7 bits: 255 * (64 + 64) still fits the 16-bit accumulator of CPUs without VNNI
FULL_MAX = 127


def keep_flat_response(model: onnx.ModelProto, quantized: onnx.ModelProto, plan: QuantizationPlan) -> None:
    """Round the weights of each input's first convolution anew, in place; one left in float stays as it is.

    Args:
        model: the float graph that was quantized.
        quantized: its QDQ graph.
        plan: of the recipe.

    Raises:
        ModelError: a first convolution is not quantized as expected.
    """
    largest = REDUCED_MAX if plan.reduce_range else FULL_MAX
    found = [node for node in first_convolutions(model.graph) if node.name not in plan.float_layers]
    twins = {node.name: node for node in quantized.graph.node}
    makers = producers(quantized.graph)
    for node in found:
        dequantize = makers.get(twins[node.name].input[1]) if node.name in twins else None
        if dequantize is None:
            message = "the first convolution is not quantized as expected: its weights have no DequantizeLinear"
            raise ModelError(message)
        weights = numpy_helper.to_array(initializers(model.graph)[node.input[1]])
        _round_anew(weights, initializers(quantized.graph), dequantize, largest)


def _round_anew(
    weights: "NDArray[np.float32]",
    constants: Mapping[str, onnx.TensorProto],
    dequantize: onnx.NodeProto,
    largest: int,
) -> None:
    """The stored int8 of `weights`, [output, input, rows, columns], in place."""
    stored, scale = constants[dequantize.input[0]], numpy_helper.to_array(constants[dequantize.input[1]])
    exact = weights.astype(np.float64) / scale.astype(np.float64).reshape(-1, 1, 1, 1)
    rounded = round_keeping_sums(exact.reshape(len(exact), -1), largest).reshape(exact.shape)
    stored.CopyFrom(numpy_helper.from_array(rounded.astype(np.int8), stored.name))


def round_keeping_sums(exact: "NDArray[np.float64]", largest: int) -> "NDArray[np.int64]":
    """Integers whose row sums are within 0.5 of the rows' own, each within 1 of its value.

    Args:
        exact: [rows, columns].
        largest: the integers lie in -largest..largest.

    Returns:
        int64 [rows, columns]: rounded to nearest, except where moving a nearly-tied one settles the sum.
    """
    rounded = np.clip(np.rint(exact), -largest, largest)
    for row, values in zip(rounded, exact, strict=True):
        error = row - values
        excess = int(np.rint(error.sum()))
        step = np.sign(excess)
        movable = np.abs(row - step) <= largest
        order = np.argsort(np.where(movable, -error * step, np.inf), kind="stable")
        row[order[: abs(excess)]] -= step
    return np.asarray(rounded, np.int64)
