"""The report in a terminal's words."""

from collections.abc import Iterator, Sequence

from cxr_edge.bench.report import Accuracy, Agreement, Figures, Labelled, Memory, Percentiles, Report, scheme_name
from cxr_edge.page.words import NOT_DEFINED, number, visible

MEGABYTE = 1e6
STAGES = ("read", "decode", "preprocess", "inference", "total")
Table = tuple[Sequence[str], list[Sequence[str]]]


def report_to_text(report: Report) -> str:
    """Tables for people."""
    first, images = report.figures[0], report.images
    lines = [
        f"{images.description}; images: {images.measured}, rounds: {images.rounds}, left out: {len(images.excluded)}",
        f"{report.machine['cpu']}, {first.execution_provider}, onnxruntime {report.machine['onnxruntime']}",
        "",
        *_aligned(latency_table(report)),
        "",
        *_aligned(rate_table(report)),
        "",
        _memory_line(report.memory),
    ]
    if report.labelled is not None:
        lines += ["", labelled_line(report.labelled), *_aligned(accuracy_table(report.labelled))]
        if report.labelled.agreement is not None:
            lines.append(agreement_line(report.labelled.agreement))
    lines += ["", f"Model {first.model.name} {first.model.version}, SHA-256 {first.model.sha256}. {report.statement}"]
    return "".join(f"{visible(line)}\n" for line in lines)


def latency_table(report: Report) -> Table:
    """Milliseconds by stage of every candidate."""
    rows: list[Sequence[str]] = []
    for one in report.figures:
        for stage in STAGES:
            spread: Percentiles = getattr(one.latency_ms, stage)
            rows.append((*_who(one), stage, *map(_milliseconds, (spread.p50, spread.p95, spread.p99))))
    return ("model", "threads", "stage", "p50 ms", "p95 ms", "p99 ms"), rows


def rate_table(report: Report) -> Table:
    """Images per second, and what a session costs, of every candidate."""
    batches = [f"batch {rate.batch}" for rate in report.figures[0].inference]
    rows: list[Sequence[str]] = [
        (
            *_who(one),
            *(f"{rate.images_per_second:.1f}" for rate in one.inference),
            f"{one.many_images_per_second:.1f}",
            _milliseconds(one.session_creation_ms),
        )
        for one in report.figures
    ]
    header = ("model", "threads", *(f"inference images/s, {name}" for name in batches), "files/s", "session ms")
    return header, rows


def accuracy_table(labelled: Labelled) -> Table:
    """Accuracy beside latency."""
    more = any(one.accuracy_over_all_labels is not None for one in labelled.accuracy)
    accuracies = ("accuracy (positive/negative)", *(["accuracy over all labels"] if more else []))
    header = ("model", *accuracies, "sensitivity", "specificity", "AUC", "inference p50 ms", "total p50 ms")
    return header, [_accuracy(one, more=more) for one in labelled.accuracy]


def labelled_line(labelled: Labelled) -> str:
    """Which images, at which operating point."""
    point = labelled.operating_point
    return (
        f"labelled images: {labelled.images}, left out: {len(labelled.excluded)}; "
        f"operating point {point.name}, threshold {point.threshold:.4f}; 95 % Wilson intervals"
    )


def agreement_line(agreement: Agreement) -> str:
    """How often quantization changed a decision, and which way."""
    flips = agreement.positive_to_negative + agreement.negative_to_positive
    share = agreement.same / (agreement.same + flips)
    labels = "" if agreement.same_label is None else f"; same label: {agreement.same_label}"
    return (
        f"agreement with float32: {share:.2%} ({agreement.same} of {agreement.same + flips}){labels}; flips "
        f"positive to negative: {agreement.positive_to_negative}, negative to positive: "
        f"{agreement.negative_to_positive}; difference in score p50 {agreement.score_difference_p50:.4f}, "
        f"largest {agreement.score_difference_max:.4f}"
    )


def _memory_line(memory: Memory) -> str:
    peak, at_end = (f"{size / MEGABYTE:.0f} MB" for size in (memory.peak_bytes, memory.peak_bytes_at_end))
    return f"peak memory {peak} with one session, each image once; {at_end} at the end ({memory.source})"


def _who(one: Figures) -> tuple[str, str]:
    return scheme_name(one.scheme), str(one.threads)


def _accuracy(one: Accuracy, *, more: bool) -> Sequence[str]:
    over_labels = [one.accuracy_over_all_labels] if more else []
    return (
        scheme_name(one.scheme),
        *map(number, (one.accuracy, *over_labels, one.sensitivity, one.specificity)),
        NOT_DEFINED if one.auc is None else f"{one.auc:.4f}",
        _milliseconds(one.inference_ms.p50),
        _milliseconds(one.total_ms.p50),
    )


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _aligned(table: Table) -> Iterator[str]:
    header, rows = table
    cells = [header, *rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    for row in cells:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
