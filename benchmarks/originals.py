"""How far the probability shifts between a radiograph at full resolution and the 224-pixel JPEG made of it.

    python benchmarks/originals.py [--data FOLDER] [--json]

FOLDER holds `kermany_original` and `kermany224`; by default $CXR_EDGE_DATA, else ../shared/data beside the repository.
"""

import argparse
import os
from pathlib import Path

import numpy as np
from machine import print_table, write_result

import cxr_edge

REPOSITORY = Path(__file__).resolve().parent.parent


def main() -> None:
    """Classify both versions of each image and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = os.environ.get("CXR_EDGE_DATA", REPOSITORY.parent / "shared" / "data")
    parser.add_argument("--data", type=Path, default=Path(default))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    pairs = _pairs(options.data)
    classifier = cxr_edge.load()
    full, small = ([_score(classifier, path) for path in paths] for paths in zip(*pairs, strict=True))
    shift = np.abs(np.array(full) - np.array(small))
    points = [
        {
            "operating point": point.name,
            "threshold": f"{point.threshold:.4f}",
            "same decision": sum(
                point.decides_positive(a) == point.decides_positive(b) for a, b in zip(full, small, strict=True)
            ),
            "images": len(pairs),
        }
        for point in classifier.contract.operating_points
    ]
    print_table(points)
    figures = {
        "images": len(pairs),
        "abs_shift_p50": float(np.median(shift)),
        "abs_shift_p99": float(np.quantile(shift, 0.99)),
        "abs_shift_max": float(shift.max()),
    }
    print(", ".join(f"{name} {value:.4g}" for name, value in figures.items()))
    if options.json:
        write_result("originals", {**figures, "operating_points": points})


def _pairs(data: Path) -> list[tuple[Path, Path]]:
    pairs = []
    for full in sorted((data / "kermany_original").glob("*/*")):
        (small,) = (data / "kermany224").glob(f"*/{full.parent.name}/{full.name}")
        pairs.append((full, small))
    return pairs


def _score(classifier: cxr_edge.Classifier, path: Path) -> float:
    return classifier.classify(path).score


if __name__ == "__main__":
    main()
