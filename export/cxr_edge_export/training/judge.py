"""What `cxr-edge evaluate` reports, for a trained Keras network that is no model file yet."""

import csv
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cxr_edge.decide import calibrate, read_at
from cxr_edge.errors import UsageError
from cxr_edge.evaluate import Case, Collected, Report, Setting, Subject, evaluate
from cxr_edge.types import ModelIdentity, OperatingPoint, side_is_label
from cxr_edge_export import dataset, onnx_float, operating_points, parity
from cxr_edge_export.dataset import LabelledImage, Progress, order_sha256
from cxr_edge_export.held_back import trained_on
from cxr_edge_export.keras_model import SourceModel, load_model
from cxr_edge_export.patients import known, relative_to
from cxr_edge_export.recipe import Recipe
from cxr_edge_export.selection import read_selected
from cxr_edge_export.training.backend import Backend
from cxr_edge_export.training.run_folder import MODEL, RUN, Beginning, read_own_recipe, read_record

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeRequest:
    """What to evaluate.

    Attributes:
        run: folder of a finished training run.
        data: folder of labelled images that the run's lists are relative to.
        images: folder or list to evaluate on; None: the run's test images, or where it has none, its validation images.
        operating_point: name in the recipe; None: its default.
        backend: of Keras; None: the environment's, else TensorFlow.
    """

    run: Path
    data: Path
    images: Path | None
    operating_point: str | None
    backend: Backend | None = None


def judge(request: JudgeRequest, progress: Progress = lambda *_: None) -> Report:
    """Evaluate a run's network; its operating points are chosen, by the recipe's rules, on its validation images.

    Raises:
        UsageError: no finished run, no such operating point, or a set is unusable.
        ModelError: the network cannot be read, or an image cannot be decoded.
        EnvironmentUnusable: the backend is not to be had.
    """
    recipe = _recipe(request.run)
    source = load_model(request.run / MODEL, request.backend)
    validation = read_selected(recipe, request.run / "validation.txt", request.data)
    chosen = _chosen(request)
    images = read_selected(recipe, chosen, request.data)
    begun = read_record(request.run / RUN, Beginning)
    _refuse_others(validation, begun.validation_sha256, request, "validation")
    if chosen == request.run / "test.txt":
        _refuse_others(images, begun.test_sha256, request, "test")
    points = _points(recipe, validation, _scores(source, recipe, validation, progress), request.run.name)
    name = request.operating_point or recipe.default_operating_point
    point = next((point for point in points if point.name == name), None)
    if point is None:
        message = f"the recipe has no operating point {name!r}; it has {', '.join(p.name for p in points)}"
        raise UsageError(message)
    probabilities = _scores(source, recipe, images, progress)
    root = request.images if request.images is not None and request.images.is_dir() else request.data
    cases = tuple(_case(image, row, recipe, point, root) for image, row in zip(images, probabilities, strict=True))
    subject = Subject(
        model=ModelIdentity(name=recipe.model.name, version=recipe.model.version, sha256=source.sha256),
        execution_provider=source.framework,
        labels=recipe.labels,
        positive_labels=recipe.positive_labels,
        operating_points=points,
        operating_point=point,
        statement=recipe.intended_use.statement,
    )
    setting = Setting(description=f"{chosen.stem} images of {request.run.name}", gate="off", root=root)
    report = evaluate(subject, Collected(cases, ()), setting)
    said = [_chose_thresholds(images, validation, request.data)]
    if request.images is not None:  # the run's own sets are apart
        said.append(trained_on(request.run, images, (), recipe, request.data, "judged"))
    return replace(report, warnings=(*report.warnings, *filter(None, said)))


def _chose_thresholds(images: Sequence[LabelledImage], validation: Sequence[LabelledImage], data: Path) -> str | None:
    """How many of the images had a say in what they are judged by, in words; None where none had.

    By their bytes, and within the data folder by patient: elsewhere the same name may be another one's.
    """
    apart = {image.sha256 for image in dataset.without(images, validation)}
    digests = {image.sha256 for image in validation}
    within = [image for image in images if not Path(relative_to(image.path, data)).is_absolute()]
    count = len({i.sha256 for i in within} - apart | {i.sha256 for i in images} & digests)
    if not count:
        return None
    return (
        f"{count} of the {len(images)} judged images are of patients that the run validated on: thresholds are chosen "
        "on these, so the figures flatter"
    )


def images_as_csv(request: JudgeRequest, file: Path) -> bytes:
    """Which images `judge` judges, for `cxr-edge evaluate FILE.csv` of the exported model: path, label, patient.

    Args:
        request: that it is given.
        file: where the CSV is going to lie: paths are relative to its folder, but on another drive.

    Raises:
        UsageError: as `judge`.
    """
    recipe = _recipe(request.run)
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("path", "label", "patient"))
    folder = Path(os.path.abspath(file)).parent  # noqa: PTH100 - not where links lead
    for image in read_selected(recipe, _chosen(request), request.data):
        path = Path(os.path.abspath(image.path))  # noqa: PTH100
        near = Path(os.path.relpath(path, folder)) if path.anchor == folder.anchor else path
        rows.writerow((near.as_posix(), recipe.labels[image.label], known(image.patient) or ""))
    return text.getvalue().encode()


def _chosen(request: JudgeRequest) -> Path:
    """Folder or list of the images to be judged."""
    test = request.run / "test.txt"
    return request.images or (test if test.exists() else request.run / "validation.txt")


def _recipe(run: Path) -> Recipe:
    if not (run / MODEL).exists():
        message = f"{run} holds no finished training run (no {MODEL})"
        raise UsageError(message)
    return read_own_recipe(run).recipe


def _refuse_others(images: Sequence[LabelledImage], sha256: str, request: JudgeRequest, name: str) -> None:
    """Files of the same names elsewhere are other images."""
    if order_sha256(images) != sha256:
        message = (
            f"the {name} images in {request.data} are not those of the run {request.run}: give the folder that it was "
            "trained with, as it was then"
        )
        raise UsageError(message)


def _scores(
    source: SourceModel, recipe: Recipe, images: tuple[LabelledImage, ...], progress: Progress
) -> "NDArray[np.float64]":
    """Calibrated probabilities, float64 (N, labels)."""
    parts, done = [], 0
    for batch in dataset.tensors(images, recipe.rendering, recipe.member):
        parts.append(onnx_float.keras_probabilities(source, batch, recipe.member))
        done += len(batch)
        progress("evaluating", done, len(images))
    return calibrate(np.concatenate(parts).astype(np.float64), recipe.temperature)


def _points(
    recipe: Recipe, images: tuple[LabelledImage, ...], probabilities: "NDArray[np.float64]", run: str
) -> tuple[OperatingPoint, ...]:
    scores = parity.scores(probabilities.astype(np.float32), recipe.labels, recipe.positive_labels).positive
    positive = np.array([recipe.labels[image.label] in recipe.positive_labels for image in images], np.bool_)
    data = f"{len(images)} validation images of {run}"
    return tuple(operating_points.choose(rule, positive, (scores, scores), data) for rule in recipe.operating_points)


def _case(image: LabelledImage, row: "NDArray[np.float64]", recipe: Recipe, point: OperatingPoint, root: Path) -> Case:
    probabilities = dict(zip(recipe.labels, row.tolist(), strict=True))
    verdict = read_at(point, probabilities, recipe.positive_labels)
    return Case(
        path=relative_to(image.path, root),
        content_sha256=image.sha256,
        patient=known(image.patient),
        label=recipe.labels[image.label],
        given=verdict.label,
        score=verdict.score,
        gate="unknown",
        probabilities=None if side_is_label(recipe.labels) else probabilities,
    )
