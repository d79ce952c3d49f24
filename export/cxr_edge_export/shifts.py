"""What a model file does on images that differ from its training images: shifted on purpose, or by themselves."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

import cxr_edge
from cxr_edge import metrics
from cxr_edge.errors import UsageError
from cxr_edge.files import refuse_existing
from cxr_edge.types import Interval, side_is_label
from cxr_edge_export import dataset
from cxr_edge_export.clusters import Look, by_look, look
from cxr_edge_export.corruptions import CORRUPTIONS
from cxr_edge_export.dataset import LabelledImage, Progress
from cxr_edge_export.held_back import trained_with
from cxr_edge_export.parity import labels_given
from cxr_edge_export.recipe import read_recipe
from cxr_edge_export.selection import read_selected
from cxr_edge_export.shifted_choice import Choice, choose

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from cxr_edge.contract import Contract

UNCHANGED = "as they are"
FEWEST = 10  # images of each side; a part with fewer says nothing


class Shift(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of one set of images.

    Attributes:
        images: what was changed, or which part this is.
        positives, negatives: how many.
        auc: with 95 % bootstrap interval, by patient; None where one side is absent.
        sensitivity, specificity: at the operating point, with 95 % Wilson intervals.
        same_decision: share of images decided as the unchanged image is.
        same_label: share of images given the label of the unchanged image; None for two labels, whose decision it is.
        accuracy: share of images given their true label, with 95 % Wilson interval; None likewise.
    """

    images: str
    positives: int
    negatives: int
    auc: Interval | None
    sensitivity: Interval | None
    specificity: Interval | None
    same_decision: float
    same_label: float | None = None
    accuracy: Interval | None = None


class Shifts(msgspec.Struct, frozen=True, kw_only=True):
    """All figures of one model file.

    Attributes:
        model_sha256: of the file.
        operating_point: its name; `threshold` its value.
        data: description of the images; `data_sha256` of the set.
        rows: the unchanged images first.
        choice: what a release may choose by these rows.
    """

    model_sha256: str
    operating_point: str
    threshold: float
    data: str
    data_sha256: str
    rows: tuple[Shift, ...]
    choice: Choice

    @property
    def worst(self) -> Shift:
        """The row whose lower figure, of sensitivity and specificity, is the lowest."""
        return min(self.rows, key=_lower)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShiftRequest:
    """What to measure.

    Attributes:
        model: a file made by `convert`, or a packaged model's name.
        images: folder or list of labelled images that never trained the model.
        data: folder that a list is relative to; None: its own folder.
        recipe: whose `selection` says where the classes lie; None: one folder per label.
        operating_point: None: the model's default.
        output: JSON file to write; None: none.
        overwrite: whether it is replaced.
    """

    model: str
    images: Path
    data: Path | None
    recipe: Path | None
    operating_point: str | None
    output: Path | None
    overwrite: bool


def measure_shifts(request: ShiftRequest, progress: Progress = lambda *_: None) -> Shifts:
    """Classify every image as it is and in each change of `corruptions`; the image gate is not asked.

    Raises:
        UsageError: the set is unusable, or trained the model that lies beside its run; the recipe has other labels, or
            no such operating point.
        ModelError: the model cannot be used, or an image cannot be decoded.
    """
    if request.output is not None:
        refuse_existing(request.output, overwrite=request.overwrite)
    with cxr_edge.load(request.model, gate="off", operating_point=request.operating_point) as classifier:
        contract = classifier.contract
        images = _images(request, contract)
        if (file := Path(request.model)).is_file():  # and no name of a packaged model
            _refuse_trained_on(images, file)
        with dataset.all_damaged_named(images, contract.rendering):
            gray = [dataset.decoded(image, place, contract.rendering) for place, image in enumerate(images)]
        found: dict[str, NDArray[np.float64]] = {}
        for name, change in CORRUPTIONS.items():
            results = (classifier.classify(change(pixels)).probabilities for pixels in gray)
            found[name] = np.array([[one[label] for label in contract.labels] for one in results])
            progress("shifts", len(found), len(CORRUPTIONS))
        point, sha256 = classifier.operating_point, classifier.model.sha256
    truth = np.array([image.label for image in images])
    parts = _rows_of(found, [look(pixels) for pixels in gray], _positive(contract)[truth])
    everything, all_truth = np.concatenate(list(found.values())), np.tile(truth, len(found))
    answers = _Answers(everything, all_truth, _positive(contract), point.threshold)
    patients = dataset.patient_groups(images)
    return Shifts(
        model_sha256=sha256,
        operating_point=point.name,
        threshold=point.threshold,
        data=f"{len(images)} images of {request.images.stem}",
        data_sha256=dataset.set_sha256(images),
        rows=tuple(
            _row(name, answers.of(part), answers.of(part % len(images)), patients[part % len(images)])
            for name, part in parts.items()
        ),
        choice=choose(everything, all_truth, _positive(contract), parts, contract.outputs.temperature),
    )


def _refuse_trained_on(images: "Sequence[LabelledImage]", model: Path) -> None:
    """By their bytes, which are the same in any folder; of a file beside the run that its network came out of."""
    digests = trained_with(model)
    if count := sum(image.sha256 in digests for image in images):
        message = f"{count} of the {len(images)} given images trained the network of {model}: they flatter it"
        raise UsageError(message)


def _positive(contract: "Contract") -> "NDArray[np.bool_]":
    return np.array([label in contract.positive_labels for label in contract.labels])


def _rows_of(
    changes: "Iterable[str]", looks: "Sequence[Look]", positive: "NDArray[np.bool_]"
) -> "dict[str, NDArray[np.int64]]":
    """Which of all images, one change after the other, make each row: whole changes, then parts of the unchanged."""
    n = len(positive)
    rows = {name: np.arange(n) + start * n for start, name in enumerate(changes)}
    return rows | {name: np.flatnonzero(part) for name, part in _parts(looks, positive)}


def to_table(found: Shifts) -> str:
    """The figures as text."""
    rows = [("images", "n", "AUC", "sensitivity", "specificity", "decided as unchanged", *more_columns(found))]
    for row in found.rows:
        figures = (_figure(figure) for figure in (row.auc, row.sensitivity, row.specificity))
        more = () if row.same_label is None else (_figure(row.accuracy), f"{row.same_label:.3f}")
        rows.append((row.images, f"{row.positives} + {row.negatives}", *figures, f"{row.same_decision:.3f}", *more))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    head = f"operating point {found.operating_point}, threshold {found.threshold:.4f}; {found.data}\n"
    return head + "".join(f"{line}\n" for line in lines) + f"worst: {found.worst.images}\n" + _chosen(found.choice)


def more_columns(found: Shifts) -> tuple[str, ...]:
    """Headings of what is said of more labels than two."""
    several = any(row.same_label is not None for row in found.rows)
    return ("accuracy over all labels", "label as unchanged") if several else ()


def _figure(figure: Interval | None) -> str:
    return "" if figure is None else f"{figure.estimate:.3f} [{figure.low:.3f}, {figure.high:.3f}]"


def _chosen(choice: Choice) -> str:
    text = (
        f"scores: temperature {choice.temperature:g} would bring the mean cross-entropy of all rows from "
        f"{choice.cross_entropy_now:.4f} to {choice.cross_entropy:.4f}\n"
    )
    if choice.threshold is None:
        return text
    return text + (
        f"threshold: at that temperature {choice.threshold} would keep sensitivity and specificity at or above "
        f"{choice.lowest:.3f} in every row; lowest: {choice.lowest_row}\n"
    )


def read_shifts(path: Path) -> Shifts:
    """What `measure_shifts` gave, from its JSON file.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Shifts)
    except (OSError, msgspec.MsgspecError) as error:
        message = f"{path} cannot be read: {error}"
        raise UsageError(message) from None


def _images(request: ShiftRequest, contract: "Contract") -> tuple[LabelledImage, ...]:
    recipe = None if request.recipe is None else read_recipe(request.recipe).recipe
    if recipe is not None and recipe.labels != contract.labels:
        message = f"the recipe {request.recipe} has the labels {recipe.labels}; the model has {contract.labels}"
        raise UsageError(message)
    if recipe is not None:
        return read_selected(recipe, request.images, request.data or request.images.parent)
    return dataset.read_images(request.images, contract.labels, root=request.data)


@dataclass(frozen=True, slots=True)
class _Answers:
    """What the model says of images: probabilities [N, labels], truth [N]; `side` is which labels are positive."""

    probabilities: "NDArray[np.float64]"
    truth: "NDArray[np.int64]"
    side: "NDArray[np.bool_]"
    threshold: float

    def of(self, rows: "NDArray[np.int64]") -> "_Answers":
        return _Answers(self.probabilities[rows], self.truth[rows], self.side, self.threshold)

    @property
    def scores(self) -> "NDArray[np.float64]":
        return np.asarray(self.probabilities[:, self.side].sum(axis=1), np.float64)

    @property
    def decisions(self) -> "NDArray[np.bool_]":
        return self.scores >= self.threshold

    @property
    def labels(self) -> "NDArray[np.int64]":
        return labels_given(self.probabilities, np.flatnonzero(self.side).tolist(), self.decisions)


def _row(name: str, found: _Answers, plain: _Answers, patients: "NDArray[np.int64]") -> Shift:
    """The figures of a part; `plain`: of the same images unchanged; `patients`: whose they are."""
    positive = found.side[found.truth]
    counts = metrics.count_at(found.threshold, positive, found.scores)
    positives, negatives = int(positive.sum()), int((~positive).sum())
    right = int((found.labels == found.truth).sum())
    several = not side_is_label(found.side)
    return Shift(
        images=name,
        positives=positives,
        negatives=negatives,
        auc=metrics.auc_interval(positive, found.scores, np.unique(patients, return_inverse=True)[1]),
        sensitivity=metrics.share(counts.true_positive, positives),
        specificity=metrics.share(counts.true_negative, negatives),
        same_decision=float((found.decisions == plain.decisions).mean()),
        same_label=float((found.labels == plain.labels).mean()) if several else None,
        accuracy=metrics.share(right, found.truth.size) if several else None,
    )


def _parts(looks: "Sequence[Look]", positive: "NDArray[np.bool_]") -> "Iterator[tuple[str, NDArray[np.bool_]]]":
    """Parts of the images that differ by themselves, where both sides have enough images."""
    for name, part in by_look(looks).items():
        if min(int(positive[part].sum()), int((~positive[part]).sum())) >= FEWEST:
            yield name, part


def _lower(row: Shift) -> float:
    return min(figure.estimate for figure in (row.sensitivity, row.specificity) if figure is not None)
