"""What the training runs that networks lie in say of images: which trained them, and which are their test's alone."""

from collections.abc import Sequence
from pathlib import Path

from cxr_edge.errors import UsageError
from cxr_edge_export.dataset import LabelledImage, label_files, without
from cxr_edge_export.patients import relative_to
from cxr_edge_export.recipe import Recipe
from cxr_edge_export.training.run_folder import RUN


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
) -> None:
    """Refuse validation images of patients that trained a network: they flatter it.

    Args:
        models: as for `without_tests`.
        validation: on which operating points and parity are to be measured.
        pool: as for `without_tests`.
        recipe: its classes.
        data: as for `without_tests`.

    Raises:
        UsageError: how many, and which run.
    """
    for run in _runs(models):
        trained = _listed(run / "training.txt", (*pool, *validation), recipe, data)
        if count := len(validation) - len(without(validation, trained)):
            message = (
                f"{count} of the {len(validation)} validation images are of patients that the run {run} trained on"
            )
            raise UsageError(message)


def _runs(models: Sequence[Path]) -> list[Path]:
    return list(dict.fromkeys(model.parent for model in models if (model.parent / RUN).is_file()))


def _listed(listing: Path, known: Sequence[LabelledImage], recipe: Recipe, data: Path) -> tuple[LabelledImage, ...]:
    """Those of a run's list that are still there; of others nothing can be told."""
    if not listing.is_file():
        return ()
    places = {relative_to(image.path, data): image for image in known}
    lines = listing.read_text(encoding="utf-8").splitlines()
    others = [data / line for line in lines if line not in places]
    elsewhere = label_files([path for path in others if path.is_file()], recipe.labels, recipe.classes, listing)
    return (*(places[line] for line in lines if line in places), *elsewhere)
