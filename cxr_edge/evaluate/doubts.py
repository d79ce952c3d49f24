"""What whoever reads the figures has to know about the images first."""

from collections.abc import Iterator, Sequence

from cxr_edge.evaluate.collect import Collected
from cxr_edge.evaluate.report import Data
from cxr_edge.metrics import Counts, describe_lumped

ENOUGH_IMAGES = 50  # of each class


def warnings(collected: Collected, data: Data, counts: Counts, conflicts: Sequence[str]) -> Iterator[str]:
    """One sentence each.

    Args:
        collected: the images.
        data: how many of which.
        counts: decisions at the operating point.
        conflicts: patients with truly positive and truly negative images.
    """
    yield from _small_samples(data, counts)
    if data.rejected:
        yield f"{data.rejected} of {data.images} images were rejected and are in no figure but those that count them"
    if data.refused_but_classified:
        yield f"{data.refused_but_classified} images that the gate refuses were classified all the same"
    yield from _repetitions(collected, data)
    if conflicts:
        yield f"{len(conflicts)} patients have positive images and negative ones; they count as positive"
    if words := describe_lumped([case.patient for case in collected.cases]):
        yield words
    if data.patients is not None and data.images_without_patient:
        yield f"the patient of {data.images_without_patient} images is not known; each counts as a patient of its own"


def _small_samples(data: Data, counts: Counts) -> Iterator[str]:
    for count in data.by_label:
        if not count.classified:
            yield f"no image of class {count.label} was classified; figures that need one are not defined"
    positives = counts.true_positive + counts.false_negative
    for number, name in ((positives, "positive"), (counts.total - positives, "negative")):
        if 0 < number < ENOUGH_IMAGES:
            yield f"small sample: {number} {name} images; with fewer than {ENOUGH_IMAGES}, look at the intervals only"


def _repetitions(collected: Collected, data: Data) -> Iterator[str]:
    if data.duplicates:
        yield f"{data.duplicates} images repeat the bytes of another; they count twice"
    labels: dict[str | None, set[str]] = {}
    for case in collected.cases:
        labels.setdefault(case.content_sha256, set()).add(case.label)
    if contradicting := sum(len(found) > 1 for found in labels.values()):
        yield f"{contradicting} images occur with the same bytes under different labels"
