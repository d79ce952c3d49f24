"""Initial weights from a file: a file of weights, or the layers of a network that was trained before."""

import hashlib
from collections.abc import Iterable, Iterator
from itertools import chain, repeat
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Any, Final

from cxr_edge.errors import ModelError
from cxr_edge_export.keras_safety import keras_archive_config, refuse_code
from cxr_edge_export.training.backend import keras_module

if TYPE_CHECKING:
    from cxr_edge_export.training.network import Built

NAMED: Final = ("random", "imagenet")


def describe_weights(weights: str, folder: Path) -> str:
    """For records: `random`, `imagenet`, or the SHA-256 of a file.

    Raises:
        ModelError: the file cannot be read.
    """
    if weights in NAMED:
        return weights
    try:
        with (folder / weights).open("rb") as stream:
            return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"
    except OSError as error:
        message = f"the weights {folder / weights} cannot be read: {error.strerror}"
        raise ModelError(message) from None


def name_of_weights(weights: str) -> str:
    """`random`, `imagenet`, or the name of a file without its folders, whichever system wrote the path."""
    return PureWindowsPath(weights).name


def load_weights(built: "Built", file: Path) -> None:
    """Load a file of weights into the backbone, or into all of a network without one.

    A `.keras` file is a network trained before. Its layers are taken in order, as the names of many count from the
    start of a process: all of the backbone's (without one, all), then those behind it while their shapes are the same.

    Raises:
        ModelError: the file cannot be read, holds code, or does not fit.
    """
    if file.suffix == ".keras":
        _take_layers(built, _trained_layers(file), file)
        return
    try:
        (built.extractor or built.model).load_weights(file)
    except Exception as error:
        # Keras and h5py raise whatever they meet
        message = f"the weights {file} cannot be read: {_first_line(error)}"
        raise ModelError(message) from error


def _trained_layers(file: Path) -> list[list[Any]]:
    """Weights of each layer that has some, in order."""
    refuse_code(keras_archive_config(file)[0])
    try:
        model = keras_module().saving.load_model(file, compile=False, safe_mode=True)
    except Exception as error:
        # Keras raises whatever its layers raise
        message = f"the weights {file} cannot be read: {_first_line(error)}"
        raise ModelError(message) from error
    return [layer.get_weights() for layer in _flat(model.layers) if layer.weights]


def _flat(layers: Iterable[Any]) -> Iterator[Any]:
    for layer in layers:
        if hasattr(layer, "layers"):  # a backbone that was used as one layer; ConvNeXt's own sequences
            yield from _flat(layer.layers)
        else:
            yield layer


def _take_layers(built: "Built", trained: list[list[Any]], file: Path) -> None:
    layers = [layer for layer in _flat(built.model.layers) if layer.weights]
    needed = {id(layer) for layer in _flat(built.backbone or layers)}
    for layer, values in zip(layers, chain(trained, repeat([])), strict=False):
        need, found = [tuple(weight.shape) for weight in layer.weights], [value.shape for value in values]
        if found == need:
            layer.set_weights(values)
        elif id(layer) in needed:
            message = f"the weights {file} do not fit layer {layer.name}: found shapes {found}, need {need}"
            raise ModelError(message)
        else:
            return


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
