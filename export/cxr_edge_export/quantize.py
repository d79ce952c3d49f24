"""Float ONNX -> static QDQ INT8 by onnxruntime's quantizer: activations U8, weights S8 per channel, a float tail."""

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from cxr_edge.errors import ModelError
from cxr_edge_export.graph import tail_nodes
from cxr_edge_export.recipe import QuantizationPlan
from cxr_edge_export.rounding import keep_flat_response

if TYPE_CHECKING:
    from numpy.typing import NDArray

# what QLinear kernels exist for and ResNets are made of; anything else stays float and the island check says so
OPERATORS = ["Conv", "Add", "MaxPool", "Relu"]
STRIDE = 16  # images whose activations are held at once: bounds memory


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
    images: "Sequence[NDArray[Any]]",
    progress: Callable[[int], None] = lambda _done: None,
) -> onnx.ModelProto:
    """Static quantization.

    Args:
        model: from `simplify`.
        plan: of the recipe.
        images: quantization-calibration tensors, each [H, W, C].
        progress: is told how many of them have been run.

    Raises:
        ModelError: onnxruntime refuses the graph, or a node named in `plan.float_layers` does not exist.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    names = {node.name for node in model.graph.node}
    unknown = sorted(set(plan.float_layers) - names)
    if unknown:
        message = f"float_layers names nodes that the graph does not have: {unknown}"
        raise ModelError(message)
    method, options = _ranges(plan)
    given = onnx.ModelProto()
    given.CopyFrom(model)  # the quantizer moves its argument's weights into a temporary file
    with tempfile.TemporaryDirectory(prefix="cxr-edge-") as folder, _quiet():
        target = Path(folder) / "quantized.onnx"
        try:
            quantize_static(
                given,
                target,
                _reader(model.graph.input[0].name, images, progress),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=OPERATORS,
                per_channel=True,
                reduce_range=plan.reduce_range,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=sorted({*tail_nodes(model.graph), *plan.float_layers}),
                calibrate_method=method,
                extra_options=options,
            )
        except Exception as error:
            message = f"onnxruntime cannot quantize the graph: {error}"
            raise ModelError(message) from error
        quantized = onnx.load(str(target))
    keep_flat_response(model, quantized, plan)
    return quantized


def _ranges(plan: QuantizationPlan) -> tuple[Any, dict[str, Any]]:
    from onnxruntime.quantization import CalibrationMethod

    match plan.ranges:
        case "minmax":
            return CalibrationMethod.MinMax, {"CalibStridedMinMax": STRIDE}
        case "moving-average":
            return CalibrationMethod.MinMax, {"CalibMovingAverage": True}
        case "percentile":
            return CalibrationMethod.Percentile, {"CalibPercentile": plan.percentile, "CalibStridedMinMax": STRIDE}
        case "entropy":
            return CalibrationMethod.Entropy, {"CalibStridedMinMax": STRIDE}


def _reader(name: str, images: "Sequence[NDArray[Any]]", progress: Callable[[int], None]) -> Any:  # noqa: ANN401
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
            tensor = images[self._next]
            self._next += 1
            progress(self._next)
            return {name: tensor[None]}

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
