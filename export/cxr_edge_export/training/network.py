"""The Keras network that a recipe describes."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxr_edge.errors import EnvironmentUnusable, UsageError
from cxr_edge_export.recipe import NetworkPlan, Recipe
from cxr_edge_export.recipe import network as plans
from cxr_edge_export.training.backend import keras_module
from cxr_edge_export.training.weights import NAMED, load_weights

if TYPE_CHECKING:
    from collections.abc import Callable

PROBABILITIES = "probabilities"
AUXILIARY = "auxiliary"
NETWORK = "network"  # name of the Keras model
OUTPUT_RANK = 2  # (images, labels)


class NetworkImpossible(UsageError):  # noqa: N818 - named after what happened
    """The layers of a recipe do not fit together, or its images are too small for them."""


@dataclass(frozen=True, slots=True)
class Built:
    """A network and its parts, which share their layers.

    Attributes:
        model: a keras.Model, flat (no model inside the model): all of it.
        backbone: its layers, in order; empty where there is none.
        head: a keras.Model from the backbone's last feature map on; None without a backbone.
        extractor: a keras.Model up to that feature map; None without a backbone.
    """

    model: Any
    backbone: tuple[Any, ...]
    head: Any
    extractor: Any

    def train_last(self, layers: "int | str") -> None:
        """Leave the last `layers` of the backbone (or `all`) and what follows it to be trained, and nothing else."""
        first = 0 if layers == "all" else max(0, len(self.backbone) - int(layers))
        for index, layer in enumerate(self.backbone):
            layer.trainable = index >= first


def build(recipe: Recipe, folder: Path, side: int | None = None) -> Built:
    """The network with initial weights.

    Args:
        recipe: its `network`; with `training.auxiliary` there is a second output.
        folder: what a file of weights is relative to: the recipe's own.
        side: height and width of the input; None: the recipe's.

    Raises:
        NetworkImpossible: the layers do not fit together, or not this size.
        UsageError: there is no such backbone.
        ModelError: a file of weights cannot be read.
        EnvironmentUnusable: ImageNet weights cannot be fetched.
    """
    keras, plan = keras_module(), _plan(recipe)
    given = recipe.member.input
    shape = (side or given.height, side or given.width, given.channels)
    try:
        if plan.backbone is None:
            inputs = keras.Input(shape, name=given.name)
            model = keras.Model(inputs, _apply(_head_layers(recipe, plan), inputs), name=NETWORK)
            built = Built(model=model, backbone=(), head=None, extractor=None)
        else:
            built = _on_backbone(_backbone(plan, shape), _head_layers(recipe, plan))
    except ValueError as error:
        message = f"the network of the recipe cannot be built: {_reason(error)}"
        raise NetworkImpossible(message) from None
    shapes = [tuple(output.shape) for output in built.model.outputs]
    if any(len(found) != OUTPUT_RANK for found in shapes):
        message = f"the network of the recipe gives {shapes[0][1:]} for an image; a pooling or flatten layer is missing"
        raise NetworkImpossible(message)
    if plan.weights not in NAMED:
        load_weights(built, folder / plan.weights)
    return built


def _reason(error: ValueError) -> str:
    """What Keras means: its first line may only name the call, in colours the second one the fault."""
    lines = [re.sub(r"\x1b\[\d*m", "", line).strip() for line in str(error).splitlines()]
    return next((line for line in lines if line and not line.startswith("Exception encountered")), "no reason given")


def _on_backbone(backbone: Any, layers: "_HeadLayers") -> Built:  # noqa: ANN401 - a keras.Model
    keras = keras_module()
    features = backbone.outputs[0]
    model = keras.Model(backbone.inputs[0], _apply(layers, features), name=NETWORK)
    entrance = keras.Input(features.shape[1:])
    head = keras.Model(entrance, _apply(layers, entrance))
    extractor = keras.Model(backbone.inputs[0], features)
    return Built(model=model, backbone=tuple(backbone.layers), head=head, extractor=extractor)


def _apply(layers: "_HeadLayers", features: Any) -> list[Any]:  # noqa: ANN401 - Keras tensors
    for layer in layers.body:
        features = layer(features)
    return [output(features) for output in layers.outputs]


def deployed(model: Any) -> Any:  # noqa: ANN401 - keras.Model -> keras.Model
    """The network without its auxiliary output, which only training needs."""
    keras = keras_module()
    return keras.Model(
        model.inputs[0], model.outputs[0], name=NETWORK
    )  # a list of one input would be fed with no list: Keras warns


def _plan(recipe: Recipe) -> NetworkPlan:
    if recipe.network is None:
        message = f"the recipe {recipe.model.name} has no network: it was trained elsewhere"
        raise UsageError(message)
    return recipe.network


def _backbone(plan: NetworkPlan, shape: tuple[int, int, int]) -> Any:  # noqa: ANN401 - a keras.Model
    keras = keras_module()
    known = {name: maker for name in dir(keras.applications) if callable(maker := getattr(keras.applications, name))}
    maker = known.get(plan.backbone or "")
    if maker is None:
        message = f"keras.applications has no {plan.backbone}; it has {', '.join(sorted(known))}"
        raise UsageError(message)
    weights = "imagenet" if plan.weights == "imagenet" else None
    try:
        return maker(include_top=False, weights=weights, input_shape=shape)
    except ValueError:
        raise
    except Exception as error:
        # keras.utils.get_file raises a bare Exception where there is no network
        message = f"the ImageNet weights of {plan.backbone} cannot be fetched: {error}; give a file as network.weights"
        raise EnvironmentUnusable(message) from error


def _layer(plan: plans.Layer, number: int) -> Any:  # noqa: ANN401 - a keras.Layer
    """A layer named after its kind and place in the recipe; Keras would count those of networks built before, too."""
    layers = keras_module().layers
    makers: dict[type, Callable[..., Any]] = {
        plans.Conv: lambda p, **name: layers.Conv2D(
            p.filters,
            p.kernel,
            strides=p.stride,
            padding=p.padding,
            activation=p.activation,
            kernel_regularizer=_l2(p.l2),
            **name,
        ),
        plans.MaxPool: lambda p, **name: layers.MaxPooling2D(p.size, **name),
        plans.AveragePool: lambda p, **name: layers.AveragePooling2D(p.size, **name),
        plans.GlobalAveragePool: lambda _, **name: layers.GlobalAveragePooling2D(**name),
        plans.Flatten: lambda _, **name: layers.Flatten(**name),
        plans.BatchNormalization: lambda p, **name: layers.BatchNormalization(momentum=p.momentum, **name),
        plans.Activation: lambda p, **name: layers.Activation(p.function, **name),
        plans.Dropout: lambda p, **name: layers.Dropout(p.rate, **name),
        plans.Dense: lambda p, **name: layers.Dense(
            p.units, activation=p.activation, kernel_regularizer=_l2(p.l2), **name
        ),
    }
    kind = str(plan.__struct_config__.tag).replace("-", "_")
    return makers[type(plan)](plan, name=f"layer_{number}_{kind}")


def _l2(weight: float) -> Any:  # noqa: ANN401 - a keras.Regularizer or None
    return keras_module().regularizers.L2(weight) if weight else None


@dataclass(frozen=True, slots=True)
class _HeadLayers:
    """Keras layers behind the backbone, and the outputs that all stand on the last of them."""

    body: tuple[Any, ...]
    outputs: tuple[Any, ...]


def _head_layers(recipe: Recipe, plan: NetworkPlan) -> _HeadLayers:
    layers = keras_module().layers
    units = 1 if plan.output == "sigmoid" else len(recipe.labels)
    # float32: 8 bits of a bfloat16 are no probability
    outputs = [layers.Dense(units, activation=plan.output, dtype="float32", name=PROBABILITIES)]
    auxiliary = recipe.training.auxiliary if recipe.training is not None else None
    if auxiliary is not None:
        count = len({rule.label for rule in auxiliary.classes})
        outputs.append(layers.Dense(count, activation="softmax", dtype="float32", name=AUXILIARY))
    return _HeadLayers(
        body=tuple(_layer(layer, place) for place, layer in enumerate(plan.layers, 1)), outputs=tuple(outputs)
    )
