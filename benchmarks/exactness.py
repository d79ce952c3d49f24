"""Is the runtime's input tensor byte-equal to the one training made, under the Pillow installed here and under others?

    python benchmarks/exactness.py                                  # this interpreter
    python benchmarks/exactness.py --pillow 12.0 --pillow 13.0      # each in a virtual environment of its own
    python benchmarks/exactness.py --json benchmarks/results/exactness.json

References import Pillow alone. The real radiographs are found at $CXR_EDGE_DATA, else ../shared/data; without them
only the synthetic images are compared. Exit status 1 when a single byte differs.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image

from cxr_edge.contract import Input, Member, Normalization, Rendering, Resize
from cxr_edge.decode import decode
from cxr_edge.preprocess import pillow_arithmetic_matches, pillow_kernels, preprocess

REPOSITORY = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("CXR_EDGE_DATA", REPOSITORY.parent / "shared" / "data")).resolve()
SIDE = 224
SYNTHETIC_IMAGES = 200
KERNELS = {
    "pillow-nearest": Image.Resampling.NEAREST,
    "pillow-bilinear": Image.Resampling.BILINEAR,
    "pillow-bicubic": Image.Resampling.BICUBIC,
    "pillow-lanczos": Image.Resampling.LANCZOS,
}
RENDERING = Rendering(dicom="ps3.3-c11-floor8", colour="pillow-l", exif_orientation="ignore")
ORDERS = ("horizontal-first", "vertical-first", "pillow-13")
Gray = NDArray[np.uint8]


class Case(NamedTuple):
    """One image to compare.

    Attributes:
        pixels: what the runtime works on, uint8 (rows, columns).
        gray: the same image for Pillow.
        size: (height, width) of the result.
    """

    pixels: Gray
    gray: Image.Image
    size: tuple[int, int]


def original_paths() -> list[Path]:
    """The published radiographs that the training images were made from; none where the data is absent."""
    return sorted((DATA / "kermany_original").rglob("*.jpeg"))


def member(kernel: str, pass_order: str, size: tuple[int, int]) -> Member:
    """A network that takes gray of `size` (height, width) in three channels."""
    return Member(
        name="net",
        input=Input(name="image", dtype="uint8", height=size[0], width=size[1], channels=3),
        resize=Resize(kernel=kernel, pass_order=pass_order, aspect="squash"),  # type: ignore[arg-type]
        normalization=Normalization(channel_order="rgb", mean=(0.0,) * 3, scale=(1.0,) * 3, folded=True),
    )


def plain(gray: Image.Image, kernel: str, size: tuple[int, int]) -> Gray:
    """(height, width) by the installed Pillow's own `resize`, in whatever order it takes."""
    return np.asarray(gray.resize(size[::-1], KERNELS[kernel]))


def reference(gray: Image.Image, kernel: str, order: str, size: tuple[int, int]) -> Gray:
    """(height, width) by Pillow alone, in the order asked for."""
    rows_lost, columns_lost = gray.height - size[0], gray.width - size[1]
    vertical_first = order == "vertical-first"
    if order == "pillow-13":
        if int(PIL.__version__.split(".")[0]) >= 13:
            return plain(gray, kernel, size)
        vertical_first = rows_lost > 0 and rows_lost > 2 * columns_lost
    between = (gray.width, size[0]) if vertical_first else (size[1], gray.height)
    return np.asarray(gray.resize(between, KERNELS[kernel]).resize(size[::-1], KERNELS[kernel]))


def originals() -> list[Case]:
    """The published radiographs: decoded by the runtime, and by Pillow's `convert("L")`."""
    cases = []
    for path in original_paths():
        with Image.open(path) as image:
            cases.append(Case(decode(path.read_bytes(), RENDERING).pixels, image.convert("L"), (SIDE, SIDE)))
    return cases


def synthetic() -> list[Case]:
    """Noise of random sizes, to be resized to random sizes."""
    random = np.random.default_rng(2026)
    cases = []
    for _ in range(SYNTHETIC_IMAGES):
        rows, columns, height, width = np.exp(random.uniform(np.log(8), np.log(2400), 4)).astype(int).tolist()
        pixels = random.integers(0, 256, (rows, columns), dtype=np.uint8)
        cases.append(Case(pixels, Image.fromarray(pixels), (min(height, 512), min(width, 512))))
    return cases


def compare(images: str, cases: list[Case]) -> Iterator[dict[str, Any]]:
    """Rows of the table: how many tensors differ, as the runtime works here and with the package's own arithmetic."""
    for kernel, order in itertools.product(KERNELS, ORDERS):
        differ, differ_own = 0, 0
        for case in cases:
            gray = reference(case.gray, kernel, order, case.size)
            wanted = np.stack((gray, gray, gray), axis=-1).tobytes()
            network = member(kernel, order, case.size)
            differ += preprocess(case.pixels, network).tobytes() != wanted
            with mock.patch.object(pillow_kernels, "pillow_arithmetic_matches", return_value=False):
                differ_own += preprocess(case.pixels, network).tobytes() != wanted
        yield {
            "images": images,
            "kernel": kernel,
            "pass_order": order,
            "compared": len(cases),
            "differ": differ,
            "differ_own_arithmetic": differ_own,
        }


def not_horizontal_first(cases: list[Case]) -> dict[str, int]:
    """How many images this Pillow's plain bilinear `resize` gives otherwise than horizontal-first."""
    kernel = "pillow-bilinear"
    differ = sum(
        not np.array_equal(
            plain(case.gray, kernel, case.size), reference(case.gray, kernel, "horizontal-first", case.size)
        )
        for case in cases
    )
    return {"compared": len(cases), "differ": differ}


def shift_to_published() -> dict[str, float] | None:
    """Gray levels between an original's tensor and its 224-pixel JPEG, which differ by JPEG's own loss."""
    network = member("pillow-bilinear", "horizontal-first", (SIDE, SIDE))
    means, largest, compared = [], 0, 0
    for path in original_paths():
        small = DATA / "kermany224" / "train" / path.parent.name / path.name
        if not small.is_file():
            continue
        tensor = preprocess(decode(path.read_bytes(), RENDERING).pixels, network).astype(int)
        again = preprocess(decode(small.read_bytes(), RENDERING).pixels, network).astype(int)
        shift = np.abs(tensor - again)
        means.append(float(shift.mean()))
        largest, compared = max(largest, int(shift.max())), compared + 1
    if not means:
        return None
    return {"images": compared, "mean_levels": float(np.mean(means)), "worst_mean": max(means), "max_levels": largest}


def measure() -> dict[str, Any]:
    """Everything, in this interpreter."""
    cases = {name: images for name, images in (("originals", originals()), ("synthetic", synthetic())) if images}
    return {
        "python": sys.version.split()[0],
        "numpy": np.__version__,
        "pillow": PIL.__version__,
        "pillow_arithmetic_matches": pillow_arithmetic_matches(),
        "plain_resize_not_horizontal_first": {name: not_horizontal_first(images) for name, images in cases.items()},
        "comparisons": [row for name, images in cases.items() for row in compare(name, images)],
        "shift_to_published_jpeg": shift_to_published(),
    }


def measure_under(pillow: str) -> dict[str, Any]:
    """The same in a fresh virtual environment: this repository's runtime, then that Pillow."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder, "Scripts" if os.name == "nt" else "bin", "python")
        output = Path(folder, "result.json")
        for what in ([str(REPOSITORY)], [f"pillow=={pillow}"]):
            subprocess.run([str(python), "-m", "pip", "install", "--quiet", *what], check=True)
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        command = [str(python), str(Path(__file__).resolve()), "--json", str(output), "--quiet"]
        subprocess.run(command, check=False, cwd=folder, env={**environment, "CXR_EDGE_DATA": str(DATA)})
        result: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))
    return result


def show(result: dict[str, Any]) -> None:
    """The table of one interpreter."""
    who = "Pillow" if result["pillow_arithmetic_matches"] else "the package's own arithmetic"
    print(f"\nPillow {result['pillow']}, numpy {result['numpy']}, Python {result['python']}: {who} resizes")
    print(
        f"{'images':<10} {'kernel':<16} {'pass order':<17} {'compared':>8} {'differ':>7} {'own arithmetic differs':>23}"
    )
    for row in result["comparisons"]:
        print(
            f"{row['images']:<10} {row['kernel']:<16} {row['pass_order']:<17} {row['compared']:>8} {row['differ']:>7} "
            f"{row['differ_own_arithmetic']:>23}"
        )
    for images, count in result["plain_resize_not_horizontal_first"].items():
        print(f"plain resize of this Pillow: {count['differ']} of {count['compared']} {images} not horizontal-first")
    if shift := result["shift_to_published_jpeg"]:
        print(
            f"original against its 224-pixel JPEG, {shift['images']} images: mean {shift['mean_levels']:.3f} levels, "
            f"worst image {shift['worst_mean']:.3f}, largest pixel {shift['max_levels']}"
        )


def main() -> int:
    """Measure, print, write; 1 when anything differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pillow", action="append", default=[], help="version to try in an environment of its own")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--quiet", action="store_true", help="no table")
    options = parser.parse_args()
    results = [measure_under(version) for version in options.pillow] or [measure()]
    if not options.quiet:
        for result in results:
            show(result)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(results if options.pillow else results[0], indent=2)
        options.json.write_text(text + "\n", encoding="utf-8")
    rows = [row for result in results for row in result["comparisons"]]
    return int(any(row["differ"] or row["differ_own_arithmetic"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
