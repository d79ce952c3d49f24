"""Numbers as the report prints them."""

from dataclasses import dataclass

from cxr_edge.types import Interval, Latency, OperatingPoint

_ENOUGH_DIGITS = 12


@dataclass(frozen=True, slots=True)
class Figures:
    """Numbers with the decimal mark of one language."""

    decimal_mark: str

    def score_and_threshold(self, score: float, point: OperatingPoint) -> tuple[str, str]:
        """Both with as many digits as it takes to see which one is the larger, and the threshold itself."""
        digits = next((d for d in range(3, _ENOUGH_DIGITS) if _tells(score, point.threshold, d)), _ENOUGH_DIGITS)
        return self.probability(score, digits), self.probability(point.threshold, digits)

    def probability(self, value: float, digits: int = 3) -> str:
        """What would round to 0 or 1 without being it says so."""
        return self._marked(_shown(value, 1.0, digits))

    def percent(self, interval: Interval) -> dict[str, str]:
        """The three figures of an interval in percent; none is called 0 or 100 without being it."""
        names = ("estimate", "low", "high")
        return {name: self._marked(_shown(getattr(interval, name) * 100, 100.0, 1)) for name in names}

    def milliseconds(self, latency: Latency) -> dict[str, str]:
        """By stage."""
        stages = ("read", "decode", "preprocess", "inference", "total")
        return {stage: self._marked(f"{getattr(latency, f'{stage}_ms'):.1f}") for stage in stages}

    def years(self, ages: tuple[float, float]) -> dict[str, str]:
        """The lowest and the highest age."""
        return {name: self._marked(f"{age:g}") for name, age in zip(("low", "high"), ages, strict=True)}

    def _marked(self, figure: str) -> str:
        return figure.replace(".", self.decimal_mark)


def _tells(score: float, threshold: float, digits: int) -> bool:
    shown = _shown(threshold, 1.0, digits)
    return shown[0] not in "<>" and (score == threshold or shown != _shown(score, 1.0, digits))


def _shown(value: float, whole: float, digits: int) -> str:
    text, least = f"{value:.{digits}f}", 10.0**-digits
    if value > 0 and float(text) == 0:
        return f"< {least:.{digits}f}"
    if value < whole <= float(text):
        return f"> {whole - least:.{digits}f}"
    return text
