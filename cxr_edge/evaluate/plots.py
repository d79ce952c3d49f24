"""Plots on the unit square, as SVG that takes its colours from the page."""

from collections.abc import Iterator, Sequence
from html import escape

from cxr_edge.evaluate.report import Points, Report
from cxr_edge.metrics import Counts, ReliabilityBin

SIDE, LEFT, TOP, RIGHT, BOTTOM = 300, 50, 12, 14, 46  # of the square and its margins, in the drawing's own units
TICKS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
BAR = 0.25  # of the height, for the fullest bin


def roc_plot(report: Report) -> str:
    """Sensitivity over false positive rate, with the operating point in force."""
    marks = [_diagonal()]
    if report.roc is not None:
        marks.append(_line(report.roc))
        marks += _here(1 - _specificity(report.images.counts), _sensitivity(report.images.counts))
    return _frame("ROC curve", "1 - specificity", "sensitivity", marks, defined=report.roc is not None)


def precision_recall_plot(report: Report) -> str:
    """Precision over recall, with the operating point in force; the dashed line is the share of positives."""
    curve, counts = report.precision_recall, report.images.counts
    marks: list[str] = []
    if curve is not None:
        share = (counts.true_positive + counts.false_negative) / counts.total
        marks = [_segment((0, share), (1, share), "guide"), _line(_steps(curve))]
        if counts.true_positive + counts.false_positive:
            precision = counts.true_positive / (counts.true_positive + counts.false_positive)
            marks += _here(_sensitivity(counts), precision)
    return _frame("Precision and recall", "recall (sensitivity)", "precision (PPV)", marks, defined=curve is not None)


def reliability_plot(report: Report) -> str:
    """Share of positives over mean score with Wilson intervals; bars: how many images each bin holds."""
    bins = report.reliability
    fullest = max((part.count for part in bins), default=0)
    marks = [_bar(part, fullest) for part in bins if part.count]
    marks.append(_diagonal())
    for part in bins:
        if part.mean_score is not None and part.positives is not None:
            x, figure = part.mean_score, part.positives
            marks.append(_segment((x, figure.low), (x, figure.high), "whisker"))
            marks.append(_dot(x, figure.estimate, 4, "curve-dot"))
    return _frame("Reliability", "mean score of the bin", "share truly positive", marks, defined=fullest > 0)


def _frame(title: str, x_label: str, y_label: str, marks: Sequence[str], *, defined: bool) -> str:
    width, height = LEFT + SIDE + RIGHT, TOP + SIDE + BOTTOM
    upward = escape(y_label)
    middle, half_way = f"{LEFT + SIDE / 2:g}", TOP + SIDE / 2
    parts = [
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">',
        f'<rect class="area" x="{LEFT}" y="{TOP}" width="{SIDE}" height="{SIDE}"/>',
        *_axes(),
        f'<text class="axis" x="{middle}" y="{height - 6}" text-anchor="middle">{escape(x_label)}</text>',
        f'<text class="axis" transform="translate(13 {half_way:g}) rotate(-90)" text-anchor="middle">{upward}</text>',
        *marks,
    ]
    if not defined:
        parts.append(f'<text class="axis" x="{middle}" y="{half_way:g}" text-anchor="middle">not defined</text>')
    return "".join([*parts, "</svg>"])


def _axes() -> Iterator[str]:
    for tick in TICKS:
        yield _segment((tick, 0), (tick, 1), "grid")
        yield _segment((0, tick), (1, tick), "grid")
        yield f'<text class="tick" x="{_x(tick):g}" y="{TOP + SIDE + 17}" text-anchor="middle">{tick:g}</text>'
        yield f'<text class="tick" x="{LEFT - 7}" y="{_y(tick) + 4:g}" text-anchor="end">{tick:g}</text>'


def _x(value: float) -> float:
    return round(LEFT + value * SIDE, 2)


def _y(value: float) -> float:
    return round(TOP + (1 - value) * SIDE, 2)


def _line(points: Points) -> str:
    places = " ".join(f"{_x(x):g},{_y(y):g}" for x, y in zip(points.x, points.y, strict=True))
    return f'<polyline class="curve" points="{places}"/>'


def _steps(points: Points) -> Points:
    """Precision does not lie on a straight line between two thresholds: from each to the next level, then across."""
    x, y = [0.0], [points.y[0]]
    for right, level in zip(points.x, points.y, strict=True):
        x += [x[-1], right]
        y += [level, level]
    return Points(x=tuple(x), y=tuple(y))


def _segment(start: tuple[float, float], end: tuple[float, float], style: str) -> str:
    return (
        f'<line class="{style}" x1="{_x(start[0]):g}" y1="{_y(start[1]):g}" x2="{_x(end[0]):g}" y2="{_y(end[1]):g}"/>'
    )


def _diagonal() -> str:
    return _segment((0, 0), (1, 1), "guide")


def _dot(x: float, y: float, radius: float, style: str) -> str:
    return f'<circle class="{style}" cx="{_x(x):g}" cy="{_y(y):g}" r="{radius:g}"/>'


def _here(x: float, y: float) -> list[str]:
    return [_dot(x, y, 6, "here")]


def _bar(part: ReliabilityBin, fullest: int) -> str:
    height = BAR * part.count / fullest
    width = (part.high - part.low) * SIDE - 2
    return (
        f'<rect class="bar" x="{_x(part.low) + 1:g}" y="{_y(height):g}" width="{width:g}" '
        f'height="{height * SIDE:.2f}"><title>{part.count} images</title></rect>'
    )


def _sensitivity(counts: Counts) -> float:
    return counts.true_positive / (counts.true_positive + counts.false_negative)


def _specificity(counts: Counts) -> float:
    return counts.true_negative / (counts.true_negative + counts.false_positive)
