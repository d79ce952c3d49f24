"""Refusing Keras files that hold code, by reading their description alone: nothing of the model is built or run.

Keras' own `safe_mode` had holes (CVE-2024-3660, CVE-2025-1550, CVE-2025-9905: legacy `.h5` ignored it), so this comes
first and trusts nothing but JSON.
"""

import json
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cxr_edge.errors import ModelError
from cxr_edge_export.keras_classes import is_known

# known to be stored code, or a path that would be read or fetched: these are told so, others are merely unknown
CODE = frozenset(
    {
        "FlaxLayer",
        "JaxLayer",
        "Lambda",
        "SlicingOpLambda",
        "TFOpLambda",
        "TFSMLayer",
        "TorchModuleWrapper",
        "__lambda__",
        "function",
        "__numpy_pickle__",
    }
)
LONGEST_NAME = 60  # shown of one that the file may have made up
# a Keras 3 file names the module of every object; others than these would be imported
SAFE_MODULES = ("keras", "tf_keras")
MAX_CONFIG_BYTES = 64 << 20
MEMBERS = frozenset({"assets/", "config.json", "metadata.json", "model.weights.h5"})
MAX_INFLATION = 10
# NotImplementedError: a compression zipfile does not know; RuntimeError: encrypted, or nested without end; TypeError:
# JSON from no text
_UNREADABLE = (OSError, KeyError, ValueError, TypeError, RuntimeError, EOFError, zipfile.BadZipFile, zlib.error)


def keras_archive_config(path: Path) -> tuple[dict[str, Any], str]:
    """The model description and the Keras version of a `.keras` file.

    Raises:
        ModelError: not such a file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _refuse_strange_members(archive)
            config = _read_json(archive, "config.json")
            metadata = _read_json(archive, "metadata.json")
    except _UNREADABLE as error:
        message = f"{path} is not a Keras file: {type(error).__name__}: {error}"
        raise ModelError(message) from None
    return config, str(metadata.get("keras_version", ""))


def hdf5_config(path: Path) -> tuple[dict[str, Any], str]:
    """The model description and the Keras version of an `.h5` file.

    Raises:
        ModelError: not such a file, or one with weights alone.
    """
    import h5py  # type: ignore[import-untyped]

    try:
        with h5py.File(path, "r") as file:
            text = file.attrs.get("model_config")
            version = file.attrs.get("keras_version", "")
            config = json.loads(text) if text is not None else None
    except _UNREADABLE as error:
        message = f"{path} is not a Keras file: {type(error).__name__}: {error}"
        raise ModelError(message) from None
    if not isinstance(config, dict):
        message = f"{path} holds weights without the model; save the whole model"
        raise ModelError(message)
    return config, version.decode() if isinstance(version, bytes) else str(version)


def refuse_code(config: dict[str, Any]) -> None:
    """Refuse a model description that names anything but classes of Keras that networks for images are made of.

    Args:
        config: parsed JSON of the model.

    Raises:
        ModelError: naming the first such layer.
    """
    # compile_config (losses, metrics) is never loaded
    loaded = {k: v for k, v in config.items() if k != "compile_config"}
    for node in _objects(loaded):
        if (refusal := _refusal(node)) is not None:
            raise ModelError(refusal)


def _refusal(node: dict[str, Any]) -> str | None:
    class_name, module, registered = node["class_name"], node.get("module"), node.get("registered_name")
    if not isinstance(class_name, str) or not isinstance(module, str | None):
        return "the model names a layer's class by something that is no text; it is not loaded"
    shown = class_name[:LONGEST_NAME]
    if class_name in CODE:
        return (
            f"the model holds a {shown} layer, which is stored code or reads other files; it is not loaded. "
            "Replace it by built-in Keras layers and save the model again"
        )
    if module is not None and module.split(".")[0] not in SAFE_MODULES:
        return f"the model needs {shown} from module {module[:LONGEST_NAME]}; only built-in Keras layers are loaded"
    if not is_known(class_name, module) or registered not in (None, class_name):
        name = shown if registered in (None, class_name) else f"{shown}, registered as {str(registered)[:LONGEST_NAME]}"
        return f"the model holds {name}, none of the classes of Keras that networks for images are made of; not loaded"
    return None


def _objects(config: object) -> Iterator[dict[str, Any]]:
    # a list instead of recursion: a hostile file may nest without end
    waiting = [config]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            if "class_name" in item:
                yield item
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)


def _refuse_strange_members(archive: zipfile.ZipFile) -> None:
    for member in archive.infolist():
        if member.filename not in MEMBERS and not _is_asset(member.filename):
            message = f"it holds {member.filename!r}, which Keras does not write"
            raise ValueError(message)
        if member.file_size > MAX_CONFIG_BYTES + MAX_INFLATION * member.compress_size:  # Keras stores them as they are
            message = f"{member.filename} would inflate from {member.compress_size} to {member.file_size} bytes"
            raise ValueError(message)


def _is_asset(name: str) -> bool:
    return name.startswith("assets/") and ".." not in name.replace("\\", "/").split("/")


def _read_json(archive: zipfile.ZipFile, name: str) -> dict[str, Any]:
    if archive.getinfo(name).file_size > MAX_CONFIG_BYTES:
        message = f"{name} is larger than {MAX_CONFIG_BYTES} bytes"
        raise ValueError(message)
    parsed = json.loads(archive.read(name))
    if not isinstance(parsed, dict):
        message = f"{name} holds no object"
        raise ValueError(message)  # noqa: TRY004 - the file's fault, as every other way in which it is malformed
    return parsed
