"""What out-of-distribution images are told by: a layer's spatial mean, whitened, as an output of the graph."""

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from cxr_edge.errors import ModelError, UsageError
from cxr_edge_export.graph import NORMALIZATION, TAIL

if TYPE_CHECKING:
    from numpy.typing import NDArray

FEATURES = "features"
CALLS = ("PartitionedCall", "StatefulPartitionedCall")  # before the names of a SavedModel
_POOLED = f"{TAIL}/{FEATURES}/pooled"
_LEAST_DEVIATION = 1e-3  # of the mean deviation: a channel that never changes must not outweigh all others
_LEAST_SPREAD = 1e-9  # of a component, in standard deviations: below it is rounding


@dataclass(frozen=True, slots=True)
class Subspace:
    """Leading principal components of standardized features, whitened: (x - mean) @ projection.

    Attributes:
        mean: float64 [D].
        projection: float64 [D, components].
    """

    mean: "NDArray[np.float64]"
    projection: "NDArray[np.float64]"

    def project(self, features: "NDArray[np.float64]") -> "NDArray[np.float64]":
        """[N, D] -> [N, components], of unit variance on the images that were fitted."""
        projected: NDArray[np.float64] = (features - self.mean) @ self.projection
        return projected


def fit(features: "NDArray[np.float64]", components: int) -> Subspace:
    """The subspace of the training images.

    Args:
        features: [N, D].
        components: how many principal components are kept.

    Raises:
        UsageError: more components than images or features allow.
    """
    images, width = features.shape
    if components >= min(images, width + 1):
        message = f"{components} components need more than {images} images and at least as many of {width} features"
        raise UsageError(message)
    mean, deviation = features.mean(0), features.std(0)
    scale = deviation + _LEAST_DEVIATION * deviation.mean()
    standardized = np.divide(features - mean, scale, out=np.zeros_like(features), where=scale > 0)
    _, singular, axes = np.linalg.svd(standardized, full_matrices=False)
    spread = singular[:components] / np.sqrt(images)
    if spread.min() <= _LEAST_SPREAD * max(1.0, float(spread.max())):
        message = f"the training images span fewer than {components} components"
        raise UsageError(message)
    return Subspace(mean=mean, projection=(axes[:components] / spread[:, None]).T / scale[:, None])


def remove_features(network: onnx.ModelProto) -> None:
    """Take the output `features`, and all that leads to it alone, out of the graph. In place."""
    graph, prefix = network.graph, f"{TAIL}/{FEATURES}"
    for node in [node for node in graph.node if node.name.startswith(prefix)]:
        graph.node.remove(node)
    for constant in [constant for constant in graph.initializer if constant.name.startswith(prefix)]:
        graph.initializer.remove(constant)
    for output in [output for output in graph.output if output.name == FEATURES]:
        graph.output.remove(output)


def add_pooled_layer(network: onnx.ModelProto, layer: str, framework: str) -> None:
    """Make the spatial mean of a layer the output `features` [N, D]. In place.

    Args:
        network: quantized or float; the layer's values are taken as the next layer sees them.
        layer: its Keras name. A convolution that was merged with its batch normalization goes by that one's name.
        framework: of the network, as the certificate's `reference` names it: Keras 3 numbers what it names.

    Raises:
        ModelError: the graph has no such layer, or its output is no feature map.
    """
    graph = network.graph
    tensor, channels = _layer_output(network, layer, framework)
    graph.node.append(helper.make_node("GlobalAveragePool", [tensor], [f"{_POOLED}/map"], name=f"{_POOLED}/map"))
    graph.node.append(helper.make_node("Flatten", [f"{_POOLED}/map"], [_POOLED], name=_POOLED, axis=1))
    graph.node.append(helper.make_node("Identity", [_POOLED], [FEATURES], name=f"{TAIL}/{FEATURES}"))
    graph.output.append(helper.make_tensor_value_info(FEATURES, TensorProto.FLOAT, ["N", channels]))


def add_projection(network: onnx.ModelProto, space: Subspace) -> None:
    """Turn the output `features` of `add_pooled_layer` into its projection [N, components]. In place."""
    graph = network.graph
    last = next(node for node in graph.node if node.name == f"{TAIL}/{FEATURES}")
    graph.node.remove(last)
    mean, projection = f"{TAIL}/{FEATURES}/mean", f"{TAIL}/{FEATURES}/projection"
    graph.initializer.append(numpy_helper.from_array(space.mean.astype(np.float32), mean))
    graph.initializer.append(numpy_helper.from_array(space.projection.astype(np.float32), projection))
    centred = f"{TAIL}/{FEATURES}/centred"
    graph.node.append(helper.make_node("Sub", [_POOLED, mean], [centred], name=centred))
    graph.node.append(helper.make_node("MatMul", [centred, projection], [FEATURES], name=f"{TAIL}/{FEATURES}"))
    output = next(output for output in graph.output if output.name == FEATURES)
    shape = ["N", space.projection.shape[1]]
    output.CopyFrom(helper.make_tensor_value_info(FEATURES, TensorProto.FLOAT, shape))


def _layer_output(network: onnx.ModelProto, layer: str, framework: str) -> tuple[str, int]:
    """(tensor, channels) of a Keras layer's feature map, after its quantization where it has one."""
    found = _feature_maps(network, framework)
    if of_layer := [one for one in found if layer in one.scopes]:
        return of_layer[-1].tensor, of_layer[-1].channels
    message = (
        f"the graph has no feature map of a layer {layer!r} (one that was merged with the next goes by that one's name)"
        f"; it has: {', '.join(dict.fromkeys(one.scopes[0] for one in found)) or 'none'}"
    )
    raise ModelError(message)


@dataclass(frozen=True, slots=True)
class _FeatureMap:
    """A tensor [N, C, H, W], the number of its channels, its Keras layer, and the scopes inside of that."""

    tensor: str
    channels: int
    scopes: tuple[str, ...]


def _feature_maps(network: onnx.ModelProto, framework: str) -> list[_FeatureMap]:
    """Each feature map that is computed, in the order of the graph.

    tf2onnx names a tensor MODEL/LAYER/Relu:0; of Keras 3 each scope has a number behind it, MODEL_1/LAYER_1; of a
    SavedModel calls stand before the model. What tf2onnx puts before a layer, to bring the layer's input into order,
    ends in __NUMBER:0.
    """
    inferred = onnx.shape_inference.infer_shapes(network).graph
    shapes = {value.name: list(value.type.tensor_type.shape.dim) for value in inferred.value_info}
    found, models = [], set[str]()
    for tensor in _computed(network):
        base = tensor.removesuffix("_DequantizeLinear_Output")
        dimensions = shapes.get(base) or shapes.get(tensor) or []
        if len(dimensions) != len("NCHW") or not dimensions[1].dim_value or _only_brings_order(base):
            continue
        model, *scopes = [part for part in base.split("/") if part not in CALLS]
        if len(scopes) > 1 and re.fullmatch(r"[^:]+(:\d+)?", scopes.pop()) and ":" not in "".join(scopes):
            found.append(_FeatureMap(tensor, int(dimensions[1].dim_value), tuple(scopes)))
            models.add(model)
    if not _are_numbered(models | {one.scopes[0] for one in found}, framework):
        return found
    return [replace(one, scopes=tuple(map(_without_number, one.scopes))) for one in found]


def _are_numbered(names: set[str], framework: str) -> bool:
    """Whether each name has a number behind it that is not the layer's own."""
    if framework.startswith(("keras ", "tf_keras ")):
        return framework.startswith("keras ")
    plain = set(map(_without_number, names))
    return len(plain) == len(names) and all(_without_number(name) != name for name in names)


def _without_number(name: str) -> str:
    return re.sub(r"_\d+$", "", name)


def _only_brings_order(tensor: str) -> bool:
    return tensor.startswith((f"{TAIL}/", f"{NORMALIZATION}/")) or re.search(r"__\d+(:\d+)?$", tensor) is not None


def _computed(network: onnx.ModelProto) -> list[str]:
    """Tensors that depend on the image, in the order of the graph."""
    constants = {constant.name for constant in network.graph.initializer} | {""}
    found: list[str] = []
    for node in network.graph.node:
        if constants.issuperset(node.input):
            constants.update(node.output)
        else:
            found += node.output
    return found
