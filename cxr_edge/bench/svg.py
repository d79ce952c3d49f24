"""A drawing as SVG that takes its colours from the page."""

from html import escape

from cxr_edge.bench.chart import Drawing, Label, Line, Rectangle

STYLE = """
.charts { display: grid; grid-template-columns: 1fr; gap: 1.2rem; max-width: 60rem; }
svg .first { fill: var(--accent); }
svg .second { fill: var(--faint); }
svg .whisker { stroke: var(--text); }
"""


def to_svg(drawing: Drawing) -> str:
    """One `svg` element."""
    shapes = "".join(map(_shape, drawing.shapes))
    size = f"0 0 {drawing.width} {drawing.height}"
    return f'<svg viewBox="{size}" role="img" aria-label="{escape(drawing.title)}">{shapes}</svg>'


def _shape(shape: Rectangle | Line | Label) -> str:
    x, y = f"{shape.x:.1f}", f"{shape.y:.1f}"
    if isinstance(shape, Rectangle):
        size = f'width="{shape.width:.1f}" height="{shape.height:.1f}"'
        return f'<rect class="{shape.style}" x="{x}" y="{y}" {size}/>'
    if isinstance(shape, Line):
        return f'<line class="{shape.style}" x1="{x}" y1="{y}" x2="{shape.to_x:.1f}" y2="{shape.to_y:.1f}"/>'
    return f'<text class="{shape.style}" x="{x}" y="{y}" text-anchor="{shape.anchor}">{escape(shape.text)}</text>'
