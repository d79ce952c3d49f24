"""What may be loaded, and what is refused before anything of it runs."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="needs the workbench: pip install ./export")

from cxr_edge.errors import EnvironmentUnusable, ModelError
from cxr_edge_export.keras_model import load_model
from cxr_edge_export.keras_safety import refuse_code


def with_lambda(keras: Any, marker: Path) -> Any:
    """A network whose Lambda layer would leave a file behind if it ran."""
    image = keras.Input((8, 8, 3))
    target = str(marker)

    def leave_a_trace(x: Any) -> Any:
        from pathlib import Path as Inner

        Inner(target).write_text("ran", encoding="utf-8")
        return x

    x = keras.layers.Lambda(leave_a_trace, output_shape=(8, 8, 3))(image)
    return keras.Model(image, keras.layers.Dense(2, "softmax")(keras.layers.Flatten()(x)))


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_lambda_is_refused_without_running_it(keras: Any, tmp_path: Path, suffix: str) -> None:
    marker = tmp_path / "ran"
    path = tmp_path / f"evil{suffix}"
    with_lambda(keras, marker).save(path)
    marker.unlink(missing_ok=True)  # building it may have run it
    with pytest.raises(ModelError, match="Lambda layer"):
        load_model(path)
    assert not marker.exists()


def test_foreign_module_is_refused(trained: Any, tmp_path: Path) -> None:
    path, evil = tmp_path / "a.keras", tmp_path / "evil.keras"
    trained.save(path)
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(evil, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name == "config.json":
                config = json.loads(content)
                config["config"]["layers"][1]["module"] = "subprocess"
                content = json.dumps(config).encode()
            target.writestr(name, content)
    with pytest.raises(ModelError, match="module subprocess"):
        load_model(evil)


def test_nesting_without_end_is_no_recursion() -> None:
    config: dict[str, Any] = {"class_name": "Lambda"}
    for _ in range(50_000):
        config = {"config": [config]}
    with pytest.raises(ModelError, match="Lambda"):
        refuse_code(config)


@pytest.mark.parametrize(
    "node",
    [
        {"class_name": "ClassMethod", "config": {"cls_symbol": "io.gfile.copy", "method_name": "__call__"}},
        {"class_name": "InstanceMethod", "config": {}},
        {"class_name": "layers.Lambda", "module": "keras"},
        {"class_name": "layers.TFSMLayer", "module": "keras", "config": {"filepath": "x"}},
        {"class_name": "tf_op_layer.TFOpLambda", "module": "tf_keras.src.layers.core"},
        {"class_name": "Dense", "registered_name": "Lambda", "module": "keras.layers"},
        {"class_name": "Dense", "module": "builtins"},
        {"class_name": "function", "module": "builtins", "config": "eval"},
        {"class_name": "Map", "module": "keras.src.ops.core"},
        {"class_name": "np.load", "module": "keras.src.ops.numpy"},
        {"class_name": "__typespec__", "module": "os", "spec_name": "system"},
        {"class_name": "TextVectorization", "module": "keras.layers", "config": {"vocabulary": "/etc/passwd"}},
        {"class_name": "Dense", "module": ["keras"]},
        {"class_name": "x" * 10_000},
    ],
    ids=lambda node: str(node["class_name"])[:20],
)
def test_only_what_networks_are_made_of_is_built(node: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match=r"^[^\n]{1,300}$"):
        refuse_code({"class_name": "Sequential", "config": {"layers": [node]}})


def test_a_function_called_by_its_name_is_refused_without_calling_it(tmp_path: Path) -> None:
    """As tf_keras' `ClassMethod`, while it builds the graph again, calls any function of TensorFlow."""
    import h5py  # type: ignore[import-untyped]

    source, target, path = tmp_path / "source", tmp_path / "ran", tmp_path / "evil.h5"
    source.touch()
    called = {
        "class_name": "ClassMethod",
        "name": "copy",
        "config": {"name": "copy", "cls_symbol": "io.gfile.copy", "method_name": "__call__"},
        "inbound_nodes": [["_CONSTANT_VALUE", -1, str(source), {"dst": str(target)}]],
    }
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = "2.15.0"
        file.attrs["model_config"] = json.dumps({"class_name": "Functional", "config": {"layers": [called]}})
    with pytest.raises(ModelError, match="ClassMethod"):
        load_model(path)
    assert not target.exists()


def test_what_is_computed_between_layers_is_built(keras: Any, tmp_path: Path) -> None:
    """Operations of Keras 3, a network within a network that was compiled, and layers that augment."""
    image = keras.Input((8, 8, 3))
    x = keras.ops.cast(keras.ops.mean(image * 2.0 + 1.0, axis=-1, keepdims=True)[:, :4], "float32")
    x = keras.layers.Dense(4, kernel_regularizer="l2", activation=keras.layers.LeakyReLU())(keras.ops.relu(x))
    inner = keras.Model(image, keras.layers.Flatten()(x))
    inner.compile("adam", keras.losses.CategoricalCrossentropy(), metrics=[keras.metrics.AUC()])
    network = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.RandomFlip(), inner, keras.layers.Dense(2, "softmax")]
    )
    network.save(tmp_path / "a.keras")
    pixels = np.zeros((1, 8, 8, 3), np.float32)
    found = load_model(tmp_path / "a.keras").predict(pixels)
    np.testing.assert_allclose(found, network.predict(pixels, verbose=0), atol=1e-6)


@pytest.mark.parametrize("name", ["absent.keras", "broken.keras", "broken.h5"])
def test_no_model(tmp_path: Path, name: str) -> None:
    if name.startswith("broken"):
        (tmp_path / name).write_bytes(b"not a model")
    with pytest.raises(ModelError):
        load_model(tmp_path / name)


def archive(path: Path, config: bytes, extra: tuple[str, bytes] | None = None) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        if extra is not None:
            made.writestr(*extra)
        made.writestr("config.json", config)
        made.writestr("metadata.json", b"{}")
    return path


def flipped(path: Path, place: bytes, offset: int, byte: int) -> Path:
    """A byte changed after the first occurrence of `place`, or of each where it is a header's."""
    content = bytearray(path.read_bytes())
    at = content.find(place)
    while at >= 0:
        content[at + offset] = byte
        at = content.find(place, at + 1)
    path.write_bytes(content)
    return path


LOCAL, CENTRAL = b"PK\x03\x04", b"PK\x01\x02"


@pytest.mark.parametrize(
    "make",
    [
        lambda path: archive(path, b'{"a": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"),
        lambda path: archive(path, b'{"class_name": ["Lambda"]}'),
        lambda path: archive(path, b'{"class_name": {"class_name": 3}}'),
        lambda path: archive(path, b"{}", extra=("../../evil", b"x")),
        lambda path: archive(path, b"{}", extra=("assets/../../evil", b"x")),
        lambda path: archive(path, b"{}", extra=("model.weights.h5", bytes(200 << 20))),
        lambda path: flipped(archive(path, b"[" * 5000), b"config.json", 12, 0xFF),
        lambda path: flipped(flipped(archive(path, b"{}"), LOCAL, 6, 1), CENTRAL, 8, 1),
        lambda path: flipped(flipped(archive(path, b"{}"), LOCAL, 8, 98), CENTRAL, 10, 98),
    ],
    ids=["nested", "list", "object", "upwards", "asset", "bomb", "damaged", "encrypted", "compression"],
)
def test_a_hostile_archive_is_refused_in_one_line(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    with pytest.raises(ModelError, match=r"^[^\n]+$"):
        load_model(make(tmp_path / "hostile.keras"))


@pytest.mark.parametrize("value", [np.arange(3), None], ids=["array", "empty"])
def test_a_hostile_hdf5_file_is_refused_in_one_line(tmp_path: Path, value: Any) -> None:
    import h5py

    with h5py.File(tmp_path / "hostile.h5", "w") as made:
        made.attrs["model_config"] = h5py.Empty("S10") if value is None else value
    with pytest.raises(ModelError, match=r"^[^\n]+$"):
        load_model(tmp_path / "hostile.h5")


def as_if_saved_by_keras_2(source: Path, target: Path) -> None:
    """A copy that says it is of Keras 2 and holds a layer configuration that Keras 3 cannot read."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "metadata.json":
                content = json.dumps({"keras_version": "2.15.0"}).encode()
            if name == "config.json":
                content = content.replace(b'"momentum"', b'"momentum_of_keras_2"')
            new.writestr(name, content)


def test_keras_2_file_asks_for_tf_keras(trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained.save(tmp_path / "a.keras")
    as_if_saved_by_keras_2(tmp_path / "a.keras", tmp_path / "old.keras")
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(EnvironmentUnusable, match=r"saved by Keras 2\.15\.0 and needs tf_keras"):
        load_model(tmp_path / "old.keras")


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_keras_2_file_loads_in_tf_keras(tmp_path: Path, suffix: str) -> None:
    tf_keras = pytest.importorskip("tf_keras", reason="needs tf_keras: pip install --no-deps 'tf-keras~=2.21.0'")
    base = tf_keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(32, 32, 3), alpha=0.35)
    head = [tf_keras.layers.GlobalAveragePooling2D(), tf_keras.layers.Dense(2, activation="softmax")]
    network = tf_keras.Sequential([base, *head])
    path = tmp_path / f"old{suffix}"
    network.save(path)
    source = load_model(path)
    image = np.random.Generator(np.random.PCG64(2)).normal(size=(2, 32, 32, 3)).astype(np.float32)
    np.testing.assert_allclose(source.predict(image), network.predict(image, verbose=0), atol=1e-6)
    assert source.framework.startswith("tf_keras")
    assert source.trace("image", (32, 32, 3)).graph.input[0].name == "image"


def test_the_folder_of_a_run_is_told_from_a_saved_model(tmp_path: Path) -> None:
    (tmp_path / "model.keras").touch()
    with pytest.raises(ModelError, match=r"the folder of a training run: give .*model\.keras"):
        load_model(tmp_path)
