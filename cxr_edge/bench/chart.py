"""Bar charts as shapes on a plane: what `svg` and `png` draw."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from cxr_edge.bench.report import Figures, Percentiles, Report, scheme_name

Style = Literal["first", "second", "whisker", "grid", "text", "tick"]
STAGES = ("read", "decode", "preprocess", "inference", "total")
WIDTH, LEFT, RIGHT, TOP, BOTTOM = 400, 8, 24, 34, 26  # margins, in the drawing's own units; narrow enough for a phone
ROW, NAME, BAR, GAP = 34, 16, 12, 8  # a bar's place, its name above it, its height, the space between groups
TICKS = 5  # at most, besides 0


@dataclass(frozen=True, slots=True)
class Rectangle:
    """Upper left corner and size."""

    x: float
    y: float
    width: float
    height: float
    style: Style


@dataclass(frozen=True, slots=True)
class Line:
    """From one point to another."""

    x: float
    y: float
    to_x: float
    to_y: float
    style: Style


@dataclass(frozen=True, slots=True)
class Label:
    """Text whose base line begins, is centred or ends at a point."""

    x: float
    y: float
    text: str
    anchor: Literal["start", "middle", "end"]
    style: Style


@dataclass(frozen=True, slots=True)
class Drawing:
    """Shapes, to be drawn in order, on a plane of this size."""

    title: str
    width: int
    height: int
    shapes: tuple[Rectangle | Line | Label, ...]


@dataclass(frozen=True, slots=True)
class _Bar:
    label: str
    value: float
    whiskers: tuple[float, ...]  # further values, marked by a stroke each
    shown: str
    style: Style


def charts(report: Report) -> tuple[Drawing, Drawing]:
    """Latency by stage with the most threads, and images per second by threads."""
    widest = max(one.threads for one in report.figures)
    shown = [one for one in report.figures if one.threads == widest]
    stages = [[_latency_bar(one, stage, report) for one in shown] for stage in STAGES]
    rates = [list(_rate_bars(one, report)) for one in report.figures]
    threads = "1 thread" if widest == 1 else f"{widest} threads"
    return (
        _bar_chart(f"Latency of one image, {threads}: {_percentile_names(shown)} in ms", stages),
        _bar_chart("Images per second", rates),
    )


def _percentile_names(shown: Sequence[Figures]) -> str:
    """Those that a bar shows: few measurements tell neither p95 nor p99."""
    spreads: list[Percentiles] = [getattr(one.latency_ms, stage) for one in shown for stage in STAGES]
    found = [name for name in ("p95", "p99") if any(getattr(spread, name) is not None for spread in spreads)]
    return " / ".join(("p50", *found))


def _latency_bar(one: Figures, stage: str, report: Report) -> _Bar:
    spread: Percentiles = getattr(one.latency_ms, stage)
    further = tuple(value for value in (spread.p95, spread.p99) if value is not None)
    shown = " / ".join(f"{value:.1f}" for value in (spread.p50, *further))
    return _Bar(f"{stage}, {scheme_name(one.scheme)}", spread.p50, further, shown, _style(one, report))


def _rate_bars(one: Figures, report: Report) -> Iterator[_Bar]:
    name, style = f"{scheme_name(one.scheme)}, threads {one.threads}", _style(one, report)
    for rate in one.inference:
        label = f"{name}: inference, batch {rate.batch}"
        yield _Bar(label, rate.images_per_second, (), f"{rate.images_per_second:.1f}", style)
    yield _Bar(f"{name}: files", one.many_images_per_second, (), f"{one.many_images_per_second:.1f}", style)


def _style(one: Figures, report: Report) -> Style:
    return "first" if one.model == report.figures[0].model else "second"


def _bar_chart(title: str, groups: Sequence[Sequence[_Bar]]) -> Drawing:
    bars = [bar for group in groups for bar in group]
    largest = max(max((bar.value, *bar.whiskers)) for bar in bars)
    step = _step(largest)
    ticks = [step * index for index in range(math.ceil(largest / step) + 1)]
    scale = (WIDTH - LEFT - RIGHT) / ticks[-1]
    bottom = TOP + ROW * len(bars) + GAP * (len(groups) - 1)
    shapes: list[Rectangle | Line | Label] = [Label(0, 16, title, "start", "text")]
    shapes += [Label(LEFT + tick * scale, bottom + 16, f"{tick:g}", "middle", "tick") for tick in ticks]
    y = float(TOP)
    for group in groups:
        for bar in group:
            shapes += _grid(y, [LEFT + tick * scale for tick in ticks])
            shapes += _shapes(bar, y, scale)
            y += ROW
        y += GAP
    return Drawing(title, WIDTH, bottom + BOTTOM, tuple(shapes))


def _grid(y: float, places: Sequence[float]) -> Iterator[Line]:
    """Behind the bar only: a line through the names would make them hard to read."""
    top = y + NAME
    return (Line(x, top - 1, x, top + BAR + 2, "grid") for x in places)


def _shapes(bar: _Bar, y: float, scale: float) -> Iterator[Rectangle | Line | Label]:
    top, middle = y + NAME, y + NAME + BAR / 2
    yield Label(LEFT, top - 4, bar.label, "start", "text")
    yield Label(WIDTH - RIGHT, top - 4, bar.shown, "end", "tick")
    yield Rectangle(LEFT, top, bar.value * scale, BAR, bar.style)
    if bar.whiskers:
        yield Line(LEFT + bar.value * scale, middle, LEFT + max(bar.whiskers) * scale, middle, "whisker")
    for value in bar.whiskers:
        yield Line(LEFT + value * scale, top + 2, LEFT + value * scale, top + BAR - 2, "whisker")


def _step(largest: float) -> float:
    """The least of 1, 2 or 5 times a power of ten that spans `largest` in so many ticks."""
    least = max(largest, 1e-6) / TICKS
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least)
