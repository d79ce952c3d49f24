"""Every recipe under models/ is read, and names a network that there is."""

import dataclasses
import importlib
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from conftest import REPOSITORY

pytest.importorskip("tensorflow", reason="needs the workbench: pip install ./export")

from cxr_edge_export.recipe import read_recipe

FOLDERS = sorted(path.parent for path in (REPOSITORY / "models").glob("*/recipe.toml"))
ENSEMBLES = {"gray-ensemble"}


def test_all_ten_are_there() -> None:
    assert len(FOLDERS) == 10


@pytest.mark.parametrize("folder", FOLDERS, ids=[folder.name for folder in FOLDERS])
def test_a_recipe_is_whole(folder: Any, keras: Any) -> None:
    recipe = read_recipe(folder / "recipe.toml").recipe
    assert recipe.model.name == folder.name
    if folder.name in ENSEMBLES:
        assert len(recipe.contract_members) > 1
        return
    assert recipe.training is not None
    assert recipe.network is not None
    assert recipe.network.backbone is None or hasattr(keras.applications, recipe.network.backbone)


@pytest.mark.parametrize("phantoms", [True, False])
def test_what_the_benchmark_trains_instead_can_be_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, phantoms: bool
) -> None:
    monkeypatch.syspath_prepend(str(REPOSITORY / "benchmarks"))
    stand_ins = importlib.import_module("system_stand_ins")
    scene = stand_ins.Scene(work=tmp_path, train=tmp_path, test=tmp_path, jpeg=tmp_path, phantoms=phantoms)
    assert {*stand_ins.EFFORTS, *stand_ins.MEMBERS} == {folder.name for folder in FOLDERS}
    for name in stand_ins.EFFORTS:
        recipe = read_recipe(stand_ins.write_stand_in(name, scene, tmp_path / f"{name}.toml")).recipe
        assert recipe.network is not None
        assert recipe.training is not None
        assert (recipe.network.weights, recipe.training.initial_share) == ("random", 0.0)
    there = dataclasses.replace(scene, weights=tmp_path)
    assert "random weights" in stand_ins.stand_ins("resnet50-binary", there)
    (tmp_path / "resnet50-binary.keras").write_bytes(b"")
    assert "random weights" not in stand_ins.stand_ins("resnet50-binary", there)
    for name in stand_ins.EFFORTS:
        recipe = read_recipe(stand_ins.write_stand_in(name, there, tmp_path / f"{name}.toml")).recipe
        assert recipe.network is not None
        own = name == "resnet50-binary"
        assert recipe.network.weights == (str((tmp_path / "resnet50-binary.keras").resolve()) if own else "random")


def built(name: str) -> Any:
    """The network of a recipe, from random weights."""
    from cxr_edge_export.training.network import build

    folder = REPOSITORY / "models" / name
    recipe = read_recipe(folder / "recipe.toml").recipe
    assert recipe.network is not None
    plain = msgspec.structs.replace(recipe, network=msgspec.structs.replace(recipe.network, weights="random"))
    given = recipe.member.input
    found = build(plain, folder)
    assert found.model.input_shape == (None, given.height, given.width, given.channels)
    assert recipe.training is not None
    found.train_last(recipe.training.stages[0].backbone_layers)
    return found.model


@pytest.mark.parametrize("name", ["gray-cnn-a", "gray-cnn-b", "small-transfer"])
def test_a_small_network_can_be_built(name: str, keras: Any) -> None:
    built(name)
    keras.backend.clear_session()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "trainable"),
    [
        ("covid-cnn", 2_008_930),
        ("covid-vgg16", 32_962),
        ("covid-nasnetlarge", 258_242),
        ("covid-inceptionresnetv2", 98_498),
    ],
)
def test_as_many_parameters_are_trained_as_published(name: str, trainable: int, keras: Any) -> None:
    model = built(name)
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == trainable
    if name == "covid-cnn":
        assert model.count_params() == 2_009_058
    keras.backend.clear_session()
