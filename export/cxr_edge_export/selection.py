"""Which images train, which validate, which test: no bytes twice, and no patient on two sides."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from cxr_edge.errors import UsageError
from cxr_edge_export.dataset import LabelledImage, read_images, rule_of, without
from cxr_edge_export.metadata import Metadata
from cxr_edge_export.patients import relative_to
from cxr_edge_export.recipe import ClassRule, Recipe


@dataclass(frozen=True, slots=True)
class Split:
    """Three sets that share neither a patient nor their bytes.

    Attributes:
        training, validation, test: the images.
        left_out: of the data folder, what is in none of them: why -> how many. Not those of held-back patients.
    """

    training: tuple[LabelledImage, ...]
    validation: tuple[LabelledImage, ...]
    test: tuple[LabelledImage, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)


def select(recipe: Recipe, data: Path, validation: Path | None = None, test: Path | None = None) -> Split:
    """The images of a data folder as the recipe selects and splits them; the same seed, the same split.

    Args:
        recipe: its `selection`.
        data: folder with the sub-folders of `selection.classes`.
        validation: folder or list of images held back for validation; None: `selection.validation` of the patients.
        test: folder or list of images held back for the test; None: `selection.test` of the patients.

    Raises:
        UsageError: a set is unusable, two given ones share patients, or a class has no image left to train on.
    """
    plan = recipe.selection
    held = [read_selected(recipe, source, data) if source is not None else None for source in (validation, test)]
    _refuse_shared(*held)
    pool, left_out = _selected(recipe, data, data)
    pool = without(pool, (image for images in held for image in images or ()))
    single = once(pool)
    fewer = _fewer(single, recipe)
    everything = _as_many_of_each(fewer, plan.seed) if plan.undersample else fewer
    left_out |= {
        "double, or of several classes": len(pool) - len(single),
        "further of a patient": len(single) - len(fewer),
        "more than the smallest class has": len(fewer) - len(everything),
    }
    left_out = {why: count for why, count in left_out.items() if count}
    pool = everything
    drawn: list[tuple[LabelledImage, ...]] = []
    for number, (given, share) in enumerate(zip(held, (plan.validation, plan.test), strict=True)):
        drawn.append(_draw_patients(pool, everything, share, plan.seed + number) if given is None else given)
        pool = without(pool, drawn[-1])
    split = Split(pool, without(drawn[0], drawn[1]), drawn[1], left_out)
    for name, images, source in (("train", split.training, None), ("validate", split.validation, validation)):
        missing = [index for index, _ in enumerate(recipe.labels) if all(i.label != index for i in images)]
        if missing:
            there = ", ".join(filter(None, (_counted(everything, index, recipe.labels) for index in missing)))
            names = ", ".join(recipe.labels[index] for index in missing)
            words = f"; there are {there}, less those in the other sets" if there else ""
            message = f"{data} leaves no image of {names} to {name} on{words}{_left_out_words('; ', left_out)}"
            if source is not None:
                message = f"{source} has no image of {names} to {name} on"
            raise UsageError(message)
    return split


def _counted(images: Sequence[LabelledImage], label: int, labels: Sequence[str]) -> str:
    """How many images and patients of a class there are, in words; empty where there are none."""
    found = [image.patient for image in images if image.label == label]
    one, several = f"1 patient of {labels[label]}", f"{len(set(found))} patients of {labels[label]}"
    return f"{len(found)} image(s) of {one if len(set(found)) == 1 else several}" if found else ""


def _refuse_shared(validation: tuple[LabelledImage, ...] | None, test: tuple[LabelledImage, ...] | None) -> None:
    if validation is None or test is None:
        return
    if shared := len(validation) - len(without(validation, test)):
        message = (
            f"of {len(validation)} images to validate on {shared} are of patients who stand in the test set, too: "
            "each is to be taken whole, so give sets that share none"
        )
        raise UsageError(message)


def describe_left_out(split: Split) -> str:
    """In words, for a person; empty where nothing was left out."""
    return _left_out_words("", split.left_out)


def _left_out_words(before: str, left_out: Mapping[str, int]) -> str:
    if not left_out:
        return ""
    return f"{before}left out of the data folder: {', '.join(f'{n} {why}' for why, n in left_out.items())}"


def read_selected(recipe: Recipe, source: Path, data: Path) -> tuple[LabelledImage, ...]:
    """The images of a folder or list, each with its patient: the CSV's, where the recipe names one.

    Of `data` itself, images that the CSV does not list and those of other projections are left out; what a list or
    another folder names was chosen on purpose, and is taken whole.

    Args:
        recipe: its classes and `selection.metadata_csv`.
        source: folder or list.
        data: the data folder, that the CSV and a list's entries are relative to.

    Raises:
        UsageError: the set or the CSV is unusable.
    """
    return _selected(recipe, source, data)[0]


def _selected(recipe: Recipe, source: Path, data: Path) -> tuple[tuple[LabelledImage, ...], dict[str, int]]:
    """(the images, why -> how many of the data folder were left out)."""
    plan = recipe.selection
    left_out: Counter[str] = Counter()
    images = read_images(source, recipe.labels, classes=recipe.classes, root=data, left_out=left_out)
    if plan.metadata_csv is None:
        return images, dict(left_out)
    rows = Metadata(data, plan.metadata_csv, plan.metadata_columns)
    kept = []
    for image in images:
        patient, view = rows.of(relative_to(image.path, data))
        if source == data and view is None:
            left_out[f"that {plan.metadata_csv} does not list"] += 1
        elif source == data and plan.views and view not in plan.views:
            left_out[f"of another view than {' or '.join(plan.views)}"] += 1
        else:
            kept.append(replace(image, patient=patient or image.patient))
    return tuple(kept), dict(left_out)


def with_patients(images: Sequence[LabelledImage], recipe: Recipe, data: Path) -> tuple[LabelledImage, ...]:
    """The images, each with the patient that the recipe's CSV tells, where it names one.

    Raises:
        UsageError: the CSV is unusable.
    """
    plan = recipe.selection
    if plan.metadata_csv is None or not images:
        return tuple(images)
    rows = Metadata(data, plan.metadata_csv, plan.metadata_columns)
    return tuple(replace(i, patient=rows.of(relative_to(i.path, data))[0] or i.patient) for i in images)


def once(images: Sequence[LabelledImage]) -> tuple[LabelledImage, ...]:
    """The first of identical files; files of several classes with the same bytes all go."""
    labels: dict[str, set[int]] = {}
    for image in images:
        labels.setdefault(image.sha256, set()).add(image.label)
    first = {image.sha256: image for image in reversed(images)}
    return tuple(i for i in images if first[i.sha256] is i and len(labels[i.sha256]) == 1)


def _fewer(images: Sequence[LabelledImage], recipe: Recipe) -> tuple[LabelledImage, ...]:
    """One image per patient, or per patient and class rule, drawn by the seed."""
    plan = recipe.selection
    if plan.per_patient == "all":
        return tuple(images)
    order = np.random.Generator(np.random.PCG64(plan.seed)).permutation(len(images))
    kept: dict[tuple[str, ClassRule | None], int] = {}
    for index in order:
        image = images[index]
        kind = rule_of(image.path, recipe.classes) if plan.per_patient == "one-per-class" else None
        kept.setdefault((image.patient, kind), int(index))
    return tuple(images[index] for index in sorted(kept.values()))


def _as_many_of_each(images: Sequence[LabelledImage], seed: int) -> tuple[LabelledImage, ...]:
    """As many images of each class as the smallest has, drawn by the seed, in the order that they came in."""
    left = Counter(image.label for image in images)
    left = Counter(dict.fromkeys(left, min(left.values(), default=0)))
    kept = set[int]()
    for index in np.random.Generator(np.random.PCG64(seed)).permutation(len(images)):
        if left[images[index].label]:
            left[images[index].label] -= 1
            kept.add(int(index))
    return tuple(image for index, image in enumerate(images) if index in kept)


def _draw_patients(
    images: Sequence[LabelledImage], everything: Sequence[LabelledImage], share: float, seed: int
) -> tuple[LabelledImage, ...]:
    """All images of some patients: that share of the patients of each class in `everything`, drawn from `images`."""
    if share == 0:
        return ()
    drawn: set[str] = set()
    generator = np.random.Generator(np.random.PCG64(seed))
    wanted = {label: max(1, round(share * len(patients))) for label, patients in patients_by_class(everything).items()}
    for label, patients in sorted(patients_by_class(images).items()):
        drawn.update(patients[index] for index in generator.permutation(len(patients))[: wanted[label]])
    return tuple(image for image in images if image.patient in drawn)


def patients_by_class(images: Iterable[LabelledImage]) -> dict[int, list[str]]:
    """Label -> its patients, sorted; a patient of several classes counts for the last one."""
    found: dict[int, list[str]] = {}
    for patient, label in sorted({image.patient: image.label for image in images}.items()):
        found.setdefault(label, []).append(patient)
    return found
