"""Whether what is faster still decides the same: accuracy and agreement on labelled images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cxr_edge.bench.candidates import Candidate
from cxr_edge.bench.measure import Progress
from cxr_edge.bench.percentiles import percentiles
from cxr_edge.bench.report import Accuracy, Agreement, Excluded, Labelled
from cxr_edge.errors import InputError, UsageError
from cxr_edge.labelled import LabelledImage
from cxr_edge.metrics import auc, count_at, share
from cxr_edge.types import Prediction, side_is_label


@dataclass(frozen=True, slots=True, eq=False)
class _Truth:
    """What is said of the images that every candidate classified.

    Attributes:
        labels: of each.
        positive: bool [N], the side of each.
        more: whether the model has more than two labels.
    """

    labels: tuple[str, ...]
    positive: "np.ndarray[tuple[int, ...], np.dtype[np.bool_]]"
    more: bool


def measure_labelled(
    candidates: Sequence[Candidate], images: Sequence[LabelledImage], progress: Progress[LabelledImage]
) -> Labelled:
    """Classify each image with each candidate in turn.

    Args:
        candidates: the model asked for; then, perhaps, its float form.
        images: labelled with the contract's labels.
        progress: shows how far it is.

    Raises:
        UsageError: not one image can be classified.
    """
    contract, point = candidates[0].classifier.contract, candidates[0].classifier.operating_point
    results: list[list[Prediction]] = [[] for _ in candidates]
    truth: list[str] = []
    excluded: list[Excluded] = []
    for image in progress(images, "labelled images", len(images)):
        try:
            answers = [candidate.classifier.classify(image.path) for candidate in candidates]
        except InputError as error:
            excluded.append(Excluded(path=image.path, reason=error.reason.value, message=str(error)))
            continue
        truth.append(image.label)
        for found, answer in zip(results, answers, strict=True):
            found.append(answer)
    if not truth:
        message = f"none of the {len(images)} labelled images can be classified"
        raise UsageError(message)
    more = not side_is_label(contract.labels)
    known = _Truth(tuple(truth), np.array([label in contract.positive_labels for label in truth]), more)
    scores = [np.array([answer.score for answer in found]) for found in results]
    same_label = _same([answer.label for answer in results[0]], [answer.label for answer in results[-1]])
    return Labelled(
        images=len(truth),
        excluded=tuple(excluded),
        operating_point=point,
        accuracy=tuple(
            _accuracy(candidate, found, known, point.threshold)
            for candidate, found in zip(candidates, results, strict=True)
        ),
        agreement=agreement(scores[0], scores[1], point.threshold, same_label if more else None)
        if len(scores) > 1
        else None,
    )


def agreement(
    asked: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]",
    reference: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]",
    threshold: float,
    same_label: int | None = None,
) -> Agreement:
    """Decisions on the same images.

    Args:
        asked: float64 [N], scores of the model asked for.
        reference: float64 [N], scores of the float model.
        threshold: at or above it a score is positive, for both.
        same_label: images on which both give the same label; None with two labels.
    """
    before, after, difference = reference >= threshold, asked >= threshold, np.abs(asked - reference)
    return Agreement(
        same=int((before == after).sum()),
        positive_to_negative=int((before & ~after).sum()),
        negative_to_positive=int((~before & after).sum()),
        same_label=same_label,
        score_difference_p50=float(np.median(difference)),
        score_difference_max=float(difference.max()),
    )


def _same(given: Sequence[str], others: Sequence[str]) -> int:
    return sum(one == other for one, other in zip(given, others, strict=True))


def _accuracy(
    candidate: Candidate,
    found: Sequence[Prediction],
    truth: _Truth,
    threshold: float,
) -> Accuracy:
    score = np.array([answer.score for answer in found])
    counts = count_at(threshold, truth.positive, score)
    area = auc(truth.positive, score)
    right = _same([answer.label for answer in found], truth.labels)
    return Accuracy(
        model=candidate.classifier.model,
        scheme=candidate.scheme,
        accuracy=counts.accuracy,
        accuracy_over_all_labels=share(right, len(found)) if truth.more else None,
        sensitivity=counts.sensitivity,
        specificity=counts.specificity,
        auc=area if area == area else None,  # noqa: PLR0124 - NaN where a class is absent
        inference_ms=percentiles([answer.latency.inference_ms for answer in found]),
        total_ms=percentiles([answer.latency.total_ms for answer in found]),
    )
