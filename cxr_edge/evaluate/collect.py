"""Classify labelled images, and keep of each what the figures need."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from cxr_edge.classifier import Classifier
from cxr_edge.evaluate.report import Case, RejectedCase
from cxr_edge.labelled import LabelledImage
from cxr_edge.types import Prediction, Rejection

Progress = Callable[[Iterable[Prediction | Rejection], int], Iterable[Prediction | Rejection]]


@dataclass(frozen=True, slots=True)
class Collected:
    """What became of each image, in order: classified or rejected."""

    cases: tuple[Case, ...]
    rejected: tuple[RejectedCase, ...]


def collect(classifier: Classifier, images: Sequence[LabelledImage], progress: Progress | None = None) -> Collected:
    """Classify the images; a bad one is rejected, not left out.

    Args:
        classifier: with the operating point to be evaluated.
        images: labelled with the contract's labels.
        progress: wraps the results (and is told how many come), to show how far it is.
    """
    cases: list[Case] = []
    rejected: list[RejectedCase] = []
    with contextlib.closing(classifier.classify_many(image.path for image in images)) as many:
        results: Iterable[Prediction | Rejection] = many if progress is None else progress(many, len(images))
        for image, result in zip(images, results, strict=True):
            if isinstance(result, Rejection):
                rejected.append(_rejected(image, result))
            else:
                cases.append(_case(image, result))
    return Collected(tuple(cases), tuple(rejected))


def digests(collected: Collected) -> Iterator[str]:
    """SHA-256 of each file that could be read."""
    known = [case.content_sha256 for case in collected.cases] + [case.content_sha256 for case in collected.rejected]
    yield from (digest for digest in known if digest is not None)


def _case(image: LabelledImage, result: Prediction) -> Case:
    return Case(
        path=image.path,
        content_sha256=result.source.content_sha256,
        patient=image.patient,
        label=image.label,
        given=result.label,
        score=result.score,
        gate=result.gate.status,
        probabilities=dict(result.probabilities),
    )


def _rejected(image: LabelledImage, result: Rejection) -> RejectedCase:
    return RejectedCase(
        path=image.path,
        content_sha256=result.source.content_sha256,
        label=image.label,
        reason=result.reason.value,
        message=result.message,
    )
