"""Drawing on the page: a thin layer over reportlab's canvas that knows the bundled fonts. Lengths are points."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from cxr_edge.report.arabic import join
from cxr_edge.report.fonts import load
from cxr_edge.report.text import CODE_POINT, Block, Style, runs, width_of

MM = 72 / 25.4
INK, FAINT, LINE, PAPER = "#1b2733", "#5a6673", "#c5ccd3", "#f4f6f8"
POSITIVE, NEGATIVE, CAUTION = "#9d2a20", "#1d5c63", "#8a5200"
POSITIVE_FILL, CAUTION_FILL = "#fbe9e7", "#fdf3e4"
ASCENT = 0.98  # of the font size, from the top of a line to its baseline, so that lines hang evenly

Anchor = Literal["start", "middle", "end"]


class Pen:
    """Draws; `coded` tells whether a character had to be written as its code point."""

    def __init__(self, canvas: Any) -> None:  # noqa: ANN401 - reportlab has no types
        """Take a reportlab canvas."""
        self._canvas = canvas
        self.coded = False

    def text(self, x: float, baseline: float, text: str, style: Style, anchor: Anchor = "start") -> None:
        """One line of drawable text."""
        self.coded |= CODE_POINT.search(text) is not None
        joined = join(text)
        x -= {"start": 0.0, "middle": 0.5, "end": 1.0}[anchor] * width_of(joined, style)
        self._canvas.setFillColor(style.colour)
        for piece, font in runs(joined, bold=style.bold):
            self._canvas.setFont(load(font).fontName, style.size)
            self._canvas.drawString(x, baseline, piece)
            x += load(font).stringWidth(piece, style.size)

    def block(self, x: float, top: float, block: Block) -> None:
        """Lines under one another."""
        for number, line in enumerate(block.lines):
            self.text(x, top - number * block.style.leading - ASCENT * block.style.size, line, block.style)

    def rule(self, x: float, y: float, width: float, *, colour: str = LINE, thickness: float = 0.6) -> None:
        """A horizontal line."""
        self._canvas.setStrokeColor(colour)
        self._canvas.setLineWidth(thickness)
        self._canvas.line(x, y, x + width, y)

    def box(  # noqa: PLR0913 - a box has four sides
        self,
        x: float,
        bottom: float,
        width: float,
        height: float,
        *,
        fill: str,
        edge: str | None = None,
        round_: float = 0,
    ) -> None:
        """A filled rectangle, with an edge where one is given."""
        self._canvas.setFillColor(fill)
        self._canvas.setStrokeColor(edge or fill)
        self._canvas.setLineWidth(0.9)
        self._canvas.roundRect(x, bottom, width, height, round_, stroke=int(edge is not None), fill=1)

    def circle(self, x: float, y: float, radius: float, *, fill: str, edge: str) -> None:
        """A filled circle."""
        self._canvas.setFillColor(fill)
        self._canvas.setStrokeColor(edge)
        self._canvas.setLineWidth(0.9)
        self._canvas.circle(x, y, radius, stroke=1, fill=1)

    def pointer(self, x: float, tip: float, *, colour: str) -> None:
        """A small triangle that stands on its tip at (x, tip)."""
        path = self._canvas.beginPath()
        path.moveTo(x, tip)
        path.lineTo(x - 3.5, tip + 5)
        path.lineTo(x + 3.5, tip + 5)
        path.close()
        self._canvas.setFillColor(colour)
        self._canvas.drawPath(path, stroke=0, fill=1)

    def jpeg(self, picture: bytes, x: float, bottom: float, width: float, height: float) -> None:
        """A JPEG file, embedded as it is."""
        from reportlab.lib.utils import ImageReader

        self._canvas.drawImage(ImageReader(io.BytesIO(picture)), x, bottom, width, height)


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of the page as wide as the text: its height is known before it is drawn from its top."""

    height: float
    draw: Callable[[Pen, float], None]


NOTHING = Part(0.0, lambda _pen, _top: None)


def beside(one: Part, other: Part) -> Part:
    """Two columns."""

    def draw(pen: Pen, top: float) -> None:
        one.draw(pen, top)
        other.draw(pen, top)

    return Part(max(one.height, other.height), draw)
