"""Plots on the unit square, as SVG that takes its colours from the page."""

from collections.abc import Iterator, Sequence

from cxr_edge.evaluate.report import Points, Report
from cxr_edge.metrics import Counts, ReliabilityBin
from cxr_edge.page import svg

SIDE, LEFT, TOP, RIGHT, BOTTOM = 300, 50, 12, 14, 46  # of the square and its margins, in the drawing's own units
TICKS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
BAR = 0.25  # of the height, for the fullest bin


def roc_plot(report: Report) -> str:
    """Sensitivity over false positive rate, with the operating point in force."""
    counts = report.images.counts
    marks: list[str] = []
    if report.roc is not None:
        marks = [_diagonal(), _line(report.roc), _here(1 - _specificity(counts), _sensitivity(counts))]
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
            marks.append(_here(_sensitivity(counts), precision))
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
            marks.append(svg.circle(_place((x, figure.estimate)), 4, "curve-dot"))
    return _frame("Reliability", "mean score of the bin", "share truly positive", marks, defined=fullest > 0)


def _frame(title: str, x_label: str, y_label: str, marks: Sequence[str], *, defined: bool) -> str:
    width, height = LEFT + SIDE + RIGHT, TOP + SIDE + BOTTOM
    middle, half_way = LEFT + SIDE / 2, TOP + SIDE / 2
    parts = [
        svg.rectangle((LEFT, TOP), SIDE, SIDE, "area"),
        *_axes(),
        svg.label((middle, height - 6), x_label, "axis"),
        svg.label((13, half_way), y_label, "axis", upward=True),
        *marks,
    ]
    if not defined:
        parts.append(svg.label((middle, half_way), "not defined", "axis"))
    return svg.drawing(title, width, height, parts)


def _axes() -> Iterator[str]:
    for tick in TICKS:
        yield _segment((tick, 0), (tick, 1), "grid")
        yield _segment((0, tick), (1, tick), "grid")
        yield svg.label((_x(tick), TOP + SIDE + 17), f"{tick:g}", "tick")
        yield svg.label((LEFT - 7, _y(tick) + 4), f"{tick:g}", "tick", "end")


def _x(value: float) -> float:
    return LEFT + value * SIDE


def _y(value: float) -> float:
    return TOP + (1 - value) * SIDE


def _place(point: tuple[float, float]) -> svg.Point:
    return _x(point[0]), _y(point[1])


def _line(points: Points) -> str:
    return svg.polyline(map(_place, zip(points.x, points.y, strict=True)), "curve")


def _steps(points: Points) -> Points:
    """Precision does not lie on a straight line between two thresholds: from each to the next level, then across."""
    x, y = [0.0], [points.y[0]]
    for right, level in zip(points.x, points.y, strict=True):
        x += [x[-1], right]
        y += [level, level]
    return Points(x=tuple(x), y=tuple(y))


def _segment(start: tuple[float, float], end: tuple[float, float], style: str) -> str:
    return svg.line(_place(start), _place(end), style)


def _diagonal() -> str:
    return _segment((0, 0), (1, 1), "guide")


def _here(x: float, y: float) -> str:
    return svg.circle(_place((x, y)), 6, "here")


def _bar(part: ReliabilityBin, fullest: int) -> str:
    height = BAR * part.count / fullest
    width = (part.high - part.low) * SIDE - 2
    corner = (_x(part.low) + 1, _y(height))
    return svg.rectangle(corner, width, height * SIDE, "bar", f"{part.count} images")


def _sensitivity(counts: Counts) -> float:
    return counts.true_positive / (counts.true_positive + counts.false_negative)


def _specificity(counts: Counts) -> float:
    return counts.true_negative / (counts.true_negative + counts.false_positive)
