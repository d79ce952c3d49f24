"""Elements of a drawing that takes its colours from the page: `style` is a class of its style sheet."""

from collections.abc import Iterable
from typing import Literal

from cxr_edge.page import markup

Anchor = Literal["start", "middle", "end"]
Point = tuple[float, float]


def drawing(title: str, width: float, height: float, elements: Iterable[str]) -> str:
    """One `svg` element; `title` is what a screen reader says."""
    size = f"0 0 {_number(width)} {_number(height)}"
    return f'<svg viewBox="{size}" role="img" aria-label="{markup.text(title)}">{"".join(elements)}</svg>'


def rectangle(corner: Point, width: float, height: float, style: str, title: str = "") -> str:
    """By its upper left corner; `title` is shown where a pointer rests on it."""
    x, y = map(_number, corner)
    inside = markup.element("title", title) if title else ""
    size = f'width="{_number(width)}" height="{_number(height)}"'
    return f'<rect class="{style}" x="{x}" y="{y}" {size}>{inside}</rect>'


def line(start: Point, end: Point, style: str) -> str:
    """From one point to another."""
    (x1, y1), (x2, y2) = map(_number, start), map(_number, end)
    return f'<line class="{style}" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>'


def polyline(points: Iterable[Point], style: str) -> str:
    """Through all points."""
    places = " ".join(f"{_number(x)},{_number(y)}" for x, y in points)
    return f'<polyline class="{style}" points="{places}"/>'


def circle(centre: Point, radius: float, style: str) -> str:
    """By its centre."""
    x, y = map(_number, centre)
    return f'<circle class="{style}" cx="{x}" cy="{y}" r="{_number(radius)}"/>'


def label(place: Point, content: str, style: str, anchor: Anchor = "middle", *, upward: bool = False) -> str:
    """Text whose base line begins, is centred or ends at a place; `upward`: turned to the left."""
    x, y = map(_number, place)
    where = f'transform="translate({x} {y}) rotate(-90)"' if upward else f'x="{x}" y="{y}"'
    return f'<text class="{style}" {where} text-anchor="{anchor}">{markup.text(content)}</text>'


def _number(value: float) -> str:
    return f"{round(value, 2):g}"
