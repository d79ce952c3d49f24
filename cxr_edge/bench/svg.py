"""A drawing as SVG that takes its colours from the page."""

from cxr_edge.bench.chart import Drawing, Label, Line, Rectangle
from cxr_edge.page import svg

STYLE = """
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(21rem, 100%), 1fr)); gap: 1.2rem 3rem;
  align-items: start; }
.charts svg { max-width: 30rem; }
svg .first { fill: var(--accent); }
svg .second { fill: var(--faint); }
svg .whisker { stroke: var(--text); stroke-width: 1.5; }
"""


def to_svg(drawing: Drawing) -> str:
    """One `svg` element."""
    return svg.drawing(drawing.title, drawing.width, drawing.height, map(_element, drawing.shapes))


def _element(shape: Rectangle | Line | Label) -> str:
    place = (shape.x, shape.y)
    if isinstance(shape, Rectangle):
        return svg.rectangle(place, shape.width, shape.height, shape.style)
    if isinstance(shape, Line):
        return svg.line(place, (shape.to_x, shape.to_y), shape.style)
    return svg.label(place, shape.text, shape.style, shape.anchor)
