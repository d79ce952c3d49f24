"""What the training runs that networks lie in say of images: which trained them, and which are their test's alone."""

from collections.abc import Sequence
from pathlib import Path

from cxr_edge.errors import UsageError
from cxr_edge_export.dataset import LabelledImage, label_files, without
from cxr_edge_export.image_files import is_file
from cxr_edge_export.patients import relative_to
from cxr_edge_export.recipe import Recipe
from cxr_edge_export.selection import with_patients
from cxr_edge_export.training.run_folder import RUN, SEEN


def without_tests(
    models: Sequence[Path], pool: Sequence[LabelledImage], recipe: Recipe, data: Path
) -> tuple[LabelledImage, ...]:
    """The images less those of patients that a run holds back for its test: they choose nothing.

    Args:
        models: Keras files; one beside a `run.json` lies in a run.
        pool: images of the data folder.
        recipe: its classes.
        data: folder that the runs' lists are relative to.
    """
    return without(pool, (image for run in _runs(models) for image in _listed(run / "test.txt", pool, recipe, data)))


def note_on_tests(
    models: Sequence[Path], validation: Sequence[LabelledImage], recipe: Recipe, data: Path
) -> str | None:
    """What to say where validation images are of patients that a run holds back for its test; None where none is."""
    for run in _runs(models):
        tests = _listed(run / "test.txt", validation, recipe, data)
        if count := len(validation) - len(without(validation, tests)):
            return (
                f"{count} of the {len(validation)} validation images are of patients in the test of the run {run}: "
                "thresholds are chosen on them, so they are no test of this file"
            )
    return None


def refuse_trained_on(
    models: Sequence[Path],
    validation: Sequence[LabelledImage],
    pool: Sequence[LabelledImage],
    recipe: Recipe,
    data: Path,
    name: str = "validation",
) -> None:
    """Refuse images of patients that trained a network: they flatter it.

    Args:
        models: as for `without_tests`.
        validation: on which a network is to be measured.
        pool: as for `without_tests`.
        recipe: its classes.
        data: as for `without_tests`.
        name: what the images are called.

    Raises:
        UsageError: how many, and which run.
    """
    for run in _runs(models):
        if found := trained_on(run, validation, pool, recipe, data, name):
            raise UsageError(found)


def trained_on(
    run: Path, images: Sequence[LabelledImage], pool: Sequence[LabelledImage], recipe: Recipe, data: Path, name: str
) -> str | None:
    """How many of the images are of patients that a run trained on, in words; None where none is."""
    known = (*pool, *images)
    digests = set(_lines(run / SEEN))  # of another data folder, too
    trained = (*_listed(run / "training.txt", known, recipe, data), *(i for i in known if i.sha256 in digests))
    count = len(images) - len(without(images, trained))
    if not count:
        return None
    return f"{count} of the {len(images)} {name} images are of patients that the run {run} trained on"


def trained_with(model: Path) -> frozenset[str]:
    """SHA-256 of all images that trained a network of a run, or its initial weights, or theirs in their turn."""
    return frozenset(line for run in _runs([model]) for line in _lines(run / SEEN))


def refuse_another_count(models: Sequence[Path], recipe: Recipe) -> None:
    """Refuse a recipe that tells another number of training images than the run that a network lies in.

    Of an ensemble's networks, which were trained apart, one number tells little: nothing is refused.

    Raises:
        UsageError: with both numbers.
    """
    for run in _runs(models) if len(models) == 1 else ():
        count, told = len(_lines(run / "training.txt")), recipe.training_data.images
        if count and count != told:
            message = f"the recipe says training_data.images = {told}; the run in {run} trained on {count}: say {count}"
            raise UsageError(message)


def refuse_other_data(models: Sequence[Path], data: Path) -> None:
    """Refuse a data folder that holds nothing of what trained a network: of patients nothing could be told.

    Args:
        models: as for `without_tests`.
        data: as for `without_tests`.

    Raises:
        UsageError: naming the run.
    """
    for run in _runs(models):
        lines = _lines(run / "training.txt")
        if lines and not any(is_file(data / line) for line in lines):
            message = f"none of the {len(lines)} images that the run {run} trained on is in {data}: give their folder"
            raise UsageError(message)


def _runs(models: Sequence[Path]) -> list[Path]:
    folders = (model.resolve().parent for model in models)  # of the network, not of a link to it
    return list(dict.fromkeys(folder for folder in folders if (folder / RUN).is_file()))


def _listed(listing: Path, known: Sequence[LabelledImage], recipe: Recipe, data: Path) -> tuple[LabelledImage, ...]:
    """Those of a run's list that are still there; of others nothing can be told."""
    lines = _lines(listing)
    places = {relative_to(image.path, data): image for image in known}
    others = [data / line for line in lines if line not in places]
    elsewhere = label_files([path for path in others if is_file(path)], recipe.labels, recipe.classes, listing)
    return (*(places[line] for line in lines if line in places), *with_patients(elsewhere, recipe, data))


def _lines(listing: Path) -> list[str]:
    """Of a run's list, which `RunFolder` wrote; none where there is no such list."""
    if not listing.is_file():
        return []
    try:
        return listing.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        message = f"the list {listing} cannot be read: {error}"
        raise UsageError(message) from None
