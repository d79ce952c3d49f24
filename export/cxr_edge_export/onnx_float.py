"""Keras -> float ONNX by tf2onnx, and the check that the two still agree."""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from cxr_edge.contract import Member
from cxr_edge.errors import LimitBroken, ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cxr_edge_export.keras_model import SourceModel

OPSET = 17  # 18 turns GlobalAveragePool into ReduceMean with a Transpose, tf2onnx 1.17 does not do 19
CATCH_ERRORS = "TF2ONNX_CATCH_ERRORS"
FLOAT_TOLERANCE = 1e-4  # in probability; float32 in another order of operations gave 3e-6


def tf2onnx_module() -> Any:  # noqa: ANN401 - tf2onnx has no types
    """tf2onnx, imported quietly."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy aliases that it still tries; nothing a user could change
        import tf2onnx
        import tf2onnx.convert
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    return tf2onnx


def to_float_onnx(source: "SourceModel", member: Member) -> Any:  # noqa: ANN401 - an onnx.ModelProto
    """The network alone as ONNX: float32 [N, H, W, C] normalized in, one output of [N, K].

    Raises:
        ModelError: tf2onnx cannot convert it.
    """
    shape = (member.input.height, member.input.width, member.input.channels)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with suppress(Exception), _copies(kept=False):
                return source.trace(member.input.name, shape)
            with _copies(kept=True):
                return source.trace(member.input.name, shape)
    except Exception as error:
        # tf2onnx raises whatever its rewriters raise
        message = f"tf2onnx cannot convert {member.name}: {type(error).__name__}: {error}"
        raise ModelError(message) from error


@contextmanager
def _copies(*, kept: bool) -> Iterator[None]:
    """tf2onnx copies the graph before each of its optimizers, to leave out one that fails.

    For a ResNet50 the copies were a third of tf2onnx' time (12.5 s of CPU time with them, 8.3 without). tf2onnx 1.17
    asks whether the variable is set, never what it says.
    """
    before = os.environ.pop(CATCH_ERRORS, None)
    if not kept:
        os.environ[CATCH_ERRORS] = "FALSE"
    try:
        yield
    finally:
        os.environ.pop(CATCH_ERRORS, None)
        if before is not None:
            os.environ[CATCH_ERRORS] = before


def keras_probabilities(source: "SourceModel", tensors: "NDArray[Any]", member: Member) -> "NDArray[np.float32]":
    """What the Keras original gives for input tensors as the contract describes them.

    Args:
        source: the original.
        tensors: [N, H, W, C] of the contract's dtype, before normalization.
        member: the contract's normalization.

    Returns:
        float32 [N, labels], summing to 1; a single sigmoid output p becomes (1 - p, p).

    Raises:
        ModelError: the model gives something other than probabilities.
    """
    mean = np.asarray(member.normalization.mean, np.float32)
    scale = np.asarray(member.normalization.scale, np.float32)
    raw = source.predict((tensors.astype(np.float32) - mean) / scale)
    probabilities = np.concatenate([1 - raw, raw], axis=1) if raw.shape[1:] == (1,) else raw
    if (probabilities < 0).any() or not np.allclose(probabilities.sum(axis=1), 1, atol=1e-3):
        message = "the model's output is no probability: it must end in a softmax, or in one sigmoid"
        raise ModelError(message)
    return probabilities


def check_against_keras(exported: "NDArray[np.float32]", reference: "NDArray[np.float32]") -> None:
    """Refuse a float graph that differs from Keras by more than rounding.

    Raises:
        LimitBroken: with the largest difference in probability.
    """
    largest = float(np.abs(exported - reference).max())
    if not largest <= FLOAT_TOLERANCE:
        message = (
            f"the float ONNX graph differs from Keras by {largest:.2g} in probability; at most {FLOAT_TOLERANCE:g} "
            "is rounding: the conversion changed the network"
        )
        raise LimitBroken(message)
