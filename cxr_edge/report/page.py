"""All parts on one page of A4: texts first, shorter if they must be; the pictures take the room that is left."""

from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter

from cxr_edge.contract import Contract
from cxr_edge.report import content, frame
from cxr_edge.report.gallery import Gallery
from cxr_edge.report.labels import MOST_ROWS, labels
from cxr_edge.report.pen import MM, Part, Pen
from cxr_edge.report.sections import beside, column
from cxr_edge.report.verdict import result
from cxr_edge.report.words import Words
from cxr_edge.types import Prediction

WIDTH, HEIGHT = 210 * MM, 297 * MM  # ISO 216 A4
LEFT, TOP, FOOT = 15 * MM, HEIGHT - 12 * MM, 9 * MM
TEXT_WIDTH = WIDTH - 2 * LEFT
_GAP = 9.0
_LARGEST_PICTURES, _WANTED_PICTURES = 100 * MM, 52 * MM
_LINES_A_VALUE = (6, 5, 4, 3, 2, 1)  # tried in turn until the pictures have the room they need


@dataclass(frozen=True, slots=True)
class Report:
    """All that one page shows."""

    prediction: Prediction
    contract: Contract
    words: Words
    gallery: Gallery
    created: str
    identifiers: bool


def draw_page(pen: Pen, report: Report) -> None:
    """Draw it, from the top to the foot."""
    top = TOP
    for part in fitting(report):
        part.draw(pen, top)
        top -= part.height + _GAP
    frame.foot(pen, report.words, report.prediction.model, LEFT, TEXT_WIDTH, FOOT)


def fitting(report: Report) -> list[Part]:
    """The parts in order, with the longest texts that leave the pictures their room."""
    for most in _LINES_A_VALUE:
        above, below = list(_above(report, most)), list(_below(report, most))
        room = TOP - FOOT - 14 - sum(part.height + _GAP for part in (*above, *below))
        if room >= _WANTED_PICTURES:
            break
    pictures = report.gallery.part(report.words, LEFT, TEXT_WIDTH, min(room, _LARGEST_PICTURES))
    return [*above, pictures, *below]


def _above(report: Report, most: int) -> Iterator[Part]:
    words, prediction, contract = report.words, report.prediction, report.contract
    yield frame.heading(words, report.created, LEFT, TEXT_WIDTH)
    yield frame.notice(words, contract, LEFT, TEXT_WIDTH)
    yield result(prediction, contract, words, LEFT, TEXT_WIDTH)
    if len(contract.labels) > 2:  # noqa: PLR2004 - of two, the score says it all
        yield labels(prediction, contract, words, LEFT, TEXT_WIDTH, min(most + 3, MOST_ROWS))


def _below(report: Report, most: int) -> Iterator[Part]:
    words, prediction, status = report.words, report.prediction, report.prediction.gate.status
    half = (TEXT_WIDTH - 14) / 2
    point, use = content.operating_point(prediction, words), content.intended_use(report.contract, words)
    image = content.about_the_image(prediction, words, min(most + 2, 6))
    yield min(  # the intended use goes where there is more room
        (
            beside(column(left, LEFT, half, status, most), column(right, LEFT + half + 14, half, status, most))
            for left, right in (((point, use), image), ((point,), (*image, use)))
        ),
        key=attrgetter("height"),
    )
    wide = content.over_both_columns(prediction, words, identifiers=report.identifiers)
    yield column(wide, LEFT, TEXT_WIDTH, status, min(most, 2))
    yield frame.signature(words, LEFT, TEXT_WIDTH)
