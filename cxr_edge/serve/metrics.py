"""Counters for Prometheus, text format 0.0.4. Changed by the event loop alone.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from cxr_edge.types import Latency, Prediction, Rejection

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
METHODS = ("GET", "HEAD", "POST")
STAGES = ("read", "decode", "preprocess", "inference", "total")
BUCKET_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
Labels = Mapping[str, str]


class Histogram:
    """Seconds, counted in cumulative buckets."""

    def __init__(self) -> None:
        """Begin empty."""
        self._counts = [0] * len(BUCKET_SECONDS)
        self._count, self._sum = 0, 0.0

    def observe(self, seconds: float) -> None:
        """Count one."""
        self._count += 1
        self._sum += seconds
        for index, bound in enumerate(BUCKET_SECONDS):
            self._counts[index] += seconds <= bound

    def samples(self, name: str, labels: Labels) -> Iterator[str]:
        """Its lines."""
        for bound, count in zip(BUCKET_SECONDS, self._counts, strict=True):
            yield _sample(f"{name}_bucket", {**labels, "le": f"{bound:g}"}, count)
        yield _sample(f"{name}_bucket", {**labels, "le": "+Inf"}, self._count)
        yield _sample(f"{name}_sum", labels, round(self._sum, 6))
        yield _sample(f"{name}_count", labels, self._count)


class Metrics:
    """What the server did since it was started."""

    def __init__(self, info: Labels) -> None:
        """Count from zero; `info` names version and model."""
        self._info = info
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._images: Counter[tuple[str, str]] = Counter()
        self._stages = {stage: Histogram() for stage in STAGES}
        self._answers = Histogram()

    def count_request(self, method: str, path: str, status: int, seconds: float) -> None:
        """One request; `path` is the route's template."""
        self._requests[method if method in METHODS else "other", path, status] += 1
        if (method, path) == ("POST", "/predict"):
            self._answers.observe(seconds)

    def count_image(self, result: Prediction | Rejection) -> None:
        """One image that was classified or rejected."""
        if isinstance(result, Rejection):
            self._images["rejected", result.reason.value] += 1
        else:
            self._images["positive" if result.positive else "negative", ""] += 1
        for stage in STAGES:
            milliseconds = _stage_ms(result.latency, stage)
            if milliseconds:  # a stage that did not take place is 0
                self._stages[stage].observe(milliseconds / 1e3)

    def text(self, gauges: Mapping[str, tuple[str, float]]) -> str:
        """Everything, with `gauges` (name -> help, value) as they stand now."""
        lines = [*_head("info", "gauge", "Version and model."), _sample("cxr_edge_info", self._info, 1)]
        lines += _head("requests_total", "counter", "Requests by route and status.")
        lines += [
            _sample("cxr_edge_requests_total", {"method": method, "path": path, "status": str(status)}, count)
            for (method, path, status), count in sorted(self._requests.items())
        ]
        lines += _head("images_total", "counter", "Images by outcome and reason code.")
        lines += [
            _sample("cxr_edge_images_total", {"outcome": outcome, "reason": reason}, count)
            for (outcome, reason), count in sorted(self._images.items())
        ]
        lines += _head("stage_seconds", "histogram", "Time of one image by stage.")
        for stage, histogram in self._stages.items():
            lines += histogram.samples("cxr_edge_stage_seconds", {"stage": stage})
        lines += _head("predict_seconds", "histogram", "From the first header of POST /predict to its answer.")
        lines += self._answers.samples("cxr_edge_predict_seconds", {})
        for name, (text, value) in gauges.items():
            lines += [*_head(name, "gauge", text), _sample(f"cxr_edge_{name}", {}, value)]
        return "\n".join(lines) + "\n"


def _stage_ms(latency: Latency, stage: str) -> float:
    return float(getattr(latency, f"{stage}_ms"))


def _head(name: str, kind: str, text: str) -> Iterable[str]:
    return f"# HELP cxr_edge_{name} {text}", f"# TYPE cxr_edge_{name} {kind}"


def _sample(name: str, labels: Labels, value: float) -> str:
    inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
    return f"{name}{{{inside}}} {value}" if inside else f"{name} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
