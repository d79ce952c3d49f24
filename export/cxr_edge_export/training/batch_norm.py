"""Batch normalization under torch by torch's own kernel: Keras 3.15 computes it in a dozen."""

import functools
from collections.abc import Sequence
from types import MethodType
from typing import Any

from cxr_edge_export.training.backend import keras_module

IMAGES = 4  # dimensions of (images, rows, columns, channels)


def fuse_batch_norms(layers: Sequence[Any]) -> None:
    """Have the batch normalizations among these Keras layers train faster, where Keras runs on torch.

    The same figures but for rounding: statistics by batch in float32, moving averages with the variance as Keras has it
    (of the batch, not Bessel's). What is saved stays a plain Keras layer.
    """
    keras = keras_module()
    if keras.backend.backend() != "torch":
        return
    for layer in layers:
        if type(layer) is keras.layers.BatchNormalization and layer.axis in (-1, IMAGES - 1) and not layer.renorm:
            layer.call = MethodType(_call, layer)


def _call(layer: Any, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:  # noqa: ANN401, FBT001 - Keras'
    import torch

    if not (training and layer.trainable) or mask is not None or inputs.ndim != IMAGES or inputs.device.type != "cpu":
        return type(layer).call(layer, inputs, training=training, mask=mask)
    if inputs.dtype not in (torch.float32, torch.bfloat16):
        return type(layer).call(layer, inputs, training=training, mask=mask)
    gamma, beta = (None if variable is None else variable.value for variable in (layer.gamma, layer.beta))
    if gamma is None and beta is None and inputs.dtype != torch.float32:  # torch would give the statistics in 16 bits
        return type(layer).call(layer, inputs, training=training, mask=mask)
    by_channel = inputs.permute(0, 3, 1, 2)
    # no moving averages of torch's own
    norm = functools.partial(torch.native_batch_norm, running_mean=None, running_var=None, training=True, momentum=0.0)
    outputs, mean, inverse = norm(by_channel, weight=gamma, bias=beta, eps=layer.epsilon)
    with torch.no_grad():
        variance = (inverse**-2 - layer.epsilon).clamp_min(0)
        for moving, batch in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
            moving.assign(moving.value * layer.momentum + batch * (1 - layer.momentum))
    return outputs.permute(0, 2, 3, 1)
