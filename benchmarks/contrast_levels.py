"""The gray levels that a recipe's `[contrast]` may name: percentiles of the central part of its training images.

    python benchmarks/contrast_levels.py RECIPE --data FOLDER [--leave-out LIST] [--margin 25] [--most 1000]

For each percentile: the mean level (what `levels` would name), that of each class, and the AUC with which that level
alone tells the positive images. Where it is far from 0.5, bringing the level to one value takes that away from the
network: a shortcut if it is exposure, a finding if it is what the disease does to the lungs.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from machine import print_table

from cxr_edge import metrics
from cxr_edge.contract import Contrast
from cxr_edge.preprocess import resize
from cxr_edge.preprocess.contrast import measured
from cxr_edge_export.dataset import LabelledImage, decoded, read_images
from cxr_edge_export.recipe import Recipe, read_recipe

PERCENTILES = (2, 10, 25, 50, 75, 90, 98)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="labelled folder")
    parser.add_argument("--leave-out", type=Path, help="list of images, by name: those that never train")
    parser.add_argument("--margin", type=int, default=25)
    parser.add_argument("--most", type=int, default=1000, help="images, drawn with a fixed seed")
    options = parser.parse_args()
    recipe = read_recipe(options.recipe).recipe
    images = _images(recipe, options.data, options.leave_out, options.most)
    contrast = Contrast(percentiles=PERCENTILES, levels=tuple(range(1, len(PERCENTILES) + 1)), margin=options.margin)
    levels = np.array([_measured(image, place, recipe, contrast) for place, image in enumerate(images)])
    labels = np.array([image.label for image in images])
    positive = np.isin(labels, [recipe.labels.index(label) for label in recipe.positive_labels])
    rows = []
    for column, percent in enumerate(PERCENTILES):
        found = levels[:, column]
        means = {label: f"{found[labels == number].mean():.1f}" for number, label in enumerate(recipe.labels)}
        told = metrics.auc(positive, found.astype(float))
        rows.append({"percentile": percent, "mean": f"{found.mean():.1f}", **means, "AUC of it alone": f"{told:.3f}"})
    print_table(rows)
    print(f"{len(images)} images, {options.margin} % left out on each side")


def _images(recipe: Recipe, data: Path, leave_out: Path | None, most: int) -> list[LabelledImage]:
    lines = [] if leave_out is None else leave_out.read_text(encoding="utf-8").splitlines()
    held = {Path(line).name for line in lines if line}
    images = [one for one in read_images(data, recipe.labels, classes=recipe.classes) if one.path.name not in held]
    drawn = np.random.default_rng(0).permutation(len(images))[:most]
    return [images[place] for place in sorted(drawn)]


def _measured(image: LabelledImage, place: int, recipe: Recipe, contrast: Contrast) -> tuple[int, ...]:
    member = replace(recipe.member, contrast=None)
    pixels = decoded(image, place, recipe.rendering)
    return measured(resize(pixels, member.resize, member.input.height, member.input.width), contrast)


if __name__ == "__main__":
    main()
