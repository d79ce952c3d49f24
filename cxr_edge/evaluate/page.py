"""The report as one HTML page that needs nothing else: no script, no font, no network."""

from collections.abc import Iterator

from cxr_edge.evaluate import plots
from cxr_edge.evaluate.report import BinaryFigures, Case, RejectedCase, Report, ThresholdRow
from cxr_edge.evaluate.style import STYLE
from cxr_edge.evaluate.summary import has_more, kinds_line, two_probabilities
from cxr_edge.page import markup
from cxr_edge.page.document import document
from cxr_edge.page.words import bare, number, percent
from cxr_edge.types import Interval, side_is_label


def report_to_html(report: Report) -> bytes:
    """The page, UTF-8."""
    return document(f"Evaluation of {report.model.name} {report.model.version}", _body(report), STYLE)


def _body(report: Report) -> Iterator[str]:
    yield markup.element("p", report.statement, "notice")  # the contract sees to it: "not a medical device" is in it
    yield markup.definitions(_identity(report))
    yield markup.bullets(report.warnings, "warnings")
    yield markup.element("h2", "Figures")
    yield markup.element("p", _scope(report), "faint")
    yield '<div class="tiles">' + "".join(_tiles(report)) + "</div>"
    yield _figures(report)
    yield markup.element("h2", "Plots")
    yield '<div class="plots">' + "".join(_plots(report)) + "</div>"
    yield markup.element("h2", "Labels")
    yield _confusion(report)
    yield _classes(report)
    yield markup.element("h2", "Thresholds")
    yield from _thresholds(report)
    yield from _lists(report)
    yield markup.element("h2", "How this was computed")
    yield markup.bullets(_methods(report))


def _identity(report: Report) -> Iterator[tuple[str, str]]:
    point, data = report.operating_point, report.data
    yield "model", f"{report.model.name} {report.model.version}"
    yield "SHA-256 of the model", report.model.sha256
    yield "operating point", f"{point.name}: positive from a score of {point.threshold:.4f} ({point.how_chosen})"
    stated = f"sensitivity {percent(point.sensitivity)}, specificity {percent(point.specificity)} on {point.data}"
    yield "what it states", stated
    yield "positive labels", ", ".join(report.positive_labels)
    yield "data", data.description
    yield "SHA-256 of the data", data.sha256
    yield "gate", report.gate
    yield "date", report.created
    yield "software", f"cxr-edge {report.software}, {report.execution_provider}"


def _scope(report: Report) -> str:
    data = report.data
    patients = "" if data.patients is None else f", of {data.patients:,} patients"
    words = f"{data.classified:,} of {data.images:,} images{patients}; {data.rejected:,} rejected, not in the figures"
    return f"{words}. In brackets: 95 % intervals."


def _tiles(report: Report) -> Iterator[str]:
    images, rejected = report.images, f"{report.data.rejected:,} rejected"
    unread = sum(part.rejected for part in report.data.by_label if part.label in report.positive_labels)
    counts = images.counts
    positives, negatives = counts.true_positive + counts.false_negative, counts.true_negative + counts.false_positive
    found = f"{counts.true_positive:,} of {positives:,} positive; {unread:,} rejected"
    yield _tile("sensitivity", images.sensitivity, found)
    found = f"{counts.true_negative:,} of {negatives:,} negative; {report.data.rejected - unread:,} rejected"
    yield _tile("specificity", images.specificity, found)
    right = sum(row[index] for index, row in enumerate(report.by_label.confusion))
    name = "accuracy over all labels" if has_more(report) else "accuracy"
    yield _tile(name, report.by_label.accuracy, f"{right:,} of {counts.total:,} images; {rejected}")
    yield _tile("AUC", images.auc, f"area under the ROC curve, 0 to 1; {rejected}", share=False)


def _tile(name: str, figure: Interval | None, below: str, *, share: bool = True) -> str:
    shown, _, interval = (percent if share else number)(figure).partition(" [")
    interval = f"95 % interval {interval.removesuffix(']')}{' %' if share else ''}".replace(",", " to")
    lines = [markup.element("b", shown), markup.element("div", interval) if figure else ""]
    return f'<div class="tile">{markup.text(name)}{"".join(lines)}{markup.element("div", below, "faint")}</div>'


def _figures(report: Report) -> str:
    rejected = report.data.rejected
    parts = [report.images] + ([report.patients] if report.patients is not None else [])
    columns = [_column(part) for part in parts]
    side = " (positive or negative)" if has_more(report) else ""
    rows = [
        [f"{name}{side}" if "accuracy" in name else name, *(column[name] for column in columns)] for name in columns[0]
    ]
    empty = [""] * (len(parts) - 1)
    worst = report.rejected_as_errors
    rows.append(["sensitivity, rejected images counted as missed", percent(worst.sensitivity), *empty])
    rows.append(["specificity, rejected images counted as false alarms", percent(worst.specificity), *empty])
    if has_more(report):  # with two labels it is what stands above
        rows.append(["accuracy over all labels", percent(report.by_label.accuracy), *empty])
        rows.append(["balanced accuracy over all labels", percent(report.by_label.balanced_accuracy), *empty])
    rows.insert(0, ["how many", *(f"{part.counts.total:,}; images rejected: {rejected:,}" for part in parts)])
    return markup.table(["figure", *(f"by {part.unit}" for part in parts)], rows)


def _column(figures: BinaryFigures) -> dict[str, str]:
    counts = figures.counts
    return {
        "true positive, false negative": f"{counts.true_positive:,}, {counts.false_negative:,}",
        "true negative, false positive": f"{counts.true_negative:,}, {counts.false_positive:,}",
        "sensitivity": percent(figures.sensitivity),
        "specificity": percent(figures.specificity),
        "positive predictive value": percent(figures.positive_predictive_value),
        "negative predictive value": percent(figures.negative_predictive_value),
        "accuracy": percent(figures.accuracy),
        "balanced accuracy": percent(figures.balanced_accuracy),
        "AUC (0 to 1)": number(figures.auc),
        "average precision (0 to 1)": number(figures.average_precision),
        "Brier score (0 best)": number(figures.brier_score),
        "expected calibration error (0 best)": bare(figures.expected_calibration_error),
    }


def _plots(report: Report) -> Iterator[str]:
    point = report.operating_point.name
    count = f"Images: {report.data.classified:,}; rejected, not in it: {report.data.rejected:,}"
    yield _plot("ROC", plots.roc_plot(report), f"Dot: {point}. Dashed: chance. {count}.")
    words = f"Dot: {point}. Dashed: share of positives among the images. {count}."
    yield _plot("Precision and recall", plots.precision_recall_plot(report), words)
    fullest = max(part.count for part in report.reliability)
    words = f"Whiskers: 95 % intervals. Bars: images of a bin, at most {fullest:,}. Dashed: perfectly calibrated."
    yield _plot("Reliability", plots.reliability_plot(report), f"{words} {count}.")


def _plot(title: str, drawing: str, words: str) -> str:
    return f"<figure>{markup.element('h3', title)}{drawing}{markup.element('figcaption', words)}</figure>"


def _confusion(report: Report) -> str:
    labels = report.labels
    numbered = not side_is_label(labels)  # more names than two would not fit side by side on a narrow screen
    head = "".join(markup.element("th", place if numbered else label) for place, label in enumerate(labels))
    rows = []
    for index, (label, count) in enumerate(zip(labels, report.data.by_label, strict=True)):
        cells = "".join(
            f'<td class="{"right" if column == index else ""}">{found:,}</td>'
            for column, found in enumerate(report.by_label.confusion[index])
        )
        name = markup.element("th", f"{index} {label}" if numbered else label)
        rows.append(f"<tr>{name}{cells}<td>{count.rejected:,}</td></tr>")
    words = markup.element("p", "Images. Rows: the true label. Columns: the label given.", "faint")
    body = f"<thead><tr><th></th>{head}<th>(rejected)</th></tr></thead><tbody>{''.join(rows)}</tbody>"
    return f'{words}<div class="wide"><table class="matrix">{body}</table></div>'


def _classes(report: Report) -> str:
    header = ("label", "images", "rejected", "precision", "recall", "F1")
    rows = [
        [
            part.label,
            f"{part.support:,}",
            f"{count.rejected:,}",
            percent(part.precision),
            percent(part.recall),
            bare(part.f1),
        ]
        for part, count in zip(report.by_label.classes, report.data.by_label, strict=True)
    ]
    return markup.table(header, rows)


def _thresholds(report: Report) -> Iterator[str]:
    if report.proposal is not None:
        point = report.proposal.operating_point
        words = f"Proposed: {point.name}, positive from a score of {point.threshold:.4f}; {point.how_chosen}."
        yield markup.element("p", words)
        yield markup.bullets(report.proposal.warnings, "warnings")
    words = f"By image; rejected images, not in these figures: {report.data.rejected:,}."
    yield markup.element("p", words, "faint")
    header = ("threshold", "sensitivity", "specificity", "PPV", "NPV", "missed", "false alarms")
    yield markup.table(header, (_threshold(row, report) for row in report.thresholds))


def _threshold(row: ThresholdRow, report: Report) -> tuple[str, ...]:
    point = report.operating_point
    mark = " (in force)" if (row.name, row.threshold) == (point.name, point.threshold) else ""
    name = f"{row.threshold:.2f}" if row.name is None else f"{row.threshold:.4f}\n{row.name}{mark}"
    shares = (row.sensitivity, row.specificity, row.positive_predictive_value, row.negative_predictive_value)
    counts = (f"{row.counts.false_negative:,}", f"{row.counts.false_positive:,}")
    return (name, *(percent(share).replace(" [", "\n[") for share in shares), *counts)


def _lists(report: Report) -> Iterator[str]:
    yield markup.element("h2", f"Misread images ({len(report.misread):,} of {report.data.classified:,} classified)")
    if report.misread:
        more = has_more(report)
        words = f"{kinds_line(report)}, in this order; each farthest from right first."
        yield markup.element("p", words[0].upper() + words[1:], "faint")
        header = (
            "image",
            "true label",
            "given label",
            "score",
            *(["probabilities"] if more else []),
            "patient",
            "gate",
        )
        yield markup.table(header, (_misread(case, more=more) for case in report.misread))
    yield markup.element("h2", f"Rejected images ({report.data.rejected:,} of {report.data.images:,})")
    if report.rejected:
        yield markup.table(("image", "true label", "reason", "message"), map(_rejected, report.rejected))
    if report.conflicting_patients:
        yield markup.element("h2", "Patients with positive images and negative ones")
        yield markup.bullets(report.conflicting_patients)


def _misread(case: Case, *, more: bool) -> tuple[str, ...]:
    unnamed = "withheld" if case.path is None else "not known"
    score, patient = f"{case.score:.4f}", case.patient or unnamed
    probabilities = [two_probabilities(case) or "not kept"] if more else []
    return (_name(case), case.label, case.given, score, *probabilities, patient.replace("\n", " "), case.gate)


def _rejected(case: RejectedCase) -> tuple[str, ...]:
    return (_name(case), case.label, case.reason, case.message)


def _name(case: Case | RejectedCase) -> str:
    if case.path is not None:
        return case.path.replace("\n", "\\n")  # a line break would start the faint line
    return f"SHA-256 {(case.content_sha256 or 'not known')[:16]}"


def _methods(report: Report) -> Iterator[str]:
    patients = report.data.patients is not None
    drawn = (
        "whole patients" if patients else "images, as no patient is known; images of one patient would make it wider"
    )
    yield "The score is the summed probability of the positive labels; at or above the threshold an image is positive."
    yield "Shares (sensitivity, specificity, predictive values, accuracy, precision, recall): 95 % Wilson intervals."
    if patients:
        yield "Wilson intervals by image take a patient's images for independent; the column by patient does not."
    yield (
        "AUC, average precision, balanced accuracy, Brier score: 95 % percentile bootstrap, 2,000 draws of "
        f"{drawn}, within positives and negatives, seed 0. Where nothing was misranked it has no width: see the counts."
    )
    yield "Brier score: mean squared difference of score and truth."
    yield "Expected calibration error and reliability plot: 10 bins of equal width, weighted by their number of images."
    yield "A patient's score is the highest of its images'; a patient is truly positive if any image is."
    yield "Rejected images are in no figure, except where they are said to be counted as errors."
