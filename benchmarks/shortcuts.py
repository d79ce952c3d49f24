"""How well the class can be told without looking at the lungs: from an image's size, its borders, its gray levels.

    python benchmarks/shortcuts.py [--data FOLDER] [--json]

Where such a figure is high, a network may have learnt it instead of the disease. The figures are AUC and balanced
accuracy of a nearest-neighbours vote that leaves the image itself, and its patient, out. FOLDER holds
`kermany_original` (full-size files, whose sizes differ) and `kermany224/train` (of one size); by default
$CXR_EDGE_DATA, else ../shared/data beside the repository. That a model's answers do not follow them is the other half:
`cxr-edge-export shifts` crops, pads and marks the images.
"""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from machine import print_table, write_result

from cxr_edge import metrics
from cxr_edge.contract import Rendering
from cxr_edge_export.clusters import edges, look
from cxr_edge_export.dataset import LabelledImage, decoded, patient_groups, read_images

if TYPE_CHECKING:
    from numpy.typing import NDArray

REPOSITORY = Path(__file__).resolve().parent.parent
LABELS = ("NORMAL", "PNEUMONIA")
RENDERING = Rendering(dicom="ps3.3-c11-floor8", colour="pillow-l", exif_orientation="ignore")
NEIGHBOURS = 15


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = os.environ.get("CXR_EDGE_DATA", REPOSITORY.parent / "shared" / "data")
    parser.add_argument("--data", type=Path, default=Path(default))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = [*_of_sizes(options.data / "kermany_original"), *_of_looks(options.data / "kermany224" / "train")]
    print_table(rows)
    if options.json:
        write_result("shortcuts", {"neighbours": NEIGHBOURS, "rows": rows})


def _of_sizes(folder: Path) -> list[dict[str, object]]:
    images = read_images(folder, LABELS)
    shapes = np.array([decoded(image, place, RENDERING).shape for place, image in enumerate(images)], np.float64)
    rows, columns = np.log(shapes).T
    given = {"rows and columns": np.stack([rows, columns], axis=1), "columns per row": (columns - rows)[:, np.newaxis]}
    return [_judged(f"full size: {name}", values, images) for name, values in given.items()]


def _of_looks(folder: Path) -> list[dict[str, object]]:
    images = read_images(folder, LABELS)
    gray = [decoded(image, place, RENDERING) for place, image in enumerate(images)]
    looks = [look(pixels) for pixels in gray]
    given = {
        "mean gray level": np.array([[one.exposure] for one in looks]),
        "mean and spread of gray levels": np.array([[one.exposure, one.contrast] for one in looks]),
        "mean and spread of each edge": np.array([_edges(pixels) for pixels in gray]),
        "mean gray level of each edge": np.array([_edges(pixels)[:4] for pixels in gray]),
    }
    return [_judged(f"224 pixels: {name}", values, images) for name, values in given.items()]


def _edges(pixels: "NDArray[np.uint8]") -> list[float]:
    four = edges(pixels)
    return [*(float(edge.mean()) for edge in four), *(float(edge.std()) for edge in four)]


def _judged(name: str, values: "NDArray[np.float64]", images: tuple[LabelledImage, ...]) -> dict[str, object]:
    positive = np.array([image.label == 1 for image in images])
    patients = patient_groups(images)
    score = _votes((values - values.mean(axis=0)) / np.maximum(values.std(axis=0), 1e-9), positive, patients)
    area = metrics.auc_interval(positive, score, patients)
    given = score >= positive.mean()  # more positive neighbours than images have on average
    balanced = (given[positive].mean() + (~given[~positive]).mean()) / 2
    return {
        "told from": name,
        "images": len(images),
        "AUC": "" if area is None else f"{area.estimate:.3f} [{area.low:.3f}, {area.high:.3f}]",
        "balanced accuracy": f"{balanced:.3f}",
    }


def _votes(
    points: "NDArray[np.float64]", positive: "NDArray[np.bool_]", patients: "NDArray[np.int64]"
) -> "NDArray[np.float64]":
    """Share of positive images among the nearest ones of other patients."""
    votes = np.empty(len(points))
    for place, point in enumerate(points):
        distance = ((points - point) ** 2).sum(axis=1)
        distance[patients == patients[place]] = np.inf
        votes[place] = positive[np.argpartition(distance, NEIGHBOURS)[:NEIGHBOURS]].mean()
    return votes


if __name__ == "__main__":
    main()
