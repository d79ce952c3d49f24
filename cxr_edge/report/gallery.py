"""The radiograph beside its heat map."""

from dataclasses import dataclass

from cxr_edge.contract import Contract
from cxr_edge.heatmap import compared_labels
from cxr_edge.report import pictures
from cxr_edge.report.pen import FAINT, LINE, PAPER, Part, Pen
from cxr_edge.report.text import Style, prose, shortened, width_of, wrap
from cxr_edge.report.words import Words
from cxr_edge.types import Prediction, Radiograph, side_is_label

_CAPTION = 24.0  # points under the pictures
_LEGEND = 60.0


@dataclass(frozen=True, slots=True)
class Gallery:
    """Both pictures as JPEG, or why there is no heat map; `shape` is (rows, columns) of either."""

    radiograph: bytes
    heat_map: bytes | None
    missing: str | None
    shape: tuple[int, int]
    compared: tuple[str, str]
    many_labels: bool

    @classmethod
    def of(
        cls, prediction: Prediction, radiograph: Radiograph, contract: Contract, label: str | None = None
    ) -> "Gallery":
        """Draw them. `compared` are the label that the heat map's evidence is for, and the one it is against."""
        small = pictures.small(prediction, radiograph)
        missing = pictures.missing_heat_map(prediction, contract)
        heat_map = pictures.heat_map_jpeg(small, contract, label) if missing is None else None
        kept = small.radiograph or radiograph
        compared, many = compared_labels(prediction, contract, label), not side_is_label(contract.labels)
        return cls(pictures.radiograph_jpeg(kept), heat_map, missing, kept.pixels.shape, compared, many)

    def part(self, words: Words, left: float, width: float, height: float) -> Part:
        """Two pictures side by side, as large as `height` allows."""
        column = (width - 14) / 2
        second = left + column + 14
        room = height - _CAPTION
        caption = Style(7.8, FAINT)

        def draw(pen: Pen, top: float) -> None:
            below = top - room - 9
            self._picture(pen, self.radiograph, left, top - room, (column, room))
            pen.text(left, below, shortened(words.say("picture.radiograph"), caption, column), caption)
            pen.text(left, below - 10, shortened(words.say("picture.note"), caption, column), caption)
            if self.heat_map is None:
                self._instead(pen, words, second, top - room, (column, room))
                return
            self._picture(pen, self.heat_map, second, top - room, (column, room))
            pen.text(second, below, shortened(self._caption(words), caption, column), caption)
            _legend(pen, words, second, below - 10, caption)

        return Part(height, draw)

    def _caption(self, words: Words) -> str:
        """With two labels the other one goes without saying."""
        label, other = map(words.label, self.compared)
        if self.many_labels:
            return prose(words.say("picture.heat_map_against", label=label, other=other))
        return prose(words.say("picture.heat_map", label=label))

    def _picture(self, pen: Pen, jpeg: bytes, x: float, bottom: float, room: tuple[float, float]) -> None:
        """Centred on a quiet ground, with its own aspect ratio."""
        rows, columns = self.shape
        scale = min((room[0] - 2) / columns, (room[1] - 2) / rows)
        width, height = columns * scale, rows * scale
        pen.box(x, bottom, room[0], room[1], fill=PAPER, edge=LINE)
        pen.jpeg(jpeg, x + (room[0] - width) / 2, bottom + (room[1] - height) / 2, width, height)

    def _instead(self, pen: Pen, words: Words, x: float, bottom: float, room: tuple[float, float]) -> None:
        pen.box(x, bottom, room[0], room[1], fill=PAPER, edge=LINE)
        text = wrap(words.say(self.missing or "picture.no_activation_map"), Style(8.5, FAINT), room[0] - 24, 3)
        for number, line in enumerate(text.lines):
            baseline = bottom + room[1] / 2 + text.height / 2 - (number + 1) * text.style.leading
            pen.text(x + room[0] / 2, baseline, line, text.style, "middle")


def _legend(pen: Pen, words: Words, x: float, baseline: float, style: Style) -> None:
    """From no evidence to strong, in the heat map's own colours."""
    less, more = words.say("picture.less"), words.say("picture.more")
    pen.text(x, baseline, less, style)
    x += width_of(less, style) + 4
    pen.jpeg(pictures.legend_jpeg(), x, baseline - 0.5, _LEGEND, 6)
    pen.text(x + _LEGEND + 4, baseline, more, style)
