"""The report as one HTML page that needs nothing else: no script, no font, no network."""

from collections.abc import Iterator

from cxr_edge.bench import svg
from cxr_edge.bench.chart import charts
from cxr_edge.bench.report import Excluded, Report, scheme_name
from cxr_edge.bench.summary import (
    MEGABYTE,
    accuracy_table,
    agreement_line,
    labelled_line,
    latency_table,
    rate_table,
)
from cxr_edge.page import markup
from cxr_edge.page.document import document


def report_to_html(report: Report) -> bytes:
    """The page, UTF-8."""
    model = report.figures[0].model
    return document(f"Speed of {model.name} {model.version}", _body(report), svg.STYLE)


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
    for model, scheme in dict.fromkeys((one.model, one.scheme) for one in report.figures):
        yield f"model, {scheme_name(scheme)}", f"{model.name} {model.version}, SHA-256 {model.sha256}"
    images, memory = report.images, report.memory
    counts = f"images: {images.measured}, rounds: {images.rounds}, left out: {len(images.excluded)}"
    yield "measured on", f"{images.description}; {counts}"
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
