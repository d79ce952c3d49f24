"""The network of a recipe: a Keras Applications backbone and what follows it, or a plain one, layer by layer."""

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta

from cxr_edge.contract.image_gate import Name
from cxr_edge_export.recipe.tables import Strict

Rate = Annotated[float, Meta(ge=0, lt=1)]
Width = Annotated[int, Meta(ge=1, le=1 << 16)]
Side = Annotated[int, Meta(ge=1, le=256)]  # TensorFlow's own faults with larger ones are no message
ActivationFunction = Literal["linear", "relu", "elu", "selu", "gelu", "swish", "tanh", "sigmoid"]


class Conv(Strict, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="conv"):
    """A 2D convolution, square."""

    filters: Width
    kernel: Side = 3
    stride: Side = 1
    padding: Literal["same", "valid"] = "same"
    activation: ActivationFunction = "relu"
    l2: Annotated[float, Meta(ge=0)] = 0.0


class MaxPool(Strict, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="max-pool"):
    """Maximum of squares."""

    size: Side = 2


class AveragePool(Strict, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="average-pool"):
    """Mean of squares."""

    size: Side = 2


class GlobalAveragePool(
    Strict, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="global-average-pool"
):
    """Mean over rows and columns."""


class Flatten(Strict, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="flatten"):
    """All places and channels side by side; fixes the input's size."""


class BatchNormalization(
    Strict, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="batch-normalization"
):
    """Batch normalization; `momentum` of the running mean and variance: lower where an epoch has few steps."""

    momentum: Rate = 0.99


class Activation(Strict, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="activation"):
    """A function of each value by itself. Between batch normalization and the next layer it costs INT8 nothing."""

    function: ActivationFunction = "relu"


class Dropout(Strict, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="dropout"):
    """A share of the values set to 0, in training only."""

    rate: Rate


class Dense(Strict, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="dense"):
    """A fully connected layer."""

    units: Width
    activation: ActivationFunction = "relu"
    l2: Annotated[float, Meta(ge=0)] = 0.0


Layer: TypeAlias = (
    Conv | MaxPool | AveragePool | GlobalAveragePool | Flatten | BatchNormalization | Activation | Dropout | Dense
)


class NetworkPlan(Strict, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is trained. The output layer, one unit per label, follows the last of `layers` by itself.

    Attributes:
        backbone: name in `keras.applications`, without its top; None: `layers` are the whole network.
        weights: initial ones of the backbone: `random`; `imagenet`, fetched by Keras, which needs a network once; or a
            file relative to the recipe, of weights or a `.keras` network that begins with the same layers.
            Without a backbone: `random` or a file.
        layers: what follows the backbone, or the whole network.
        output: `softmax`, or `sigmoid` for one unit that gives the second of two labels.
    """

    backbone: Name | None = None
    weights: Name = "random"
    layers: tuple[Layer, ...] = ()
    output: Literal["softmax", "sigmoid"] = "softmax"
