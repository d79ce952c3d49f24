"""Every recipe under models/ is read, and names a network that there is."""

import tomllib
from typing import Any

import msgspec
import pytest
from conftest import REPOSITORY

pytest.importorskip("tensorflow", reason="needs the workbench: pip install ./export")

from cxr_edge_export.recipe import parse_recipe, read_recipe

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
    if (folder / "training.toml").exists():  # its tables join the recipe with the next release
        text = "".join((folder / name).read_text(encoding="utf-8") for name in ("recipe.toml", "training.toml"))
        recipe = parse_recipe(tomllib.loads(text))
    assert recipe.training is not None
    assert recipe.network is not None
    assert recipe.network.backbone is None or hasattr(keras.applications, recipe.network.backbone)


@pytest.mark.parametrize("name", ["covid-cnn", "gray-cnn-a", "gray-cnn-b", "small-transfer"])
def test_a_small_network_can_be_built(name: str, keras: Any) -> None:
    from cxr_edge_export.training.network import build

    folder = REPOSITORY / "models" / name
    recipe = read_recipe(folder / "recipe.toml").recipe
    assert recipe.network is not None
    if recipe.network.weights == "imagenet":
        recipe = msgspec.structs.replace(recipe, network=msgspec.structs.replace(recipe.network, weights="random"))
    given = recipe.member.input
    assert build(recipe, folder).model.input_shape == (None, given.height, given.width, given.channels)
    keras.backend.clear_session()
