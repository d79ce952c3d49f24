"""Sections of text under one another, measured before they are drawn."""

from dataclasses import dataclass, field

from cxr_edge.report.content import Row, Section
from cxr_edge.report.pen import CAUTION, FAINT, INK, NEGATIVE, POSITIVE, Part, Pen
from cxr_edge.report.text import Block, Style, shortened, width_of, wrap
from cxr_edge.types import GateStatus

HEADING, TERM, VALUE = Style(9, INK, bold=True), Style(7.8, FAINT), Style(7.8, INK)
_BETWEEN_SECTIONS, _BETWEEN_ROWS, _INDENT = 7.0, 1.2, 8.0
_LEAST_TERM, _MOST_TERM = 0.15, 0.4  # of the column
_STATUS_COLOURS: dict[GateStatus, str] = {
    "ok": NEGATIVE,
    "warn": CAUTION,
    "refused": POSITIVE,
    "unknown": CAUTION,
}


@dataclass(slots=True)
class _Column:
    """Blocks with their places: from the left edge and down from the top."""

    width: float
    status_colour: str
    most: int
    height: float = 0.0
    term_width: float = 0.0
    blocks: list[tuple[float, float, Block]] = field(default_factory=list)
    rules: list[float] = field(default_factory=list)

    def add(self, section: Section) -> None:
        self.height += _BETWEEN_SECTIONS if self.blocks else 0
        self._put(0, wrap(section.title, HEADING, self.width, 1))
        self.rules.append(self.height)
        self.height += 3
        widest = max(width_of(row.term, TERM) for row in section.rows)
        self.term_width = min(max(widest + 8, self.width * _LEAST_TERM), self.width * _MOST_TERM)
        for row in section.rows:
            self._row(row)
            self.height += _BETWEEN_ROWS

    def _row(self, row: Row) -> None:
        if row.kind == "status":
            self._put(0, wrap(row.value, Style(8.2, self.status_colour, bold=True), self.width, 2))
        elif row.kind == "plain":
            self._put(0, wrap(row.value, VALUE, self.width, self.most))
        elif row.kind == "point":
            self.blocks.append((0, self.height, Block(("•",), VALUE)))
            self._put(_INDENT, wrap(row.value, VALUE, self.width - _INDENT, min(self.most, 3)))
        else:
            term = Block((shortened(row.term, TERM, self.term_width - 4),), TERM)
            self.blocks.append((0, self.height, term))
            self._put(self.term_width, wrap(row.value, VALUE, self.width - self.term_width, self.most))

    def _put(self, x: float, block: Block) -> None:
        self.blocks.append((x, self.height, block))
        self.height += block.height


def column(sections: tuple[Section, ...], left: float, width: float, status: GateStatus, most: int) -> Part:
    """Sections under one another; each value takes at most `most` lines."""
    made = _Column(width, _STATUS_COLOURS[status], most)
    for section in sections:
        made.add(section)

    def draw(pen: Pen, top: float) -> None:
        for y in made.rules:
            pen.rule(left, top - y, width)
        for x, y, block in made.blocks:
            pen.block(left + x, top - y, block)

    return Part(made.height, draw)
