"""Which labelled images a folder or a CSV names."""

import os
from pathlib import Path

from cxr_edge.cli.console import say
from cxr_edge.cli.inputs import find_images
from cxr_edge.labelled import LabelledImage, class_folders, patient_of, read_csv


def find_labelled(source: Path, labels: tuple[str, ...], outputs: tuple[Path, ...] = ()) -> tuple[LabelledImage, ...]:
    """The images of a folder with one sub-folder per class, or of a CSV; says what was passed over.

    Raises:
        UsageError: `source` is neither, or names a label that is none of `labels`.
    """
    if not os.path.isdir(source):  # noqa: PTH112 - Path.is_dir may raise
        return read_csv(source, labels)
    images: list[LabelledImage] = []
    for label, folder in class_folders(source, labels).items():
        found = find_images([folder], recursive=True, outputs=outputs)
        for notice in found.notices:
            say(f"{label}: {notice}")
        images += [LabelledImage(path, label, _patient_of(Path(path), Path(folder))) for path in found.paths]
    return tuple(images)


def _patient_of(path: Path, class_folder: Path) -> str | None:
    return patient_of(path.name, in_folder=path.parent != class_folder)
