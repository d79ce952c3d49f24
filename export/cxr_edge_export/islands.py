"""Looking at the graph that onnxruntime really runs: a float convolution left in it is slow and unmeant."""

import tempfile
from collections import Counter
from pathlib import Path

import onnx

from cxr_edge.errors import LimitBroken
from cxr_edge_export.graph import ACTIVATION_MAP

_FLOAT_CONVOLUTIONS = ("Conv", "FusedConv", "NhwcFusedConv")


def optimized_operators(model: onnx.ModelProto) -> "Counter[str]":
    """Operator -> how often, in the graph after onnxruntime's optimizer for this machine's CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    with tempfile.TemporaryDirectory(prefix="cxr-edge-") as folder:
        target = Path(folder) / "optimized.onnx"
        options.optimized_model_filepath = str(target)
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return Counter(node.op_type for node in onnx.load(str(target)).graph.node)


def check_islands(model: onnx.ModelProto, float_layers: int = 0) -> "Counter[str]":
    """Refuse a quantized graph that onnxruntime does not run in integers throughout.

    Expected are one QuantizeLinear behind the input, one DequantizeLinear before each reader of the last feature map
    (pooling and activation map), one of each around every layer left in float on purpose, and no other float
    convolution than the activation map's.

    Returns:
        The operators of the optimized graph.

    Raises:
        LimitBroken: saying what was found and what was expected.
    """
    found = optimized_operators(model)
    has_map = any(output.name == ACTIVATION_MAP for output in model.graph.output)
    allowed = {
        "QuantizeLinear": 1 + float_layers,
        "DequantizeLinear": 1 + has_map + 2 * float_layers,
    }
    convolutions = sum(found[name] for name in _FLOAT_CONVOLUTIONS)
    faults = [f"{found[name]} {name}, expected at most {most}" for name, most in allowed.items() if found[name] > most]
    if convolutions > has_map + float_layers:
        faults.append(f"{convolutions} float convolutions, expected at most {has_map + float_layers}")
    if not found["QLinearConv"]:
        faults.append("no QLinearConv at all")
    if faults:
        message = "the optimized graph is not integer throughout: " + "; ".join(faults)
        raise LimitBroken(message)
    return found
