"""Loading a TensorFlow SavedModel folder: its `serving_default` signature, after looking at what its graph would do."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cxr_edge.errors import ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cxr_edge_export.keras_model import SourceModel

# operations that run Python, or read and write files or sockets
UNSAFE_OPERATIONS = frozenset(
    {
        "EagerPyFunc",
        "PyFunc",
        "PyFuncStateless",
        "ReadFile",
        "WriteFile",
        "MatchingFiles",
        "PrintV2",
        "Save",
        "SaveSlices",
        "TextFileReaderV2",
        "FixedLengthRecordReaderV2",
        "TFRecordReaderV2",
        "WholeFileReaderV2",
        "LMDBReader",
        "TextLineDataset",
        "TFRecordDataset",
        "FixedLengthRecordDatasetV2",
        "InitializeTableFromTextFileV2",
        "RpcCall",
        "DataServiceDatasetV4",
        "DebugIdentityV2",
        "DebugIdentityV3",
        "WriteSummary",
        "CreateSummaryFileWriter",
        "XlaLaunchV2",
        "LoadLibrary",
    }
)
SAVING_FUNCTION = "__inference__traced_save"
SAVING_OPERATIONS = frozenset({"MergeV2Checkpoints", "SaveV2"})


def load_saved_model(folder: Path, sha256: str) -> "SourceModel":
    """Load a SavedModel that maps one float32 [N, H, W, C] to one [N, K].

    Raises:
        ModelError: not a SavedModel, an unsafe operation in it, or another signature.
    """
    from cxr_edge_export.keras_model import BATCH, SourceModel, tensorflow_module

    tf = tensorflow_module()
    refuse_unsafe_operations(folder)

    try:
        loaded = tf.saved_model.load(str(folder), tags=["serve"])
    except Exception as error:
        message = f"TensorFlow {tf.__version__} cannot read the SavedModel: {error}"
        raise ModelError(message) from error
    signature = loaded.signatures.get("serving_default")
    inputs = signature.structured_input_signature[1] if signature is not None else {}
    if signature is None or len(inputs) != 1 or len(signature.structured_outputs) != 1:
        message = "the SavedModel needs the signature serving_default, with one input and one output"
        raise ModelError(message)
    (input_name,), (output_name,) = inputs, signature.structured_outputs

    def call(tensors: Any) -> Any:  # noqa: ANN401 - TensorFlow's tensors
        return loaded.signatures["serving_default"](**{input_name: tensors})[output_name]  # keeps its variables alive

    def predict(tensors: "NDArray[np.float32]") -> "NDArray[np.float32]":
        parts = [call(tf.constant(tensors[i : i + BATCH])).numpy() for i in range(0, len(tensors), BATCH)]
        return np.asarray(np.concatenate(parts), np.float32)

    def trace(name: str, shape: tuple[int, int, int]) -> Any:  # noqa: ANN401 - an onnx.ModelProto
        from cxr_edge_export.onnx_float import OPSET, tf2onnx_module

        given = [tf.TensorSpec([None, *shape], tf.float32, name=name)]
        return tf2onnx_module().convert.from_function(tf.function(call), input_signature=given, opset=OPSET)[0]

    return SourceModel(
        predict=predict, trace=trace, sha256=sha256, framework=f"SavedModel float32 on TensorFlow {tf.__version__}"
    )


def refuse_unsafe_operations(folder: Path) -> None:
    """Read `saved_model.pb` and refuse operations that run Python or touch files, before TensorFlow runs any of it.

    What Keras 2 wrote beside it (`keras_metadata.pb`, where Lambda layers keep their code) is never read.

    Raises:
        ModelError: not a SavedModel, or naming the operation.
    """
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    description = SavedModel()
    try:
        description.ParseFromString((folder / "saved_model.pb").read_bytes())
    except Exception as error:  # protobuf's DecodeError, whose module moved between versions
        message = f"{folder} is not a SavedModel: {error}"
        raise ModelError(message) from error
    found = sorted(set(_operations(description)) & (UNSAFE_OPERATIONS | SAVING_OPERATIONS))
    if found:
        message = f"the SavedModel holds {', '.join(found)}, which runs code or reads other files; it is not loaded"
        raise ModelError(message)


def _operations(description: Any) -> Iterator[str]:  # noqa: ANN401 - protobuf messages
    """Names of all operations, without those that every SavedModel holds to save its own weights."""
    for graph in description.meta_graphs:
        for node in graph.graph_def.node:
            yield node.op
        functions = graph.graph_def.library.function
        for function in functions:
            saving = function.signature.name.startswith(SAVING_FUNCTION)
            for node in function.node_def:
                yield "PartitionedCall" if saving and node.op in SAVING_OPERATIONS else node.op
                if any(value.func.name.startswith(SAVING_FUNCTION) for value in node.attr.values()):
                    yield "SaveV2"  # a function that calls the saving one does write files
