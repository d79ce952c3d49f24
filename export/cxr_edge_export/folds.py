"""Validation sets for one training each: whole clusters of source, left out one at a time, or folds by patient."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cxr_edge.contract import Rendering
from cxr_edge.errors import OutputError, UsageError
from cxr_edge.files import write_atomically
from cxr_edge_export import clusters
from cxr_edge_export.dataset import LabelledImage, Progress, all_damaged_named, decoded, without
from cxr_edge_export.image_files import refuse_inside
from cxr_edge_export.patients import describe_shared, describe_unknown
from cxr_edge_export.recipe import Recipe, read_recipe
from cxr_edge_export.selection import once, patients_by_class, read_selected

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Parts = dict[str, NDArray[np.bool_]]

LONGEST = 80  # letters of a list's name; that of a family may be as long as a file's can be
FEWEST = 10  # images of each class, inside and outside; a fold with fewer says nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldsRequest:
    """What to cut into folds.

    Attributes:
        recipe: classes, rendering, and the seed of what is drawn.
        data: folder of labelled images.
        test: folder or list of images that are in no fold; None: all may be.
        output: folder of the lists.
        by_patient: number of folds of cross-validation, each with other patients; None: clusters of source.
    """

    recipe: Path
    data: Path
    test: Path | None
    output: Path
    by_patient: int | None = None


@dataclass(frozen=True, slots=True)
class Fold:
    """One list: what its images have in common, their number, and the labels drawn from outside the cluster."""

    file: Path
    cluster: str
    images: int
    filled: tuple[str, ...]


def write_folds(
    request: FoldsRequest, progress: Progress = lambda *_: None, note: Callable[[str], None] = lambda _: None
) -> list[Fold]:
    """Write a list for each part that leaves every class images on both sides; `train --validation` takes it.

    By patient, each image is in one list, and each list has about as many patients of each class. A cluster that lacks
    a class, as a family of names mostly does, is filled up with other patients of it: as large a share as it has of the
    classes of its own. Those images are as in training; the cluster's own are not.

    Of files with the same bytes the first alone is taken, as in training.

    Args:
        request: what to cut.
        progress: is told how many images were looked at.
        note: is told where nothing tells the patients: then one may be in two lists.

    Raises:
        UsageError: recipe or images are unusable, or there is no such cluster.
        ModelError: an image cannot be decoded.
        OutputError: the folder holds lists already, or cannot be written.
    """
    recipe = read_recipe(request.recipe).recipe
    refuse_inside(request.output, request.data)
    _make_folder(request.output)
    images = _images(request, recipe)
    patients = [image.patient for image in images]
    for words in filter(None, (describe_unknown(patients), describe_shared(patients))):
        note(words)
    seed, count = recipe.selection.seed, request.by_patient
    parts = _by_source(images, recipe.rendering, progress) if count is None else _by_patient(images, count, recipe)
    folds: list[Fold] = []
    for name, part in parts.items():
        chosen, filled = _filled(images, part, seed) if count is None else (part, [])
        if _usable(images, chosen, len(recipe.labels)):
            short = re.sub(r"[^A-Za-z0-9]+", "-", name.replace("#", "N")).strip("-")[:LONGEST]
            file = request.output / f"{len(folds) + 1:02}-{short}.txt"
            inside = (image.path.absolute() for image, taken in zip(images, chosen, strict=True) if taken)
            write_atomically(file, "".join(f"{path.as_posix()}\n" for path in inside).encode(), overwrite=False)
            folds.append(Fold(file, name, int(chosen.sum()), tuple(recipe.labels[label] for label in filled)))
    if not folds:
        message = f"{request.data} has no part with {FEWEST} images of each class inside and outside of it"
        raise UsageError(message)
    return folds


def _images(request: FoldsRequest, recipe: Recipe) -> tuple[LabelledImage, ...]:
    """What is to be cut: neither held back nor the same as another."""
    held = () if request.test is None else read_selected(recipe, request.test, request.data)
    pool = without(read_selected(recipe, request.data, request.data), held)
    if not pool:
        message = f"{request.test} holds back all images of {request.data}"
        raise UsageError(message)
    images = once(pool)
    if not images:
        message = f"each image of {request.data} stands in several classes with the same bytes"
        raise UsageError(message)
    return images


def _by_source(images: Sequence[LabelledImage], rendering: Rendering, progress: Progress) -> "Parts":
    """Clusters by look and by name; every image is decoded."""
    looks = []
    with all_damaged_named(images, rendering):
        for place, image in enumerate(images):
            looks.append(clusters.look(decoded(image, place, rendering)))
            progress("images", place + 1, len(images))
    return clusters.by_look(looks) | clusters.by_name([i.path.name for i in images])


def _by_patient(images: Sequence[LabelledImage], count: int, recipe: Recipe) -> "Parts":
    """Patients dealt out in turns, class by class, in an order drawn by the seed."""
    missing = [label for number, label in enumerate(recipe.labels) if all(i.label != number for i in images)]
    if missing:
        message = f"there is no image of {', '.join(missing)} to make folds of"
        raise UsageError(message)
    generator, dealt = np.random.Generator(np.random.PCG64(recipe.selection.seed)), dict[str, int]()
    for _, patients in sorted(patients_by_class(images).items()):
        for index in generator.permutation(len(patients)):
            dealt[patients[index]] = len(dealt) % count
    fold = np.array([dealt[image.patient] for image in images])
    few = next((n + 1 for n in range(count) if not _usable(images, fold == n, len(recipe.labels))), None)
    if few is not None:
        message = f"{count} folds by patient leave number {few} fewer than {FEWEST} images of a class; take fewer folds"
        raise UsageError(message)
    return {f"fold {n + 1} of {count} by patient": fold == n for n in range(count)}


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"cannot make the folder {folder}: {error.strerror}"
        raise OutputError(message) from None
    if any(folder.glob("*.txt")):
        message = f"{folder} holds lists already; take another folder"
        raise OutputError(message)


def _filled(
    images: Sequence[LabelledImage], part: "NDArray[np.bool_]", seed: int
) -> "tuple[NDArray[np.bool_], list[int]]":
    """The part with some patients of the classes that it lacks, and these classes."""
    labels, patients = np.array([i.label for i in images]), np.array([i.patient for i in images])
    own = {label: float(part[labels == label].mean()) for label in np.unique(labels).tolist()}
    lacking = [label for label in own if part[labels == label].sum() < FEWEST]
    present = [share for label, share in own.items() if label not in lacking]
    generator, chosen = np.random.Generator(np.random.PCG64(seed)), part.copy()
    for label in lacking if present else []:
        others = np.setdiff1d(patients[labels == label], patients[part])
        drawn = generator.permutation(others)[: round(float(np.mean(present)) * others.size)]
        chosen |= np.isin(patients, drawn) & (labels == label)
    return chosen, lacking


def _usable(images: Sequence[LabelledImage], chosen: "NDArray[np.bool_]", labels: int) -> bool:
    inside = [image for image, taken in zip(images, chosen, strict=True) if taken]
    counts = [
        np.bincount([image.label for image in side], minlength=labels) for side in (inside, without(images, inside))
    ]
    return bool(np.min(counts) >= FEWEST)
