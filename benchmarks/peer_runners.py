"""The same network in other runtimes, each with the weights of the same Keras file: what `peers.py` compares.

A builder gets `Setting` and returns `Peer`. INT8 peers are quantized by their own tool with the images of the setting.
"""

import contextlib
import importlib
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cxr_edge.engine import Engine
from cxr_edge.modelfile import read_model

MEAN_BGR: Final = np.array([103.939, 116.779, 123.68], np.float32)  # Keras `caffe`, subtracted
Tensor = NDArray[Any]


@dataclass(frozen=True)
class Setting:
    """Where the weights are, and what a peer may use.

    Attributes:
        keras: the trained model.
        float_file: the float ONNX made of it.
        calibration: uint8 [N, height, width], for peers that quantize.
        threads: that each peer is told to take.
    """

    keras: Path
    float_file: Path
    calibration: NDArray[np.uint8]
    threads: int


@dataclass(frozen=True)
class Peer:
    """One runtime, ready.

    Attributes:
        prepare: uint8 [N, height, width] -> the tensor it wants; not timed.
        run: that tensor -> probabilities [N, 2]; timed.
    """

    prepare: Callable[[NDArray[np.uint8]], Tensor]
    run: Callable[[Tensor], Tensor]


def bytes_rgb(gray: NDArray[np.uint8]) -> Tensor:
    """uint8 [N, height, width, 3]: what graphs with the normalization folded in want."""
    return np.repeat(gray[..., np.newaxis], 3, axis=3)


def caffe(gray: NDArray[np.uint8]) -> Tensor:
    """float32 [N, height, width, 3], as the network was trained."""
    return np.asarray(bytes_rgb(gray).astype(np.float32) - MEAN_BGR)


def package(setting: Setting) -> Peer:
    """The released INT8 file as the runtime runs it: all outputs, threads that never spin."""
    engine = Engine(read_model().content, provider="cpu", threads=setting.threads)
    wanted = ("probabilities", "activation_map", "features")
    names = tuple(name for name in wanted if name in engine.outputs)
    return Peer(bytes_rgb, lambda tensor: engine.run({"image": tensor}, names)[0])


def package_spinning(setting: Setting) -> Peer:
    """The released INT8 file in a plain onnxruntime session, whose threads spin while they wait."""
    return _onnxruntime(read_model().content, setting.threads)


def onnx_float(setting: Setting) -> Peer:
    """The float ONNX file in a plain onnxruntime session."""
    return _onnxruntime(setting.float_file.read_bytes(), setting.threads)


def _onnxruntime(model: bytes, threads: int) -> Peer:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return Peer(bytes_rgb, lambda tensor: np.asarray(session.run(["probabilities"], {"image": tensor})[0]))


def keras_predict(setting: Setting) -> Peer:
    """`model.predict`."""
    _, model = _keras(setting)
    return Peer(caffe, lambda tensor: np.asarray(model.predict(tensor, batch_size=len(tensor), verbose=0)))


def tf_function(setting: Setting) -> Peer:
    """The model as a tf.function."""
    tf, model = _keras(setting)
    graph = tf.function(lambda tensor: model(tensor, training=False))
    return Peer(caffe, lambda tensor: np.asarray(graph(tf.constant(tensor))))


def _keras(setting: Setting) -> tuple[Any, Any]:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    tf, keras = importlib.import_module("tensorflow"), importlib.import_module("keras")
    tf.config.threading.set_intra_op_parallelism_threads(setting.threads)
    return tf, keras.saving.load_model(setting.keras, compile=False, safe_mode=True)


def tflite_int8(setting: Setting) -> Peer:
    """TensorFlow Lite with XNNPACK, full-integer quantization per channel, float in and out."""
    tf, model = _keras(setting)
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([image[np.newaxis]] for image in caffe(setting.calibration))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    content = converter.convert()

    def interpreter(batch: int) -> Any:  # noqa: ANN401 - TensorFlow has no types
        made = tf.lite.Interpreter(model_content=content, num_threads=setting.threads)
        made.resize_tensor_input(made.get_input_details()[0]["index"], (batch, *setting.calibration.shape[1:], 3))
        made.allocate_tensors()
        return made

    by_batch: dict[int, Any] = {}

    def run(tensor: Tensor) -> Tensor:
        if len(tensor) not in by_batch:
            by_batch[len(tensor)] = interpreter(len(tensor))
        found = by_batch[len(tensor)]
        found.set_tensor(found.get_input_details()[0]["index"], tensor)
        found.invoke()
        return np.asarray(found.get_tensor(found.get_output_details()[0]["index"]))

    return Peer(caffe, run)


def openvino_int8(setting: Setting) -> Peer:
    """OpenVINO, quantized by nncf with its defaults, latency hint."""
    os.environ.setdefault("NNCF_DISABLE_TELEMETRY", "1")
    ov, nncf = importlib.import_module("openvino"), importlib.import_module("nncf")
    core = ov.Core()
    with _without_other_outputs(setting.float_file) as file:
        model = core.read_model(str(file))
    images = nncf.Dataset([image[np.newaxis] for image in bytes_rgb(setting.calibration)])
    quantized = nncf.quantize(model, images, subset_size=len(setting.calibration))
    return _openvino(core, quantized, setting.threads)


def openvino_float(setting: Setting) -> Peer:
    """OpenVINO on the float ONNX file, latency hint; on this CPU family it computes in float32."""
    core = importlib.import_module("openvino").Core()
    with _without_other_outputs(setting.float_file) as file:
        return _openvino(core, core.read_model(str(file)), setting.threads)


def _openvino(core: Any, model: Any, threads: int) -> Peer:  # noqa: ANN401 - OpenVINO's own types
    options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
    compiled = core.compile_model(model, "CPU", options)
    request = compiled.create_infer_request()
    return Peer(bytes_rgb, lambda tensor: np.array(request.infer({0: tensor})[compiled.output(0)]))


@contextlib.contextmanager
def _without_other_outputs(file: Path) -> Iterator[Path]:
    """The graph with its probabilities alone."""
    import onnx

    model = onnx.load(str(file))
    for output in [one for one in model.graph.output if one.name != "probabilities"]:
        model.graph.output.remove(output)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "model.onnx"
        onnx.save(model, str(target))
        yield target


def torch_float(setting: Setting) -> Peer:
    """The nodes of the float ONNX file, one by one, as eager torch operators, channels last: batch norm is folded."""
    import onnx

    torch = importlib.import_module("torch")
    torch.set_num_threads(setting.threads)
    graph = onnx.load(str(setting.float_file)).graph
    weights = {one.name: torch.from_numpy(np.array(onnx.numpy_helper.to_array(one))) for one in graph.initializer}
    for name, weight in weights.items():
        if weight.ndim == 4:
            weights[name] = weight.contiguous(memory_format=torch.channels_last)
    operators = _torch_operators(torch)
    nodes = []
    for node in _leading_to(graph, "probabilities"):
        attributes = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
        nodes.append((operators[node.op_type], tuple(node.input), node.output[0], attributes))

    def run(tensor: Tensor) -> Tensor:
        values = {"image": torch.from_numpy(tensor), **weights}
        with torch.inference_mode():
            for operator, inputs, output, attributes in nodes:
                values[output] = operator([values[name] for name in inputs], attributes)
        return np.asarray(values["probabilities"].numpy())

    return Peer(bytes_rgb, run)


def _leading_to(graph: Any, output: str) -> list[Any]:  # noqa: ANN401 - an onnx.GraphProto
    """The nodes that an output needs, in their order."""
    needed, nodes = {output}, []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            nodes.append(node)
    return nodes[::-1]


def _torch_operators(torch: Any) -> dict[str, Callable[[list[Any], dict[str, Any]], Any]]:  # noqa: ANN401
    """As far as this network needs them, each with the attributes that tf2onnx gives it."""
    functional = torch.nn.functional

    def convolution(x: list[Any], a: dict[str, Any]) -> Any:  # noqa: ANN401
        pads = a.get("pads", [0, 0, 0, 0])
        return functional.conv2d(x[0], x[1], x[2] if len(x) > 2 else None, a.get("strides", 1), pads[:2])

    def max_pool(x: list[Any], a: dict[str, Any]) -> Any:  # noqa: ANN401
        return functional.max_pool2d(x[0], a["kernel_shape"], a["strides"], a.get("pads", [0, 0])[:2])

    def gemm(x: list[Any], a: dict[str, Any]) -> Any:  # noqa: ANN401
        return functional.linear(x[0], x[1] if a["transB"] else x[1].T, x[2])

    return {
        "Cast": lambda x, _: x[0].to(torch.float32),
        "Sub": lambda x, _: x[0] - x[1],
        "Transpose": lambda x, a: x[0].permute(*a["perm"]),
        "Conv": convolution,
        "Relu": lambda x, _: torch.relu_(x[0]),
        "MaxPool": max_pool,
        "Add": lambda x, _: x[0] + x[1],
        "GlobalAveragePool": lambda x, _: x[0].mean((2, 3), keepdim=True),
        "Squeeze": lambda x, _: x[0].flatten(1),
        "Gemm": gemm,
        "Softmax": lambda x, _: torch.softmax(x[0], -1),
    }


BUILDERS: Final[dict[str, Callable[[Setting], Peer]]] = {
    "this package, INT8": package,
    "the same file, plain onnxruntime": package_spinning,
    "OpenVINO INT8 (nncf)": openvino_int8,
    "TFLite INT8": tflite_int8,
    "ONNX fp32": onnx_float,
    "OpenVINO fp32": openvino_float,
    "torch fp32, eager": torch_float,
    "tf.function": tf_function,
    "Keras predict": keras_predict,
}
