"""For models with more than two labels: the probability of each, with its number from 0, a name and no degree."""

from dataclasses import dataclass

from cxr_edge.contract import Contract
from cxr_edge.report.pen import FAINT, INK, LINE, NOTHING, PAPER, Part, Pen
from cxr_edge.report.text import Style, prose, shortened, width_of
from cxr_edge.report.words import Words
from cxr_edge.types import Prediction, side_is_label

MOST_ROWS = 7  # of three labels
MOST_STATIONS = 5  # with room for their names side by side
_COLUMNS, _GAP = 3, 12.0
_TITLE, _STATIONS, _ROW, _REST = 16.0, 44.0, 13.5, 11.0  # heights in points


@dataclass(frozen=True, slots=True)
class _Label:
    place: int
    name: str
    probability: float
    decided: bool


def labels(prediction: Prediction, contract: Contract, words: Words, left: float, width: float, most: int) -> Part:
    """A station for each of a few labels, a table of at most `most` rows for many; nothing for two."""
    if side_is_label(contract.labels):
        return NOTHING
    every = [
        _Label(place, prose(words.heading(label)), prediction.probabilities[label], label == prediction.label)
        for place, label in enumerate(contract.labels)
    ]
    few = len(every) <= MOST_STATIONS
    body = _stations(every, words, left, width) if few else _table(every, words, (left, width), most)

    def draw(pen: Pen, top: float) -> None:
        title, faint, strong = words.say("labels"), Style(8.5, FAINT, bold=True), Style(8.5, INK, bold=True)
        pen.text(left, top - 8, title, faint)
        given = words.say("labels.given", label=prose(words.label(prediction.label)))
        room = width - width_of(title, faint) - _GAP
        pen.text(left + width, top - 8, shortened(given, strong, room), strong, "end")
        body.draw(pen, top - _TITLE)

    return Part(_TITLE + body.height, draw)


def _stations(every: list[_Label], words: Words, left: float, width: float) -> Part:
    column = width / len(every)

    def draw(pen: Pen, top: float) -> None:
        for label in every:
            middle = left + (label.place + 0.5) * column
            _place(pen, middle, top - 9, label, 8)
            name = Style(8.5, INK, bold=label.decided)
            pen.text(middle, top - 28, shortened(label.name, name, column - 6), name, "middle")
            pen.text(middle, top - 39, words.figures.probability(label.probability), name, "middle")

    return Part(_STATIONS, draw)


def _table(every: list[_Label], words: Words, place: tuple[float, float], most: int) -> Part:
    left, width = place
    shown, rest = _most_probable(every, most * _COLUMNS)
    rows, column = -(-len(shown) // _COLUMNS), (width - (_COLUMNS - 1) * _GAP) / _COLUMNS
    height = rows * _ROW + (_REST if rest else 0)

    def draw(pen: Pen, top: float) -> None:
        for number, label in enumerate(shown):
            x, middle = left + number // rows * (column + _GAP), top - 6 - number % rows * _ROW
            _row(pen, words, (x, middle, column), label)
        if rest:
            together = words.figures.probability(sum(label.probability for label in rest))
            text = words.say("labels.more", count=len(rest), probability=together)
            pen.text(left, top - height + 2, text, Style(7.5, FAINT))

    return Part(height, draw)


def _most_probable(every: list[_Label], most: int) -> tuple[list[_Label], list[_Label]]:
    """Those to be shown, among them always the one decided on, and the rest; both in the labels' order."""
    ranked = sorted(every, key=lambda label: (not label.decided, -label.probability))
    in_order = [sorted(part, key=lambda label: label.place) for part in (ranked[:most], ranked[most:])]
    return in_order[0], in_order[1]


def _row(pen: Pen, words: Words, place: tuple[float, float, float], label: _Label) -> None:
    x, middle, width = place
    style, bar = Style(7.5, INK, bold=label.decided), width * 0.18
    _place(pen, x + 6, middle, label, 5.5)
    pen.text(x + 15, middle - 2.7, shortened(label.name, style, width - bar - 50), style)
    pen.box(x + width - bar - 30, middle - 2.5, bar, 5, fill=PAPER)
    pen.box(
        x + width - bar - 30, middle - 2.5, max(bar * label.probability, 0.3), 5, fill=INK if label.decided else FAINT
    )
    pen.text(x + width, middle - 2.7, words.figures.probability(label.probability), style, "end")


def _place(pen: Pen, x: float, y: float, label: _Label, radius: float) -> None:
    """The label's number in a circle, filled where the model decided for it."""
    pen.circle(x, y, radius, fill=INK if label.decided else "#ffffff", edge=INK if label.decided else LINE)
    style = Style(radius * 1.1, "#ffffff" if label.decided else FAINT, bold=True)
    pen.text(x, y - style.size * 0.36, str(label.place), style, "middle")
