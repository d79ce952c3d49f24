"""Float ONNX -> static QDQ INT8 by onnxruntime's quantizer: activations U8, weights S8 per channel, a float tail."""

import contextlib
import io
import logging
import math
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from cxr_edge.errors import ModelError
from cxr_edge_export.graph import tail_nodes
from cxr_edge_export.gray_levels import align_with_gray_levels
from cxr_edge_export.integer_forms import keep_in_float, remove_unread, to_integer_forms
from cxr_edge_export.qdq_links import pad_integers, share_concat_scales
from cxr_edge_export.recipe import QuantizationPlan
from cxr_edge_export.rounding import keep_flat_response

if TYPE_CHECKING:
    from numpy.typing import NDArray

# what has an integer kernel, or passes integers on; anything else stays float, and the island check says so.
# AveragePool is fused between two of these all the same, and then has a scale of its own: means are smaller
OPERATORS = [
    *("Conv", "Add", "MaxPool", "Relu", "Concat", "LeakyRelu", "Clip", "Pad", "Slice"),
    *("Transpose", "Reshape", "MatMul", "Gemm"),  # before and in large dense layers
]
_OPTIONS = {
    "ForceQuantizeNoInputCheck": True,  # a pooling layer behind one left in float is quantized all the same
    "OpTypesToExcludeOutputQuantization": ["MatMul", "Gemm"],  # behind large dense layers is the float head
}
HELD = 2 << 30  # bytes of activations that are held at once
MOST_HELD = 16  # images


def simplify(model: onnx.ModelProto) -> onnx.ModelProto:
    """Batch normalization and constants folded, shapes inferred: what quantization starts from.

    Raises:
        ModelError: onnxruntime refuses the graph.
    """
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory(prefix="cxr-edge-") as folder, _quiet():
        target = Path(folder) / "simplified.onnx"
        try:
            quant_pre_process(model, str(target))
        except Exception as error:
            message = f"onnxruntime cannot simplify the graph: {error}"
            raise ModelError(message) from error
        return onnx.load(str(target))


def quantize(
    model: onnx.ModelProto,
    plan: QuantizationPlan,
    images: "Sequence[Mapping[str, NDArray[Any]]]",
    progress: Callable[[int], None] = lambda _done: None,
) -> onnx.ModelProto:
    """Static quantization.

    Args:
        model: from `simplify`.
        plan: of the recipe.
        images: tensors of each quantization-calibration image, by input name, each [H, W, C].
        progress: is told how many of them have been run.

    Raises:
        ModelError: onnxruntime refuses the graph, or a node named in `plan.float_layers` does not exist.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    method, options = _ranges(plan, held_at_once(model, len(images)))
    given, floats, gray_levels = _prepared(model, plan)
    with tempfile.TemporaryDirectory(prefix="cxr-edge-") as folder, _quiet():
        target = Path(folder) / "quantized.onnx"
        try:
            quantize_static(
                given,
                target,
                _reader(images, progress),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=OPERATORS,
                per_channel=True,
                reduce_range=plan.reduce_range,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=floats,
                calibrate_method=method,
                extra_options=options | _OPTIONS | gray_levels,
            )
        except Exception as error:
            message = f"onnxruntime cannot quantize the graph: {error}"
            raise ModelError(message) from error
        quantized = onnx.load(str(target))
    pad_integers(quantized)
    share_concat_scales(quantized, model)
    remove_unread(quantized.graph)
    keep_flat_response(model, quantized, plan)
    return quantized


def _prepared(model: onnx.ModelProto, plan: QuantizationPlan) -> tuple[onnx.ModelProto, list[str], dict[str, Any]]:
    """(a copy that onnxruntime can run in integers, the nodes of it that stay float, options for its input)."""
    given = onnx.ModelProto()
    given.CopyFrom(model)  # the quantizer moves its argument's weights into a temporary file
    overrides = align_with_gray_levels(given)
    to_integer_forms(given)
    unknown = sorted(set(plan.float_layers) - {node.name for node in given.graph.node})
    if unknown:
        message = f"float_layers names nodes that the graph does not have: {unknown}"
        raise ModelError(message)
    floats = {*tail_nodes(given.graph), *plan.float_layers, *keep_in_float(given, plan.float_layers)}
    return given, sorted(floats), {"TensorQuantOverrides": overrides}


def held_at_once(model: onnx.ModelProto, images: int) -> int:
    """How many images' activations are held together, which has to divide their number.

    Args:
        model: shapes inferred.
        images: how many there are.
    """
    shapes = [value.type.tensor_type.shape.dim for value in model.graph.value_info]
    size = sum(4 * math.prod(dimension.dim_value or 1 for dimension in shape) for shape in shapes)
    most = max(1, min(MOST_HELD, HELD // max(1, size)))
    return max(number for number in range(1, most + 1) if images % number == 0)


def _ranges(plan: QuantizationPlan, stride: int) -> tuple[Any, dict[str, Any]]:
    from onnxruntime.quantization import CalibrationMethod

    match plan.ranges:
        case "minmax":
            return CalibrationMethod.MinMax, {"CalibStridedMinMax": stride}
        case "moving-average":
            return CalibrationMethod.MinMax, {"CalibMovingAverage": True}
        case "percentile":
            return CalibrationMethod.Percentile, {"CalibPercentile": plan.percentile, "CalibStridedMinMax": stride}
        case "entropy":
            return CalibrationMethod.Entropy, {"CalibStridedMinMax": stride}


def _reader(images: "Sequence[Mapping[str, NDArray[Any]]]", progress: Callable[[int], None]) -> Any:  # noqa: ANN401
    """An onnxruntime CalibrationDataReader over tensors, one image at a time."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            self._window = range(len(images))
            self._next = 0

        def __len__(self) -> int:
            return len(images)

        def set_range(self, start_index: int, end_index: int) -> None:
            self._window, self._next = range(start_index, end_index), start_index

        def get_next(self) -> "dict[str, NDArray[Any]] | None":  # type: ignore[override] # None ends it, says its text
            if self._next not in self._window:
                return None
            tensors = images[self._next]
            self._next += 1
            progress(self._next)
            return {name: tensor[None] for name, tensor in tensors.items()}

    return Reader()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    # the quantizer prints and logs advice that has been followed
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)
