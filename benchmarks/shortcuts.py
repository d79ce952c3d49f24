"""How well the class can be told without looking at the lungs: from an image's size, its borders, its gray levels.

    python benchmarks/shortcuts.py [--data FOLDER] [--json]
    python benchmarks/shortcuts.py RECIPE --data FOLDER [--json]

Where such a figure is high, a network may have learnt it instead of the disease. The figures are AUC and balanced
accuracy of a nearest-neighbours vote that leaves the image itself, and its patient, out. That a model's answers do not
follow them is the other half: `cxr-edge-export shifts` crops, pads and marks the images.

Without RECIPE, FOLDER holds `kermany_original` (full-size files, whose sizes differ) and `kermany224/train` (of one
size); by default $CXR_EDGE_DATA, else ../shared/data beside the repository. With RECIPE it is a labelled folder, read
by the recipe's `[selection]`; the sizes are those of the files, borders and gray levels are looked at in the recipe's
size, before `trim` and `[contrast]` take anything away. Its result is written as `results/shortcuts-NAME.json`.
"""

import argparse
import os
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from machine import print_table, write_result

from cxr_edge import metrics
from cxr_edge.contract import Member, Rendering
from cxr_edge.preprocess import resize
from cxr_edge_export.clusters import Look, edges, look
from cxr_edge_export.dataset import LabelledImage, decoded, patient_groups, read_images
from cxr_edge_export.recipe import read_recipe
from cxr_edge_export.selection import read_selected

if TYPE_CHECKING:
    from numpy.typing import NDArray

REPOSITORY = Path(__file__).resolve().parent.parent
LABELS = ("NORMAL", "PNEUMONIA")
RENDERING = Rendering(dicom="ps3.3-c11-floor8", colour="pillow-l", exif_orientation="ignore")
NEIGHBOURS = 15


@dataclass(frozen=True, slots=True)
class Measured:
    """What is known of the images of a set, in its order.

    Attributes:
        positive: bool [N].
        patients: int64 [N], the same number for images of the same patient.
        sizes: float64 [N, 2], rows and columns of each file.
        looks: mean and spread of its gray levels.
        edges: float64 [N, 8], mean of each edge, then spread of each edge.
    """

    positive: "NDArray[np.bool_]"
    patients: "NDArray[np.int64]"
    sizes: "NDArray[np.float64]"
    looks: tuple[Look, ...]
    edges: "NDArray[np.float64]"


def main() -> None:
    """Measure and print."""
    options = _options()
    name, head = "shortcuts", {}
    if options.recipe is None:
        full = _measured(read_images(options.data / "kermany_original", LABELS), {1}, RENDERING)
        small = _measured(read_images(options.data / "kermany224" / "train", LABELS), {1}, RENDERING)
        rows = [*_of_sizes("full size", full), *_of_looks("224 pixels", small)]
    else:
        recipe = read_recipe(options.recipe).recipe
        images = read_selected(recipe, options.data, options.data)
        positive = {recipe.labels.index(label) for label in recipe.positive_labels}
        found, side = _measured(images, positive, recipe.rendering, recipe.member), recipe.member.input
        rows = [*_of_sizes("files", found), *_of_looks(f"{side.height} x {side.width} pixels", found)]
        name, head = f"shortcuts-{recipe.model.name}", {"recipe": recipe.model.name}
    print_table(rows)
    if options.json:
        write_result(name, {**head, "neighbours": NEIGHBOURS, "rows": rows})


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path, nargs="?", help="whose data are measured; default: the Guangzhou set")
    parser.add_argument("--data", type=Path, help="with a recipe: its labelled folder")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.recipe is not None and options.data is None:
        parser.error("a recipe needs --data, its labelled folder")
    if options.data is None:
        options.data = Path(os.environ.get("CXR_EDGE_DATA", REPOSITORY.parent / "shared" / "data"))
    return options


def _measured(
    images: Sequence[LabelledImage], positive: Collection[int], rendering: Rendering, member: Member | None = None
) -> Measured:
    """What is told from each image, one after another; edges and gray levels in the size of `member`, if given."""
    sizes, looks, borders = [], [], []
    for place, image in enumerate(images):
        pixels: NDArray[Any] = decoded(image, place, rendering)
        sizes.append(pixels.shape)
        if member is not None:
            pixels = resize(pixels, replace(member.resize, trim=None), member.input.height, member.input.width)
        looks.append(look(pixels))
        borders.append(_edges(pixels))
    sides = np.isin([image.label for image in images], sorted(positive))
    if sides.all() or not sides.any():
        sys.exit("all images are of one side, positive or negative: there is nothing to tell")
    return Measured(sides, patient_groups(images), np.array(sizes, np.float64), tuple(looks), np.array(borders))


def _of_sizes(prefix: str, found: Measured) -> list[dict[str, object]]:
    rows, columns = np.log(found.sizes).T
    given = {"rows and columns": np.stack([rows, columns], axis=1), "columns per row": (columns - rows)[:, np.newaxis]}
    return [_judged(f"{prefix}: {name}", values, found) for name, values in given.items()]


def _of_looks(prefix: str, found: Measured) -> list[dict[str, object]]:
    given = {
        "mean gray level": np.array([[one.exposure] for one in found.looks]),
        "mean and spread of gray levels": np.array([[one.exposure, one.contrast] for one in found.looks]),
        "mean and spread of each edge": found.edges,
        "mean gray level of each edge": found.edges[:, :4],
    }
    return [_judged(f"{prefix}: {name}", values, found) for name, values in given.items()]


def _edges(pixels: "NDArray[np.uint8]") -> list[float]:
    four = edges(pixels)
    return [*(float(edge.mean()) for edge in four), *(float(edge.std()) for edge in four)]


def _judged(name: str, values: "NDArray[np.float64]", found: Measured) -> dict[str, object]:
    positive = found.positive
    score = _votes((values - values.mean(axis=0)) / np.maximum(values.std(axis=0), 1e-9), positive, found.patients)
    area = metrics.auc_interval(positive, score, found.patients)
    given = score >= positive.mean()  # more positive neighbours than images have on average
    balanced = (given[positive].mean() + (~given[~positive]).mean()) / 2
    return {
        "told from": name,
        "images": len(positive),
        "AUC": "" if area is None else f"{area.estimate:.3f} [{area.low:.3f}, {area.high:.3f}]",
        "balanced accuracy": f"{balanced:.3f}",
    }


def _votes(
    points: "NDArray[np.float64]", positive: "NDArray[np.bool_]", patients: "NDArray[np.int64]"
) -> "NDArray[np.float64]":
    """Share of positive images among the nearest ones of other patients."""
    votes = np.empty(len(points))
    generator = np.random.Generator(np.random.PCG64(0))
    for place, point in enumerate(points):
        order = generator.permutation(len(points))  # of files of one size, which stand class by class, any may vote
        others = order[patients[order] != patients[place]]
        distance = ((points[others] - point) ** 2).sum(axis=1)
        nearest = np.argpartition(distance, min(NEIGHBOURS, len(others) - 1))[:NEIGHBOURS]
        votes[place] = positive[others[nearest]].mean()
    return votes


if __name__ == "__main__":
    main()
