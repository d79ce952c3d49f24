"""Make the folder on which `cxr-edge-export convert --families` tests the image gate: real images that are no chest.

    python benchmarks/gate_families.py FOLDER [--dicom FOLDER]... [--photographs FOLDER]

Every image loses its tags and becomes a JPEG. `pass` holds the full-size originals, `refuse` the radiographs of other
body parts, CT / MR / US / nuclear medicine, photographs, and pages of text (set by this script from the repository's
documentation, so synthetic). DICOM comes from the real data (`$CXR_EDGE_DATA`, else `../shared/data` beside the
repository), from pydicom's own test files, and from `--dicom` (for instance the unpacked pydicom-data of PyPI);
photographs from `--photographs` (for instance scikit-image's `skimage/data`).
"""

import argparse
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from machine import print_table
from PIL import Image, ImageDraw, ImageFont

from cxr_edge.decode import decode_dataset
from cxr_edge.decode.array import decode_array
from cxr_edge.decode.limits import DecodeLimits
from cxr_edge.modelfile import read_model
from cxr_edge_export.stamp import load_onnx, read_contract

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from pydicom import Dataset

    Gray = NDArray[np.uint8]

REPOSITORY = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("CXR_EDGE_DATA") or REPOSITORY.parent / "shared" / "data")
FRAMES = 5  # of a multi-frame object
SMALLEST = 32  # pixels a side
MODALITIES = ("CT", "MR", "NM", "US")
PAGES = 60


def main() -> None:
    """Write the folder and say what is in it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dicom", type=Path, action="append", default=[])
    parser.add_argument("--photographs", type=Path)
    options = parser.parse_args()
    import pydicom

    warnings.simplefilter("ignore")  # of pydicom, about files that are broken on purpose
    others = [DATA / "dicom" / "odd", Path(pydicom.__file__).parent / "data", *options.dicom]
    families = {
        "pass/full-size originals of training images": _originals(),
        "refuse/real radiographs of other body parts and animals": _dicom([DATA / "dicom" / "nonchest"], None),
        "refuse/real CT, MR, US and nuclear medicine": _dicom(others, MODALITIES),
        "refuse/pages of text, set by a program (synthetic)": _pages(),
    }
    if options.photographs is not None:
        families["refuse/photographs and microscopy"] = _photographs(options.photographs)
    rows = []
    for name, images in families.items():
        target = options.folder / name
        target.mkdir(parents=True)
        count = 0
        seen: set[bytes] = set()
        for pixels in images:
            if min(pixels.shape) >= SMALLEST and pixels.tobytes() not in seen:
                seen.add(pixels.tobytes())
                Image.fromarray(pixels).save(target / f"{count:04}.jpg", quality=95)
                count += 1
        rows.append({"family": name, "images": count})
    print_table(rows)


def _originals() -> "Iterator[Gray]":
    for path in sorted((DATA / "kermany_original").rglob("*.jpeg")):
        yield np.asarray(Image.open(path).convert("L"))


def _dicom(folders: list[Path], modalities: tuple[str, ...] | None) -> "Iterator[Gray]":
    """Frames as 8-bit gray by the contract's rendering; a multi-frame object's own by their range."""
    import pydicom

    for path in sorted(file for folder in folders for file in folder.rglob("*") if file.is_file()):
        try:
            dataset = pydicom.dcmread(path, force=True)
            if modalities is None or dataset.get("Modality") in modalities:
                yield from _frames(dataset)
        except Exception:  # noqa: BLE001, S112 - hostile files and mere documents are among them
            continue


def _frames(dataset: "Dataset") -> "Iterator[Gray]":
    count = int(dataset.get("NumberOfFrames") or 1)
    if count == 1:
        rendering = read_contract(load_onnx(read_model().content)).rendering
        yield decode_dataset(dataset, rendering).pixels
        return
    frames = dataset.pixel_array
    for index in np.unique(np.linspace(0, count - 1, FRAMES).astype(int)):
        values = frames[index].astype(np.float64)
        gray = values if values.ndim == 2 else values.mean(-1)
        scaled = (gray - gray.min()) / max(float(np.ptp(gray)), 1.0) * 255
        yield decode_array(scaled.astype(np.uint8), DecodeLimits()).pixels


def _photographs(folder: Path) -> "Iterator[Gray]":
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in (".jpg", ".jpeg", ".png"):
            yield np.asarray(Image.open(path).convert("L"))


def _pages() -> "Iterator[Gray]":
    """Black on white or white on black, several sizes, from the repository's own texts."""
    random = np.random.Generator(np.random.PCG64(3))
    texts = sorted(REPOSITORY.glob("docs/**/*.md"))
    for _ in range(PAGES):
        lines = texts[int(random.integers(len(texts)))].read_text(encoding="utf-8").splitlines()
        size, width, height = (int(random.integers(*limits)) for limits in ((9, 40), (300, 1300), (300, 1700)))
        dark = random.random() < 0.3
        page = Image.new("L", (width, height), 0 if dark else 255)
        pen, font = ImageDraw.Draw(page), ImageFont.load_default(size)
        start = int(random.integers(max(1, len(lines) - height // size)))
        for row, line in enumerate(lines[start : start + height // size]):
            pen.text((20, 10 + row * size * 1.3), line, fill=255 if dark else 0, font=font)
        yield np.asarray(page)


if __name__ == "__main__":
    main()
