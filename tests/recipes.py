"""Recipes for tests: that of a tiny network on phantoms, and what makes it trainable."""

import tomllib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cxr_edge_export.recipe import Recipe

SIDE = 48
RECIPE = f"""
recipe_version = 1
labels = ["NORMAL", "PNEUMONIA"]
positive_labels = ["PNEUMONIA"]
default_operating_point = "standard"

[model]
name = "tiny"
version = "0.1.0"
licence = "Apache-2.0"

[training_data]
description = "phantoms"
images = 96

[data]
validation = "phantoms of other seeds"
agreement = "phantoms"
agreement_images = 60

[rendering]
dicom = "ps3.3-c11-floor8"
colour = "pillow-l"
exif_orientation = "ignore"

[input]
height = {SIDE}
width = {SIDE}
channels = 3

[resize]
kernel = "pillow-bilinear"
pass_order = "horizontal-first"
aspect = "squash"

[normalization]
channel_order = "bgr"
mean = [103.939, 116.779, 123.68]
scale = [64.0, 64.0, 64.0]

[[operating_points]]
name = "standard"
rule = "fixed"
value = 0.5
reason = "the more probable class"

[[operating_points]]
name = "youden"
rule = "youden"

[[operating_points]]
name = "screening"
rule = "sensitivity"
value = 0.99

[intended_use]
modalities = ["DX"]
views = []
body_parts = ["CHEST"]
statement = "Phantoms only; not a medical device."

[quantization]
ranges = "percentile"
percentile = 99.99
images = 16
reduce_range = true

[golden]
tolerance = 0.02

[limits]
positive_to_negative_share = 0.05
auc_drop = 0.05
accuracy_ratio = 0.9
agreement_images = 50
"""

LAYERS: list[dict[str, Any]] = [
    {"kind": "conv", "filters": 8, "kernel": 5, "stride": 2},
    {"kind": "batch-normalization", "momentum": 0.8},
    {"kind": "conv", "filters": 16, "stride": 2},
    {"kind": "batch-normalization", "momentum": 0.8},
    {"kind": "global-average-pool"},
    {"kind": "dropout", "rate": 0.2},
]


def raw_recipe(**changes: Any) -> dict[str, Any]:
    """The phantoms' recipe as parsed TOML, with tables replaced or added."""
    return tomllib.loads(RECIPE) | changes


def recipe_of(**changes: Any) -> "Recipe":
    """The same, read."""
    from cxr_edge_export.recipe import parse_recipe

    return parse_recipe(raw_recipe(**changes))
