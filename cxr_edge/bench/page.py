"""The report as one HTML page that needs nothing else: no script, no font, no network."""

from collections.abc import Iterator

from cxr_edge.bench import svg
from cxr_edge.bench.chart import charts
from cxr_edge.bench.report import Excluded, Report
from cxr_edge.bench.summary import (
    MEGABYTE,
    accuracy_table,
    agreement_line,
    labelled_line,
    latency_table,
    rate_table,
)
from cxr_edge.evaluate import markup
from cxr_edge.evaluate.style import STYLE

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"  # the browser refuses whatever would be fetched or run


def report_to_html(report: Report) -> bytes:
    """The page, UTF-8."""
    model = report.figures[0].model
    title = f"Speed of {model.name} {model.version}"
    head = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"{markup.element('title', title)}<style>{STYLE}{svg.STYLE}</style></head><body>"
    )
    return "\n".join([head, markup.element("h1", title), *_body(report), "</body></html>\n"]).encode()


def _body(report: Report) -> Iterator[str]:
    yield markup.element("p", report.statement, "notice")
    yield markup.definitions(_identity(report))
    yield markup.bullets(report.notes, "warnings")
    drawings = "".join(f"<figure>{svg.to_svg(drawing)}</figure>" for drawing in charts(report))
    yield f'<div class="charts">{drawings}</div>'
    yield markup.element("h2", "Latency by stage")
    yield markup.table(*latency_table(report))
    yield markup.element("h2", "Throughput and start")
    yield markup.table(*rate_table(report))
    if report.labelled is not None:
        yield markup.element("h2", "Accuracy")
        yield markup.element("p", labelled_line(report.labelled))
        yield markup.table(*accuracy_table(report.labelled))
        if report.labelled.agreement is not None:
            yield markup.element("p", agreement_line(report.labelled.agreement))
    left_out = (*report.images.excluded, *(report.labelled.excluded if report.labelled is not None else ()))
    if left_out:
        yield markup.element("h2", "Left out")
        yield markup.table(("image", "reason", "message"), map(_excluded, left_out))
    yield markup.element("h2", "How this was measured")
    yield markup.bullets(_methods())


def _identity(report: Report) -> Iterator[tuple[str, str]]:
    for model in dict.fromkeys(one.model for one in report.figures):
        yield "model", f"{model.name} {model.version}, SHA-256 {model.sha256}"
    images, memory = report.images, report.memory
    yield "images", f"{images.description}; {images.measured}, {images.rounds} rounds, {len(images.excluded)} left out"
    yield "provider", ", ".join(dict.fromkeys(one.execution_provider for one in report.figures))
    peaks = f"{memory.peak_bytes / MEGABYTE:.0f} MB with one session, {memory.peak_bytes_at_end / MEGABYTE:.0f} MB"
    yield "peak memory", f"{peaks} at the end with all of them ({memory.source})"
    yield from report.machine.items()
    yield "date", report.created
    yield "software", f"cxr-edge {report.software}"


def _excluded(one: Excluded) -> tuple[str, ...]:
    return one.path.replace("\n", "\\n"), one.reason, one.message


def _methods() -> Iterator[str]:
    yield "Each image is classified once to warm up; then all candidates take turns, image by image."
    yield (
        "Percentiles by linear interpolation between measurements (Hyndman and Fan, type 7); p95 needs 20, p99 100 "
        "measurements. Files are read from a warm cache; decoding runs in the same process."
    )
    yield "Inference images per second: batch size over the median time of a batch of ready tensors."
    yield "Files per second: classify_many, decoding overlapped with inference, the median of three runs."
    yield "Session: median of three creations, from the model's bytes; onnxruntime was imported before."
