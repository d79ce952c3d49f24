"""All parts on one page of A4: texts first, shorter if they must be; the pictures take the room that is left."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import attrgetter

from cxr_edge.contract import Contract
from cxr_edge.report import content, frame
from cxr_edge.report.gallery import Gallery
from cxr_edge.report.labels import MOST_ROWS, labels
from cxr_edge.report.pen import MM, Part, Pen, beside
from cxr_edge.report.sections import column
from cxr_edge.report.verdict import result
from cxr_edge.report.words import Words
from cxr_edge.types import GateStatus, Prediction

WIDTH, HEIGHT = 210 * MM, 297 * MM  # ISO 216 A4
LEFT, TOP, FOOT = 15 * MM, HEIGHT - 12 * MM, 9 * MM
TEXT_WIDTH = WIDTH - 2 * LEFT
_GAP = 9.0
_LARGEST_PICTURES, _WANTED_PICTURES, _LEAST_PICTURES = 100 * MM, 52 * MM, 35 * MM
_Side = Callable[[int], tuple[content.Section, ...]]  # of the lines that a value may take
_LINES_A_VALUE = (6, 5, 4, 3, 2, 1)  # tried in turn until the pictures have the room they need
_SHORTEST = 1  # cuts short what the gate says, too: only where the pictures would vanish otherwise


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
        if room >= (_WANTED_PICTURES if most > _SHORTEST + 1 else _LEAST_PICTURES):
            break
    pictures = report.gallery.part(report.words, LEFT, TEXT_WIDTH, min(room, _LARGEST_PICTURES))
    return [*above, pictures, *below]


def _above(report: Report, most: int) -> Iterator[Part]:
    words, prediction, contract = report.words, report.prediction, report.contract
    yield frame.heading(words, report.created, LEFT, TEXT_WIDTH)
    yield frame.notice(words, contract, LEFT, TEXT_WIDTH)
    if prediction.gate.status == "refused":
        yield frame.refusal(words, LEFT, TEXT_WIDTH)
    yield result(prediction, contract, words, LEFT, TEXT_WIDTH)
    scale = labels(prediction, contract, words, LEFT, TEXT_WIDTH, min(most + 2, MOST_ROWS))
    if scale.height:
        yield scale


def _below(report: Report, most: int) -> Iterator[Part]:
    words, prediction, status = report.words, report.prediction, report.prediction.gate.status
    point, use = (
        content.operating_point(prediction, report.contract, words),
        content.intended_use(report.contract, words),
    )

    def image(lines: int) -> tuple[content.Section, ...]:
        return content.about_the_image(prediction, words, 6 if lines > _SHORTEST else 3)

    arrangements: tuple[tuple[_Side, _Side], ...] = (
        (lambda _: (point, use), image),
        (lambda _: (point,), lambda lines: (*image(lines), use)),
    )
    # the intended use goes where there is more room
    yield min((_beside(sides, status, most) for sides in arrangements), key=attrgetter("height"))
    wide = content.over_both_columns(prediction, words, identifiers=report.identifiers)
    yield column(wide, LEFT, TEXT_WIDTH, status, 3 if most > _SHORTEST else 1)
    yield frame.signature(words, LEFT, TEXT_WIDTH)


def _beside(sides: tuple[_Side, _Side], status: GateStatus, most: int) -> Part:
    """Two columns; the shorter one says as much as fits beside the other: that costs the pictures nothing."""
    half = (TEXT_WIDTH - 14) / 2
    places = tuple(zip(sides, (LEFT, LEFT + half + 14), strict=True))
    parts = [column(side(most), x, half, status, most) for side, x in places]
    height = max(part.height for part in parts)
    for number, (side, x) in enumerate(places):
        if parts[number].height < height:
            longer = (column(side(lines), x, half, status, lines) for lines in _LINES_A_VALUE)
            parts[number] = next(part for part in longer if part.height <= height)
    return beside(*parts)
