"""Numbers as the report prints them; a decimal point in every language, as in the rows and the contract."""

from cxr_edge.types import Interval, Latency, OperatingPoint

_ENOUGH_DIGITS = 12


def score_and_threshold(score: float, point: OperatingPoint) -> tuple[str, str]:
    """Both with as many digits as it takes to see which one is the larger."""
    digits = next(
        (d for d in range(3, _ENOUGH_DIGITS) if score == point.threshold or _differ(score, point.threshold, d)),
        _ENOUGH_DIGITS,
    )
    return f"{score:.{digits}f}", f"{point.threshold:.{digits}f}"


def _differ(one: float, other: float, digits: int) -> bool:
    return f"{one:.{digits}f}" != f"{other:.{digits}f}"


def probability(value: float) -> str:
    """Three digits; what would round to 0 or 1 without being it says so."""
    shown = f"{value:.3f}"
    if shown == "0.000" and value > 0:
        return "< 0.001"
    if shown == "1.000" and value < 1:
        return "> 0.999"
    return shown


def percent(interval: Interval) -> dict[str, str]:
    """The three figures of an interval in percent."""
    return {name: f"{getattr(interval, name) * 100:.1f}" for name in ("estimate", "low", "high")}


def milliseconds(latency: Latency) -> dict[str, str]:
    """By stage."""
    stages = ("read", "decode", "preprocess", "inference", "total")
    return {stage: f"{getattr(latency, f'{stage}_ms'):.1f}" for stage in stages}
