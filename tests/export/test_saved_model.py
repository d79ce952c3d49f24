"""What a SavedModel may hold: operations of inference, and those with which it saves and restores itself."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="needs the workbench: pip install ./export")

from cxr_edge.errors import ModelError
from cxr_edge_export.keras_model import load_model
from cxr_edge_export.saved_model import INFERENCE_OPERATIONS, refuse_unsafe_operations


def test_saved_model(trained: Any, tmp_path: Path) -> None:
    trained.export(tmp_path / "saved", verbose=False)
    image = np.random.Generator(np.random.PCG64(2)).normal(size=(3, 48, 48, 3)).astype(np.float32)
    source = load_model(tmp_path / "saved")
    np.testing.assert_allclose(source.predict(image), trained.predict(image, verbose=0), atol=1e-5)
    assert source.trace("image", (48, 48, 3)).graph.input[0].name == "image"


def restored(file: Path) -> Any:
    import tensorflow as tf

    return tf.raw_ops.RestoreV2(prefix=str(file), tensor_names=["x"], shape_and_slices=[""], dtypes=[tf.float32])


def recorded(file: Path) -> Any:
    import tensorflow as tf

    return tf.data.TFRecordDataset(str(file)).reduce(tf.constant(""), lambda _, record: record)


def debugged(file: Path) -> Any:
    import tensorflow as tf

    return tf.raw_ops.DebugIdentityV3(input=tf.zeros(2), tensor_name="x", debug_urls=[file.as_uri()])


def tabled(file: Path) -> Any:
    import tensorflow as tf

    table = tf.raw_ops.HashTableV2(key_dtype=tf.string, value_dtype=tf.int64)
    return tf.raw_ops.InitializeTableFromTextFileV2(
        table_handle=table, filename=str(file), key_index=-2, value_index=-1
    )


FORBIDDEN: dict[str, Callable[[Any, Path], Any]] = {
    "ReadFile": lambda tf, file: tf.io.read_file(str(file)),
    "WriteFile": lambda tf, file: tf.io.write_file(str(file), "x"),
    "PrintV2": lambda tf, file: tf.print("x", output_stream=file.as_uri()),
    "SaveDataset": lambda tf, file: tf.data.Dataset.range(2).save(str(file.with_name("folder"))),
    "TFRecordDataset": lambda _, file: recorded(file),
    "EagerPyFunc": lambda tf, file: tf.py_function(file.exists, [], tf.bool),
    "PyFunc": lambda tf, file: tf.numpy_function(file.exists, [], tf.bool),
    "InitializeTableFromTextFileV2": lambda _, file: tabled(file),
    "DebugIdentityV3": lambda _, file: debugged(file),
    "WholeFileReaderV2": lambda tf, _: tf.raw_ops.WholeFileReaderV2(),
    "ImmutableConst": lambda tf, file: tf.raw_ops.ImmutableConst(
        dtype=tf.float32, shape=[1], memory_region_name=str(file)
    ),
    "RestoreV2": lambda _, file: restored(file),
}


@pytest.mark.parametrize("operation", FORBIDDEN)
def test_a_saved_model_of_more_than_inference_is_refused(tmp_path: Path, operation: str) -> None:
    import tensorflow as tf

    secret = tmp_path / "secret"
    secret.write_text("x\t1\n", encoding="utf-8")

    class Thief(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 3])])  # type: ignore[untyped-decorator]
        def serve(self, x: Any) -> Any:
            FORBIDDEN[operation](tf, secret)
            return tf.zeros((tf.shape(x)[0], 2))

    module = Thief()
    tf.saved_model.save(module, str(tmp_path / "saved"), signatures=module.serve)
    with pytest.raises(ModelError, match=rf"'{operation}'.* not among the operations that inference needs"):
        load_model(tmp_path / "saved")


@pytest.mark.parametrize(
    "name",
    ["MobileNetV3Small", *(pytest.param(name, marks=pytest.mark.slow) for name in ("ConvNeXtTiny", "EfficientNetB0"))],
)
def test_saved_models_of_real_networks_pass(keras: Any, tmp_path: Path, name: str) -> None:
    network = getattr(keras.applications, name)(weights=None, input_shape=(32, 32, 3), classes=2)
    network.export(tmp_path / "saved", verbose=False)
    refuse_unsafe_operations(tmp_path / "saved")


def test_a_saved_model_of_keras_2_passes(tmp_path: Path) -> None:
    """It holds its layers' calls in training, too."""
    tf_keras = pytest.importorskip("tf_keras", reason="needs tf_keras: pip install --no-deps 'tf-keras~=2.21.0'")
    layers = tf_keras.layers
    convolution = [layers.Conv2D(4, 3), layers.BatchNormalization(), layers.Activation("swish"), layers.MaxPooling2D()]
    head = [layers.GlobalAveragePooling2D(), layers.Dropout(0.2), layers.Dense(2, activation="softmax")]
    network = tf_keras.Sequential([layers.Rescaling(1 / 255, input_shape=(16, 16, 3)), *convolution, *head])
    network.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    network.save(tmp_path / "saved", save_format="tf")
    refuse_unsafe_operations(tmp_path / "saved")


def edited(folder: Path, edit: Callable[[Any], None]) -> Path:
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    description = SavedModel()
    description.ParseFromString((folder / "saved_model.pb").read_bytes())
    edit(description.meta_graphs[0])
    (folder / "saved_model.pb").write_bytes(description.SerializeToString())
    return folder


def saving_function(graph: Any, kind: str) -> str:
    names: list[str] = [function.signature.name for function in graph.graph_def.library.function]
    return next(name for name in names if name.startswith(f"__inference__traced_{kind}"))


def called(graph: Any) -> None:
    serving = next(f for f in graph.graph_def.library.function if "signature_wrapper" in f.signature.name)
    node = serving.node_def.add(name="call", op="StatefulPartitionedCall")
    node.attr["f"].func.name = saving_function(graph, "save")


def branched(graph: Any) -> None:
    serving = next(f for f in graph.graph_def.library.function if "signature_wrapper" in f.signature.name)
    node = serving.node_def.add(name="call", op="Case")
    node.attr["branches"].list.func.add(name=saving_function(graph, "restore"))


def exposed(graph: Any) -> None:
    graph.object_graph_def.concrete_functions[saving_function(graph, "save")].bound_inputs.append(0)


def of_version_1(graph: Any) -> None:
    graph.ClearField("object_graph_def")


@pytest.mark.parametrize(
    ("edit", "operation"),
    [(called, "SaveV2"), (branched, "RestoreV2"), (exposed, "SaveV2"), (of_version_1, "SaveV2")],
)
def test_saving_is_for_nothing_that_inference_comes_to(
    trained: Any, tmp_path: Path, edit: Callable[[Any], None], operation: str
) -> None:
    trained.export(tmp_path / "saved", verbose=False)
    with pytest.raises(ModelError, match=f"'{operation}'"):
        load_model(edited(tmp_path / "saved", edit))


def test_names_of_operations_are_shown_escaped_and_not_without_end(trained: Any, tmp_path: Path) -> None:
    def hostile(graph: Any) -> None:
        for number in range(100):
            graph.graph_def.node.add(name=f"evil{number}", op=f"\x1b[1m\n{number:03}" + "x" * 1000)

    trained.export(tmp_path / "saved", verbose=False)
    words = r"^the SavedModel holds '\\x1b\[1m\\n000x[^\n\x1b]{,800} and 92 more, [^\n]+$"
    with pytest.raises(ModelError, match=words):
        load_model(edited(tmp_path / "saved", hostile))


def test_no_allowed_operation_is_of_a_kind_that_touches_files() -> None:
    unsafe = ("PyFunc", "File", "Dataset", "Reader", "Debug", "Summary", "Print", "Send", "Recv", "Table", "Iterator")
    assert not [name for name in INFERENCE_OPERATIONS if any(part in name for part in unsafe)]
