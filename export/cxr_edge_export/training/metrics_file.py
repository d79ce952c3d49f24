"""What came out of a training run: `metrics.json`."""

from pathlib import Path

import msgspec

from cxr_edge.errors import UsageError
from cxr_edge_export.training.run_folder import METRICS, read_record


class SetFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What the trained network reaches on one set, by Keras.

    Attributes:
        images: how many, of so many `patients`.
        sha256: of the set.
        cross_entropy: mean of -log p of the true label.
        accuracy: share of images whose most probable label is the true one.
        balanced_accuracy: mean of the labels' recalls; None where a label is absent.
        auc: of the summed probability of the positive labels; None where one side is absent.
        confusion: counts, rows are the truth, columns the most probable label.
    """

    images: int
    patients: int
    sha256: str
    cross_entropy: float
    accuracy: float
    balanced_accuracy: float | None
    auc: float | None
    confusion: tuple[tuple[int, ...], ...]


class Metrics(msgspec.Struct, frozen=True, kw_only=True):
    """What came out of a run: `metrics.json`.

    Attributes:
        model: name in the recipe.
        seed: of the run.
        weights: initial ones: `random`, `imagenet`, or `sha256:` and the hash of a file.
        software: versions of Keras and its backend.
        training_images: how many.
        epochs: run in all stages.
        seconds_per_epoch: median, of each stage.
        parameters: of the deployed network.
        trainable_parameters: of them, in the last stage.
        validation: figures on the validation images.
        test: on the test images; None where there are none.
    """

    model: str
    seed: int
    weights: str
    software: str
    training_images: int
    epochs: int
    seconds_per_epoch: tuple[float, ...]
    parameters: int
    trainable_parameters: int
    validation: SetFigures
    test: SetFigures | None


def read_metrics(run: Path) -> Metrics:
    """Of a run that came to its end.

    Raises:
        UsageError: it did not, or they are damaged.
    """
    try:
        return read_record(run / METRICS, Metrics)
    except UsageError as error:
        message = f"{run} holds no finished training run: {error}"
        raise UsageError(message) from None


def in_words(part: SetFigures) -> str:
    """The figures of a set, for a person."""
    balanced = "" if part.balanced_accuracy is None else f", balanced accuracy {part.balanced_accuracy:.4f}"
    auc = "" if part.auc is None else f", AUC {part.auc:.4f}"
    words = f"accuracy {part.accuracy:.4f}{balanced}, by the most probable label{auc}"
    return f"{words}; {part.images:,} images of {part.patients:,} patients"
