"""The Keras network of a recipe, and how one step of it is judged."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="needs the workbench: pip install ./export")

from training_runs import recipe_file

from cxr_edge_export.recipe import Recipe, read_recipe
from cxr_edge_export.training.network import build
from cxr_edge_export.training.trainee import Trainee
from cxr_edge_export.training.weights import load_weights


def recipe_on(folder: Path, backbone: str) -> Recipe:
    network = {"backbone": backbone, "layers": [{"kind": "global-average-pool"}]}
    return read_recipe(recipe_file(folder, network=network)).recipe


def test_layers_are_called_the_same_in_every_network_of_the_recipe(tmp_path: Path) -> None:
    """An interrupted training builds another number of networks; `image_gate` names a layer beforehand."""
    layers: list[dict[str, Any]] = [
        {"kind": "conv", "filters": 3},
        {"kind": "max-pool"},
        {"kind": "global-average-pool"},
    ]
    recipe = read_recipe(recipe_file(tmp_path, network={"layers": layers})).recipe
    named = [[layer.name for layer in build(recipe, tmp_path).model.layers[1:]] for _ in range(2)]
    assert named == [["layer_1_conv", "layer_2_max_pool", "layer_3_global_average_pool", "probabilities"]] * 2


@pytest.mark.slow
def test_a_frozen_backbone_drops_nothing_out(tmp_path: Path) -> None:
    """Stochastic depth goes on in layers that are not trained: a step on images is one on their feature maps."""
    network = {"backbone": "EfficientNetB0", "layers": [{"kind": "global-average-pool"}]}
    stage = {"epochs": 1, "batch": 8, "learning_rate": 0.01, "backbone_layers": 0}
    recipe = read_recipe(recipe_file(tmp_path, network=network, training={"stages": [stage]})).recipe
    images = np.random.default_rng(0).uniform(0, 255, (8, 48, 48, 3)).astype(np.float32)
    truth, losses = [np.arange(8) % 2], []
    for cached in (True, False):
        trainee = Trainee(recipe, tmp_path, 0, 1, 1, cached=cached)
        for layer in trainee.built.backbone:
            if hasattr(layer, "gamma"):  # random weights would let nearly nothing through
                layer.gamma.assign(layer.gamma + 1.5)
        inputs = np.asarray(trainee.built.extractor.predict_on_batch(images)) if cached else images
        losses.append([trainee.step(inputs, truth, None) for _ in range(3)])
        assert trainee.predict(inputs).std() > 0.01
        assert len(trainee.optimizer.variables) == 2 + 2 * 2  # steps, rate, and two moments of the head's two weights
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_any_backbone_takes_the_layers_of_its_own_kind(tmp_path: Path) -> None:
    """ConvNeXt's layers lie in sequences."""
    recipe = recipe_on(tmp_path, "ConvNeXtTiny")
    trained = build(recipe, tmp_path, 32).model
    trained.save(tmp_path / "trained.keras")
    again = build(recipe, tmp_path, 32)
    load_weights(again, tmp_path / "trained.keras")
    for one, other in zip(trained.get_weights(), again.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
def test_the_focal_loss_weighs_what_is_known_less(tmp_path: Path, output: str) -> None:
    network: dict[str, Any] = {"layers": [{"kind": "conv", "filters": 3}, {"kind": "global-average-pool"}]}
    images = np.random.default_rng(0).normal(0, 1, (6, 48, 48, 3)).astype(np.float32)
    truth = np.array([0, 1, 1, 0, 1, 0])
    found = []
    for loss in ("cross-entropy", "focal"):
        plan = {"loss": loss, "stages": [{"epochs": 1, "batch": 6, "learning_rate": 0.01}]}
        recipe = read_recipe(recipe_file(tmp_path, network=network | {"output": output}, training=plan)).recipe
        trainee = Trainee(recipe, tmp_path, 0, 1, 1, cached=False)
        right = trainee.predict(images)[np.arange(6), truth]
        weights = (1 - right) ** 2 if loss == "focal" else np.ones(6)
        found.append(trainee.step(images, [truth], None))
        assert found[-1] == pytest.approx((-weights * np.log(right)).mean(), rel=1e-4)
    assert found[1] < found[0]
