"""A recipe is read strictly."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("cxr_edge_export", reason="needs the workbench: pip install ./export")

from conftest import REPOSITORY
from recipes import LAYERS, recipe_of

from cxr_edge.errors import UsageError
from cxr_edge_export.recipe import parse_recipe, read_recipe

STAGES = {"stages": [{"epochs": 1, "batch": 8, "learning_rate": 0.01}]}
RELEASED = REPOSITORY / "models" / "resnet50-binary" / "recipe.toml"


def test_released_recipe_is_read() -> None:
    recipe = read_recipe(RELEASED).recipe
    assert recipe.labels == ("NORMAL", "PNEUMONIA")
    assert recipe.member.input.dtype == "uint8"
    assert recipe.member.normalization.folded


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[golden]", "[goldne]", "goldne|golden"),
        ("tolerance =", "tolerances =", "toleranc"),
        ("auc_drop", "auc_dorp", "auc_dorp"),
        ('aspect = "squash"', 'aspect = "squash"\nantialias = true', "antialias"),
        ('"pillow-bilinear"', '"bilinear"', "kernel"),
        ("recipe_version = 1", "recipe_version = 2", "recipe_version"),
        ('rule = "youden"', 'rule = "youden"\nvalue = 0.3', "takes no value"),
        ('default_operating_point = "standard"', 'default_operating_point = "best"', "is not among"),
        ('ranges = "percentile"', 'ranges = "minmax"', "percentile"),
        ('positive_labels = ["PNEUMONIA"]', 'positive_labels = ["COVID"]', "not a proper part"),
    ],
)
def test_mistakes_are_refused(old: str, new: str, words: str) -> None:
    text = RELEASED.read_text(encoding="utf-8")
    assert old in text
    with pytest.raises(UsageError, match=words):
        parse_recipe(tomllib.loads(text.replace(old, new, 1)))


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({"selection": {"seed": -1}}, "seed"),
        ({"training": STAGES | {"seed": 1 << 32}}, "seed"),
        ({"training": STAGES | {"precision": "float16", "optimizer": "nadam"}}, "float16 does not go with"),
        ({"training": STAGES | {"auxiliary": {"weight": 1.0, "classes": [{"label": "x"}] * 2}}}, "all of one label"),
        ({"selection": {"metadata": {"csv": "a.csv"}, "views": ["PA"]}}, "needs selection.metadata with a column"),
    ],
)
def test_what_no_training_can_do_is_refused(tables: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        recipe_of(**({"network": {"layers": LAYERS}, "training": STAGES} | tables))


def test_unreadable(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_recipe(tmp_path / "absent.toml")


def test_tf_bilinear_takes_float32() -> None:
    text = RELEASED.read_text(encoding="utf-8").replace("pillow-bilinear", "tf-bilinear")
    assert parse_recipe(tomllib.loads(text)).member.input.dtype == "float32"
