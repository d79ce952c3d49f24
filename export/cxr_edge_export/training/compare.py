"""One table over several training runs: how right, how large, how long."""

import hashlib
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np

from cxr_edge.engine import Engine
from cxr_edge.errors import UsageError
from cxr_edge.modelfile import read_model
from cxr_edge.types import side_is_label
from cxr_edge_export.stamp import load_onnx, read_contract
from cxr_edge_export.training.metrics_file import read_metrics
from cxr_edge_export.training.run_folder import METRICS, MODEL, read_own_recipe

if TYPE_CHECKING:
    from numpy.typing import NDArray

On = Literal["test", "validation"]
RUNS = 15  # of the INT8 file, after a warm-up
EXPORTED = "model.onnx"
SET_DIGITS = 8  # of its SHA-256, in the table


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One run's row.

    Attributes:
        name: of the run's folder.
        model: name in its recipe.
        recipe_sha256: of that.
        weights: initial ones, as in `metrics.json`.
        on: which set the figures are of.
        images: in it.
        set_sha256: of that set: which images, whatever their names and labels.
        accuracy, balanced_accuracy, auc: on them, by Keras; None where a label, or a side, is absent.
        precision: of each label, in order; None where it was never given.
        recall: of each label, in order; None where no image truly has it.
        confusion: images by [true label][most probable label].
        positive_labels: whose summed probability `auc` is of.
        trainable_parameters: in the last stage; `parameters` in all.
        seconds_per_epoch: median, of each stage.
        int8_mb: size of the run's `model.onnx`, 10^6 bytes; None without one.
        int8_ms: median inference time of one image, at the default number of threads; None without one.
    """

    name: str
    model: str
    recipe_sha256: str
    weights: str
    on: str
    images: int
    set_sha256: str
    accuracy: float
    balanced_accuracy: float | None
    auc: float | None
    precision: dict[str, float | None]
    recall: dict[str, float | None]
    confusion: tuple[tuple[int, ...], ...]
    positive_labels: tuple[str, ...]
    parameters: int
    trainable_parameters: int
    seconds_per_epoch: tuple[float, ...]
    int8_mb: float | None
    int8_ms: float | None


def compare(runs: list[Path], on: On | None = None) -> list[Compared]:
    """A row for each finished run.

    Args:
        runs: their folders.
        on: which of a run's sets the figures are of; None: its test images, or where it has none, validation images.

    Raises:
        UsageError: a folder holds no finished run, or is given twice, or has no test images that it was asked for.
        ModelError: a run's `model.onnx` cannot be used.
    """
    if len({run.resolve() for run in runs}) < len(runs):
        message = "a run is given twice"
        raise UsageError(message)
    return [_row(run, on) for run in runs]


def to_json(rows: list[Compared]) -> bytes:
    """The rows as JSON."""
    return msgspec.json.format(msgspec.json.encode(rows), indent=1) + b"\n"


def unlike(rows: list[Compared]) -> list[str]:
    """What to say of rows whose figures are not of the same images, or not of the same classes."""
    said = []
    if (sets := len({row.set_sha256 for row in rows})) > 1:
        said.append(
            f"the figures are of {sets} different sets of images (column set): compare only rows of the same set; "
            "a mean over folds is meant to be of several"
        )
    if len({frozenset(row.precision) for row in rows}) > 1:
        each = "; ".join(f"{row.name}: {', '.join(row.precision)}" for row in rows)
        said.append(f"the runs tell different classes apart, so their figures cannot be compared: {each}")
    elif len({frozenset(row.positive_labels) for row in rows}) > 1 and not side_is_label(tuple(rows[0].precision)):
        each = "; ".join(f"{row.name}: {' and '.join(row.positive_labels)}" for row in rows)
        said.append(f"AUC is that of different labels: {each}")
    return said


def means(rows: list[Compared]) -> str | None:
    """Mean and sample standard deviation over folds or seeds of one experiment, in words; None where rows are not."""
    if len(rows) < 2 or len({(row.recipe_sha256, row.weights, row.on) for row in rows}) > 1:  # noqa: PLR2004 - one has no deviation
        return None
    named: dict[str, Sequence[float | None]] = {
        "accuracy": [row.accuracy for row in rows],
        "balanced": [row.balanced_accuracy for row in rows],
        "AUC": [row.auc for row in rows],
    }
    words = []
    for name, figures in named.items():
        there = [figure for figure in figures if figure is not None]
        if len(there) == len(rows):
            words.append(f"{name} {statistics.fmean(there):.3f} (sd {statistics.stdev(there):.3f})")
    return f"mean of {len(rows)} runs of {rows[0].model}: {', '.join(words)}"


def to_table(rows: list[Compared]) -> list[dict[str, str]]:
    """The rows as text, by column; a set is named by the first digits of its SHA-256."""
    return [
        {
            "run": row.name,
            "on": f"{row.images} {row.on}",
            "set": row.set_sha256[:SET_DIGITS],
            "accuracy": f"{row.accuracy:.3f}",
            "balanced": "" if row.balanced_accuracy is None else f"{row.balanced_accuracy:.3f}",
            "AUC": "" if row.auc is None else f"{row.auc:.3f}",
            "precision": _by_label(row.precision),
            "recall": _by_label(row.recall),
            "trainable": f"{row.trainable_parameters:,}",
            "s an epoch": ", ".join(f"{seconds:.1f}" for seconds in row.seconds_per_epoch),
            "INT8 MB": "" if row.int8_mb is None else f"{row.int8_mb:.1f}",
            "ms": "" if row.int8_ms is None else f"{row.int8_ms:.1f}",
        }
        for row in rows
    ]


def _by_label(shares: dict[str, float | None]) -> str:
    return ", ".join(f"{label} {'-' if share is None else f'{share:.2f}'}" for label, share in shares.items())


def _diagonal(matrix: "NDArray[np.int64]", of: "NDArray[np.int64]", labels: Sequence[str]) -> dict[str, float | None]:
    return {label: float(matrix[i, i] / of[i]) if of[i] else None for i, label in enumerate(labels)}


def _row(run: Path, on: On | None) -> Compared:
    found = read_metrics(run)
    on = on or ("validation" if found.test is None else "test")
    part = found.validation if on == "validation" else found.test
    if part is None:
        message = f"the run in {run} has no test images"
        raise UsageError(message)
    own = read_own_recipe(run)
    labels = own.recipe.labels
    if {len(part.confusion), *map(len, part.confusion)} != {len(labels)}:
        message = f"the confusion matrix in {run / METRICS} is not one of {len(labels)} labels"
        raise UsageError(message)
    matrix = np.array(part.confusion)
    given = matrix.sum(axis=0)
    size, latency = _int8(run)
    return Compared(
        name=run.resolve().name,
        model=found.model,
        recipe_sha256=own.sha256,
        weights=found.weights,
        on=on,
        images=part.images,
        set_sha256=part.sha256,
        accuracy=part.accuracy,
        balanced_accuracy=part.balanced_accuracy,
        auc=part.auc,
        precision=_diagonal(matrix, given, labels),
        recall=_diagonal(matrix, matrix.sum(axis=1), labels),
        confusion=part.confusion,
        positive_labels=own.recipe.positive_labels,
        parameters=found.parameters,
        trainable_parameters=found.trainable_parameters,
        seconds_per_epoch=found.seconds_per_epoch,
        int8_mb=size,
        int8_ms=latency,
    )


def _int8(run: Path) -> tuple[float | None, float | None]:
    """Megabytes and median milliseconds of the run's INT8 file; None where there is none.

    Raises:
        UsageError: the file was made from another network than the run's.
    """
    if not (run / EXPORTED).exists():
        return None, None
    content = read_model(run / EXPORTED).content
    contract = read_contract(load_onnx(content))
    try:
        with (run / MODEL).open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        message = f"{run / MODEL}, which {EXPORTED} was made from, cannot be read: {error.strerror}"
        raise UsageError(message) from None
    if digest != contract.identity.source_model_sha256:
        message = f"{run / EXPORTED} was not made from the network beside it"
        raise UsageError(message)
    if contract.quantization.scheme == "none":
        return None, None
    engine = Engine(content, provider="cpu")
    tensors = {
        member.input.name: np.zeros(
            (1, member.input.height, member.input.width, member.input.channels), member.input.dtype
        )
        for member in contract.members
    }
    times = []
    for _ in range(RUNS + 1):
        started = time.perf_counter()
        engine.run(tensors, (contract.outputs.probabilities,))
        times.append((time.perf_counter() - started) * 1e3)
    return len(content) / 1e6, statistics.median(times[1:])
