"""A site's own operating point: chosen by rule on its own images, with the doubts that go with it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from cxr_edge import metrics
from cxr_edge.errors import UsageError
from cxr_edge.evaluate.doubts import ENOUGH_IMAGES
from cxr_edge.evaluate.figures import Scored
from cxr_edge.evaluate.report import Proposal, Report
from cxr_edge.overlay import Overlay, OverlayImages, make_overlay
from cxr_edge.types import OperatingPoint

MAX_WIDTH = 0.1  # of an interval
_WISH = re.compile(r"\s*(sensitivity|specificity)\s*(?:>=|≥)\s*(0?\.\d+|1(?:\.0+)?)\s*")


@dataclass(frozen=True, slots=True)
class Wish:
    """What the threshold shall reach on the images."""

    rule: Literal["sensitivity", "specificity"]
    value: float

    @property
    def name(self) -> str:
        """Of the operating point to be."""
        return f"site-{self.rule}-{self.value:g}"

    @property
    def words(self) -> str:
        """How the threshold is chosen."""
        which = "highest" if self.rule == "sensitivity" else "lowest"
        return f"{which} threshold with {self.rule} >= {self.value:g} on these images"


def parse_wish(text: str) -> Wish:
    """Read `sensitivity>=0.98` or `specificity>=0.9`.

    Raises:
        UsageError: anything else.
    """
    match = _WISH.fullmatch(text)
    if match is None or not 0 < float(match[2]) <= 1:
        message = f"cannot choose a threshold by {text!r}; need sensitivity>=S or specificity>=S, S above 0 and up to 1"
        raise UsageError(message)
    return Wish("sensitivity" if match[1] == "sensitivity" else "specificity", float(match[2]))


def propose(wish: Wish, scored: Scored, data: str) -> Proposal:
    """The operating point that fulfils a wish on these images.

    Raises:
        UsageError: one of the classes is absent, or the threshold would not lie between 0 and 1.
    """
    threshold = metrics.choose_threshold(wish.rule, scored.positive, scored.score, wish.value)
    counts = metrics.count_at(threshold, scored.positive, scored.score)
    positives, negatives = int(scored.positive.sum()), int((~scored.positive).sum())
    point = OperatingPoint(
        name=wish.name,
        threshold=threshold,
        sensitivity=metrics.wilson_interval(counts.true_positive, positives),
        specificity=metrics.wilson_interval(counts.true_negative, negatives),
        data=data,
        how_chosen=wish.words,
    )
    return Proposal(operating_point=point, warnings=tuple(_doubts(point, positives, negatives)))


def overlay_of(report: Report) -> Overlay:
    """The overlay file's content for the operating point that a report proposes.

    Raises:
        UsageError: the report proposes none.
    """
    if report.proposal is None:
        message = "nothing was proposed: an overlay needs a rule by which to choose a threshold"
        raise UsageError(message)
    counts, data = report.images.counts, report.data
    images = OverlayImages(
        positives=counts.true_positive + counts.false_negative,
        negatives=counts.true_negative + counts.false_positive,
        rejected=data.rejected,
        sha256=data.sha256,
    )
    proposal = report.proposal
    return make_overlay(proposal.operating_point, report.model, images, report.created, proposal.warnings)


def _doubts(point: OperatingPoint, positives: int, negatives: int) -> Iterator[str]:
    yield "chosen and measured on the same images: expect less on others, and measure it there"
    for count, name in ((positives, "positive"), (negatives, "negative")):
        if count < ENOUGH_IMAGES:
            yield f"small sample: {count} {name} images; at least {ENOUGH_IMAGES} are needed for a threshold to rely on"
    for figure, name in ((point.sensitivity, "sensitivity"), (point.specificity, "specificity")):
        if figure.high - figure.low > MAX_WIDTH:
            yield f"small sample: the interval of the {name} is wider than {MAX_WIDTH:g}"
