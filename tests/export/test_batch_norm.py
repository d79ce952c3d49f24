"""Batch normalization by torch's kernel gives what Keras' own arithmetic gives. Skips where torch is not installed."""

import os
import subprocess
import sys

import pytest

IN_TORCH = """
import numpy as np, keras, torch
from cxr_edge_export.training.batch_norm import fuse_batch_norms

def trained(scale, center, fused, dtype="float32"):
    layer = keras.layers.BatchNormalization(scale=scale, center=center, momentum=0.7, dtype=dtype)
    inputs = keras.Input((5, 6, 7))
    model = keras.Model(inputs, layer(inputs))
    if fused:
        fuse_batch_norms(model.layers)
        assert "call" in vars(layer)
    draw = np.random.default_rng(0).normal
    images = torch.tensor(draw(3, 2, (8, 5, 6, 7)).astype("float32"), requires_grad=True)
    outputs = model(images, training=True)
    (outputs * torch.tensor(draw(size=(8, 5, 6, 7)).astype("float32"))).sum().backward()
    gradients = [variable.value.grad.float().numpy() for variable in layer.trainable_variables]
    later = model(images, training=False).detach().float().numpy()
    return [outputs.detach().float().numpy(), images.grad.numpy(), *layer.get_weights(), *gradients, later]

for scale, center in ((True, True), (True, False), (False, True), (False, False)):
    for one, other in zip(trained(scale, center, False), trained(scale, center, True), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
    exact, own = (trained(scale, center, fused, "mixed_bfloat16") for fused in (False, True))
    for one, other in zip(exact[2:], own[2:], strict=True):  # moving averages, and what is near to them
        np.testing.assert_allclose(one, other, rtol=0.02, atol=0.02)
    moving = slice(2 + scale + center, 4 + scale + center)
    for one, other in zip(exact[moving], own[moving], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
layer = keras.layers.BatchNormalization(axis=1)
fuse_batch_norms([layer])
assert "call" not in vars(layer)
print("equal")
"""


def test_the_same_outputs_gradients_and_moving_averages() -> None:
    pytest.importorskip("torch", reason="needs the Keras backend torch")
    environment = os.environ | {"KERAS_BACKEND": "torch"}
    command = [sys.executable, "-c", IN_TORCH]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert found.stdout.strip() == "equal", found.stderr[-2000:]
