"""Loading a trained Keras model, without running anything that came with it."""

import hashlib
import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cxr_edge.errors import EnvironmentUnusable, ModelError
from cxr_edge_export.keras_safety import hdf5_config, keras_archive_config, refuse_code
from cxr_edge_export.quiet import without_banner
from cxr_edge_export.training.backend import Backend, keras_module
from cxr_edge_export.training.run_folder import MODEL

if TYPE_CHECKING:
    from numpy.typing import NDArray

BATCH = 16


@dataclass(frozen=True, slots=True)
class SourceModel:
    """A trained classifier.

    Attributes:
        predict: float32 [N, H, W, C], normalized -> float32 [N, K], as the network gives it.
        trace: the TensorFlow function and its frozen signature, for tf2onnx: (input name, H, W, C) -> ModelProto bytes;
            of a network on the backend TensorFlow.
        sha256: of the file; of a folder, over the sorted relative paths and contents of its files.
        framework: what computes `predict`, for the certificate.
    """

    predict: "Callable[[NDArray[np.float32]], NDArray[np.float32]]"
    trace: Callable[[str, tuple[int, int, int]], Any]
    sha256: str
    framework: str


def load_model(path: Path, backend: Backend | None = "tensorflow") -> SourceModel:
    """Load a `.keras` or `.h5` file, or a SavedModel folder, of Keras 3 or Keras 2.

    Args:
        path: of the file or folder.
        backend: that Keras 3 computes on; None: the environment's, else TensorFlow. Only TensorFlow can be traced.

    Raises:
        ModelError: not a model, code inside it, or Keras cannot read it.
        UsageError: Keras runs on another backend already.
        EnvironmentUnusable: the backend is not installed, or the file was saved by Keras 2 and needs tf_keras, which
            is not.
    """
    if (path / MODEL).is_file():
        message = f"{path} is the folder of a training run: give {path / MODEL}"
        raise ModelError(message)
    if path.is_dir():
        from cxr_edge_export.saved_model import load_saved_model

        return load_saved_model(path, _sha256(path))
    if not path.is_file():
        message = f"there is no model {path}"
        raise ModelError(message)
    archive = path.suffix == ".keras"
    config, version = keras_archive_config(path) if archive else hdf5_config(path)
    refuse_code(config)
    return _from_keras(_load_keras(path, version, backend), _sha256(path))


def _load_keras(path: Path, version: str, backend: Backend | None) -> Any:  # noqa: ANN401 - of Keras 3 or tf_keras
    """Keras 3 first; what Keras 2 saved and Keras 3 cannot read goes to tf_keras."""
    keras = keras_module(backend)
    if keras.backend.backend() == "tensorflow":
        tensorflow_module()  # without its advice
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        # Keras raises whatever its layers raise
        if not version.startswith(("1.", "2.")):
            message = f"Keras {keras.__version__} cannot read the model: {_first_line(error)}"
            raise ModelError(message) from error
    if importlib.util.find_spec("tf_keras") is None:
        message = f"the model was saved by Keras {version} and needs tf_keras: pip install --no-deps 'tf-keras~=2.21.0'"
        raise EnvironmentUnusable(message)
    import tf_keras

    try:
        return tf_keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        message = f"tf_keras {tf_keras.__version__} cannot read the model: {_first_line(error)}"
        raise ModelError(message) from error


def _from_keras(model: Any, sha256: str) -> SourceModel:  # noqa: ANN401 - as _load_keras
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        message = f"the model has {len(model.inputs)} inputs and {len(model.outputs)} outputs; need one of each"
        raise ModelError(message)

    def predict(tensors: "NDArray[np.float32]") -> "NDArray[np.float32]":
        # `predict` makes a data set and its iterator, whatever the number of images
        parts = [tensors[start : start + BATCH] for start in range(0, len(tensors), BATCH)]
        return np.concatenate([np.asarray(model.predict_on_batch(part), np.float32) for part in parts])

    def trace(name: str, shape: tuple[int, int, int]) -> Any:  # noqa: ANN401 - an onnx.ModelProto
        from cxr_edge_export.onnx_float import OPSET, tf2onnx_module

        tf = tensorflow_module()
        signature = [tf.TensorSpec([None, *shape], tf.float32, name=name)]
        return tf2onnx_module().convert.from_keras(model, input_signature=signature, opset=OPSET)[0]

    package = type(model).__module__.split(".")[0]
    version = importlib.import_module(package).__version__
    on = "tensorflow" if package == "tf_keras" else importlib.import_module("keras").backend.backend()
    names = {"tensorflow": "TensorFlow", "torch": "PyTorch", "jax": "JAX"}
    return SourceModel(
        predict=predict,
        trace=trace,
        sha256=sha256,
        framework=f"{package} {version} float32 on {names.get(on, on)} {importlib.import_module(on).__version__}",
    )


def tensorflow_module() -> Any:  # noqa: ANN401 - TensorFlow has no types
    """TensorFlow, imported without its banner and without its advice on tracing."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with without_banner("tensorflow"):
        import tensorflow as tf
    tf.get_logger().setLevel("ERROR")
    return tf


def _sha256(path: Path) -> str:
    if path.is_file():
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    digest = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        digest.update(file.relative_to(path).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
