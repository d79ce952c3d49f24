"""Numbers as the report prints them; a decimal point in every language, as in the rows and the contract."""

from cxr_edge.types import Interval, Latency, OperatingPoint

_ENOUGH_DIGITS = 12


def score_and_threshold(score: float, point: OperatingPoint) -> tuple[str, str]:
    """Both with as many digits as it takes to see which one is the larger, and the threshold itself."""
    digits = next((d for d in range(3, _ENOUGH_DIGITS) if _tells(score, point.threshold, d)), _ENOUGH_DIGITS)
    return probability(score, digits), probability(point.threshold, digits)


def _tells(score: float, threshold: float, digits: int) -> bool:
    shown = probability(threshold, digits)
    return shown[0] not in "<>" and (score == threshold or shown != probability(score, digits))


def probability(value: float, digits: int = 3) -> str:
    """What would round to 0 or 1 without being it says so."""
    return _shown(value, 1.0, digits)


def percent(interval: Interval) -> dict[str, str]:
    """The three figures of an interval in percent; none is called 0 or 100 without being it."""
    return {name: _shown(getattr(interval, name) * 100, 100.0, 1) for name in ("estimate", "low", "high")}


def _shown(value: float, whole: float, digits: int) -> str:
    text, least = f"{value:.{digits}f}", 10.0**-digits
    if value > 0 and float(text) == 0:
        return f"< {least:.{digits}f}"
    if value < whole <= float(text):
        return f"> {whole - least:.{digits}f}"
    return text


def milliseconds(latency: Latency) -> dict[str, str]:
    """By stage."""
    stages = ("read", "decode", "preprocess", "inference", "total")
    return {stage: f"{getattr(latency, f'{stage}_ms'):.1f}" for stage in stages}
