"""A tiny, honest network: the brighter an image, the less probable its first label. Needs onnx (the workbench)."""

import base64
import hashlib
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contracts import make_contract
from PIL import Image

from cxr_edge.contract import METADATA_KEY, Contract, Golden, GoldenCase, to_json
from cxr_edge.preprocess import preprocess

FEATURE_GAIN = 0.01  # of each channel's mean gray level around mid-gray
SIZE = 224
GAIN = 0.1  # logits per gray level around mid-gray


def tiny_model(folder: Path, contract: Contract | None = None, **graph: Any) -> Path:
    """Write `tiny.onnx` into `folder`: score = sigmoid(GAIN * (mean gray - 127.5))."""
    onnx = pytest.importorskip("onnx")
    path = folder / "tiny.onnx"
    path.write_bytes(_build(onnx, with_true_golden_case(contract or make_contract()), **graph))
    return path


def with_true_golden_case(contract: Contract) -> Contract:
    """The contract with one golden case that the tiny network really answers so; others if its size is another."""
    gray = np.tile(np.linspace(60, 190, SIZE).astype(np.uint8), (SIZE, 1))
    png = io.BytesIO()
    Image.fromarray(gray).save(png, "PNG")
    answer = _tiny_answer(gray, len(contract.labels))
    tensors = [preprocess(gray, member) for member in contract.members]
    case = GoldenCase(
        name="ramp",
        png=base64.b64encode(png.getvalue()).decode(),
        tensor_sha256=tuple(hashlib.sha256(tensor.tobytes()).hexdigest() for tensor in tensors),
        reference=answer,
        exported=answer,
    )
    return replace(contract, golden=Golden(tolerance=0.001, cases=(case,)))


def tiny_score(pixels: "np.ndarray[Any, np.dtype[np.uint8]]") -> float:
    """What the tiny network answers for an image that is 224 x 224 already."""
    return float(1 / (1 + np.exp(-GAIN * (pixels.mean() - 127.5))))


def _tiny_answer(pixels: "np.ndarray[Any, np.dtype[np.uint8]]", labels: int) -> tuple[float, ...]:
    """Probability of each label; all but the first share alike."""
    bright = GAIN / 2 * (pixels.mean() - 127.5)
    odds = np.exp(np.array([-bright] + [bright] * (labels - 1)))
    return tuple((odds / odds.sum()).tolist())


def without_activation_map(contract: Contract) -> Contract:
    """The contract of a network without a class activation map."""
    return replace(contract, outputs=replace(contract.outputs, activation_map=None))


def _build(
    onnx: Any,
    contract: Contract,
    *,
    channels: int = 3,
    classes: int | None = None,
    constant: tuple[float, ...] | None = None,
) -> bytes:
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    classes = classes or len(contract.labels)
    kernel = np.zeros((classes, channels, 1, 1), np.float32)
    kernel[0], kernel[1:] = -GAIN / 2 / channels, GAIN / 2 / channels
    bias = (-kernel.sum(axis=(1, 2, 3)) * 127.5).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["nchw"], perm=[0, 3, 1, 2]),
        helper.make_node("AveragePool", ["nchw"], ["blocks"], kernel_shape=[32, 32], strides=[32, 32]),
        helper.make_node("Conv", ["blocks", "kernel", "bias"], ["maps"]),
        helper.make_node("Transpose", ["maps"], ["activation_map"], perm=[0, 2, 3, 1]),
        helper.make_node("GlobalAveragePool", ["maps"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["softmax"], axis=1),
    ]
    initializers = [numpy_helper.from_array(kernel, "kernel"), numpy_helper.from_array(bias, "bias")]
    if constant is None:
        nodes.append(helper.make_node("Identity", ["softmax"], ["probabilities"]))
    else:  # a network that went wrong
        initializers.append(numpy_helper.from_array(np.array([constant], np.float32), "constant"))
        initializers.append(numpy_helper.from_array(np.zeros(1, np.float32), "nothing"))
        nodes.append(helper.make_node("Mul", ["softmax", "nothing"], ["none"]))
        nodes.append(helper.make_node("Add", ["none", "constant"], ["probabilities"]))
    shape, kinds = ["N", SIZE, SIZE, channels], onnx.TensorProto
    outputs = [helper.make_tensor_value_info("probabilities", kinds.FLOAT, [None, classes])]
    if contract.outputs.activation_map:
        outputs.append(helper.make_tensor_value_info("activation_map", kinds.FLOAT, ["N", 7, 7, classes]))
    if contract.outputs.features:
        initializers += [
            numpy_helper.from_array(np.array(value, np.float32), name)
            for name, value in (("gray", 127.5), ("gain", FEATURE_GAIN))
        ]
        nodes += [
            helper.make_node("GlobalAveragePool", ["nchw"], ["mean"]),
            helper.make_node("Flatten", ["mean"], ["flat"]),
            helper.make_node("Sub", ["flat", "gray"], ["centred"]),
            helper.make_node("Mul", ["centred", "gain"], ["features"]),
        ]
        outputs.append(helper.make_tensor_value_info("features", kinds.FLOAT, ["N", channels]))
    image = helper.make_tensor_value_info("image", kinds.UINT8, shape)
    graph = helper.make_graph(nodes, "tiny", [image], outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {METADATA_KEY: to_json(contract)})
    return bytes(model.SerializeToString())
