"""A recipe is read strictly."""

import hashlib
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
        ('positive_labels = ["PNEUMONIA"]', 'positive_labels = ["PNEUMONIA", "PNEUMONIA"]', "not distinct"),
        ('name = "image"', 'name = "probabilities"', "is the name of an output of the exported graph"),
        ('rule = "youden"', 'rule = "youden"\nreason = "\\u001b[31m"', "terminal"),
        ('name = "youden"', 'name = "standard"', "two operating points are called standard"),
        ('channel_order = "bgr"', 'channel_order = "bgr"\nfolded = false', "normalization.folded"),
        ('"pillow-bilinear"', '"bicubic"', r'at `\$.resize.kernel`; it has to be: "pillow-bicubic" or "pillow-bil'),
        ('channel_order = "bgr"', 'channel_order = "gray"', "3 channels in the order gray"),
        ("mean = [103.939, 116.779, 123.68]", "mean = [103.939]", "as many numbers"),
        ("scale = [1.0, 1.0, 1.0]", "scale = [1.0, 0.0, 1.0]", "a scale of 0 or less"),
        ("scale = [1.0, 1.0, 1.0]", "scale = [1.0, nan, 1.0]", "normalization.scale.1 is no finite number"),
        ("auc_drop = 0.002", "auc_drop = inf", "limits.auc_drop is no finite number"),
        ("not a medical device", "a medical device", "lacks the words 'not a medical device'"),
        ("age_years = [1.0, 5.0]", "age_years = [5.0, 1.0]", "is no range"),
        ("tolerance = 0.005", "tolerance = 0.5", "at most 0.1 proves anything"),
        ('labels = ["NORMAL", "PNEUMONIA"]', 'labels = ["PNEUMONIA", "PNEUMONIA"]', "not"),
        ('labels = ["NORMAL"', 'labels = ["\\u001b[1m"', "a terminal would act on|not a proper part"),
        ('channel_order = "bgr"', 'channel_order = "bgr"\nfolded = "banana"', "normalization.folded"),
        ('kind = "dropout", rate = 0.3', 'kind = "conv", filters = 8, kernel = 9999', r"<= 256.*kernel"),
        ('kind = "dropout", rate = 0.3', 'kind = "max-pool", size = 257', r"<= 256.*size"),
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
        ({"training_data": 3}, "training_data"),
        ({"intended_use": [1]}, "intended_use"),
        ({"training": STAGES | {"seed": 1 << 32}}, "seed"),
        ({"training": STAGES | {"precision": "float16", "optimizer": "nadam"}}, "float16 does not go with"),
        ({"training": STAGES | {"auxiliary": {"weight": 1.0, "classes": [{"label": "x"}] * 2}}}, "all of one label"),
        ({"training": STAGES | {"augmentation": {"untrimmed": 0.5}}}, "needs resize.trim"),
        (
            {"selection": {"metadata_csv": "a.csv", "views": ["PA"]}},
            "the column for the view in selection.metadata_columns",
        ),
        ({"selection": {"metadata_columns": {"view": "v"}}}, "metadata_columns needs selection.metadata_csv"),
    ],
)
def test_what_no_training_can_do_is_refused(tables: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        recipe_of(**({"network": {"layers": LAYERS}, "training": STAGES} | tables))


def test_unreadable(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_recipe(tmp_path / "absent.toml")


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    text = RELEASED.read_text(encoding="utf-8")
    for name, encoding in (("plain.toml", "utf-8"), ("marked.toml", "utf-8-sig")):  # as PowerShell 5 writes it
        (tmp_path / name).write_text(text, encoding=encoding, newline="\n")
    assert read_recipe(tmp_path / "marked.toml") == read_recipe(tmp_path / "plain.toml")
    assert read_recipe(tmp_path / "plain.toml").sha256 == hashlib.sha256(text.encode()).hexdigest()


def test_tf_bilinear_takes_float32() -> None:
    text = RELEASED.read_text(encoding="utf-8").replace("pillow-bilinear", "tf-bilinear")
    assert parse_recipe(tomllib.loads(text)).member.input.dtype == "float32"
