"""The charts as a PNG, light, for a document."""

import io
from typing import TYPE_CHECKING

from cxr_edge.bench.chart import Drawing, Label, Line, Rectangle, Style, charts
from cxr_edge.bench.report import Report

if TYPE_CHECKING:
    from PIL import ImageDraw, ImageFont

SCALE = 2  # pixels of one unit, so that print stays sharp
MARGIN = 16  # units
COLOURS: dict[Style, str] = {
    "first": "#0b5cad",
    "second": "#596069",
    "whisker": "#1a1d21",
    "grid": "#d5d9df",
    "text": "#1a1d21",
    "tick": "#596069",
}
ANCHORS = {"start": "ls", "middle": "ms", "end": "rs"}  # Pillow's, on the base line


def report_to_png(report: Report) -> bytes:
    """Both charts, side by side, with model, machine and statement below them."""
    from PIL import Image, ImageDraw, ImageFont

    drawings = charts(report)
    first = report.figures[0]
    lines = (
        f"{first.model.name} {first.model.version}, {first.execution_provider}, {report.machine['cpu']}",
        f"{report.images.description}; {report.created}. {report.statement}",
    )
    width = sum(drawing.width + MARGIN for drawing in drawings) + MARGIN
    y = max(drawing.height for drawing in drawings) + MARGIN
    image = Image.new("RGB", (width * SCALE, (y + 20 * len(lines) + MARGIN) * SCALE), "white")
    canvas, font = ImageDraw.Draw(image), ImageFont.load_default(13 * SCALE)
    x = MARGIN
    for drawing in drawings:
        _draw(drawing, canvas, font, x)
        x += drawing.width + MARGIN
    for line in lines:
        y += 20
        canvas.text((MARGIN * SCALE, y * SCALE), line, COLOURS["tick"], font, ANCHORS["start"])
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _draw(
    drawing: Drawing,
    canvas: "ImageDraw.ImageDraw",
    font: "ImageFont.FreeTypeFont | ImageFont.ImageFont",
    right: float,
) -> None:
    def place(x: float, y: float) -> tuple[float, float]:
        return (x + right) * SCALE, (y + MARGIN) * SCALE

    for shape in drawing.shapes:
        start, colour = place(shape.x, shape.y), COLOURS[shape.style]
        if isinstance(shape, Rectangle):
            canvas.rectangle((start, place(shape.x + shape.width, shape.y + shape.height)), colour)
        elif isinstance(shape, Line):
            canvas.line((start, place(shape.to_x, shape.to_y)), colour, SCALE)
        elif isinstance(shape, Label):
            canvas.text(start, shape.text, colour, font, ANCHORS[shape.anchor])
