"""The report in a terminal's words: what matters, and where the rest is."""

from collections import Counter
from collections.abc import Iterator

from cxr_edge.evaluate.misread import Kind, kind_of
from cxr_edge.evaluate.report import BinaryFigures, Case, RejectedCase, Report
from cxr_edge.page.words import bare, number, percent, visible
from cxr_edge.types import side_is_label

MAX_LISTED = 20


def report_to_text(report: Report) -> str:
    """Lines for people; misread and rejected images up to 20 each, the report files list all."""
    return "".join(f"{visible(line)}\n" for line in _lines(report))


def _lines(report: Report) -> Iterator[str]:
    data, point = report.data, report.operating_point
    yield f"{data.description}: {data.images:,} images, {data.classified:,} classified, {data.rejected:,} rejected"
    yield f"operating point {point.name}, threshold {point.threshold:.4f}"
    yield ""
    side = ", positive or negative" if has_more(report) else ""
    yield from _binary(report.images, f"by image ({report.images.counts.total:,}){side}")
    if report.patients is not None:
        yield from _binary(report.patients, f"by patient ({report.patients.counts.total:,}){side}")
    worst = report.rejected_as_errors
    if data.rejected:
        yield f"rejected images counted as errors: sensitivity {percent(worst.sensitivity)}"
        yield f"                                   specificity {percent(worst.specificity)}"
        yield ""
    yield from _labels(report)
    if report.proposal is not None:
        proposed = report.proposal.operating_point
        yield f"proposed operating point {proposed.name}: threshold {proposed.threshold:.4f}, {proposed.how_chosen}"
        yield f"  sensitivity {percent(proposed.sensitivity)}"
        yield f"  specificity {percent(proposed.specificity)}"
        yield ""
    yield from _some(
        "misread images", [_misread(case, more=has_more(report)) for case in report.misread], kinds_line(report)
    )
    yield from _some("rejected images", [f"{_name(c)}: {c.reason}: {c.message}" for c in report.rejected])
    yield f"Model {report.model.name} {report.model.version}, SHA-256 {report.model.sha256}. Not a medical device."


def _name(case: Case | RejectedCase) -> str:
    return case.path or case.content_sha256 or "not known"


def kinds_line(report: Report) -> str:
    """How many misread images there are of each kind, in the order in which they are listed."""
    found = Counter(kind_of(case, report.positive_labels) for case in report.misread)
    line = f"missed {found[Kind.MISSED]:,}, false alarms {found[Kind.FALSE_ALARM]:,}"
    return f"{line}, another label on the right side {found[Kind.OTHER_LABEL]:,}" if has_more(report) else line


def has_more(report: Report) -> bool:
    """Whether there are more labels than a positive and a negative one: two kinds of accuracy, then."""
    return not side_is_label(report.labels)


def two_probabilities(case: Case) -> str:
    """Of the true label and of the one given; empty where they were not kept."""
    if case.probabilities is None:
        return ""
    return ", ".join(f"{label} {case.probabilities[label]:.4f}" for label in (case.label, case.given))


def _misread(case: Case, *, more: bool) -> str:
    line = f"{_name(case)}: {case.label} read as {case.given}, score {case.score:.4f}"
    return f"{line} ({probabilities})" if more and (probabilities := two_probabilities(case)) else line


def _binary(figures: BinaryFigures, title: str) -> Iterator[str]:
    counts = figures.counts
    positives, negatives = counts.true_positive + counts.false_negative, counts.true_negative + counts.false_positive
    yield f"{title}, with 95 % intervals"
    yield f"  sensitivity        {percent(figures.sensitivity)}  ({counts.true_positive:,} of {positives:,})"
    yield f"  specificity        {percent(figures.specificity)}  ({counts.true_negative:,} of {negatives:,})"
    yield f"  accuracy           {percent(figures.accuracy)}"
    yield f"  balanced accuracy  {percent(figures.balanced_accuracy)}"
    yield f"  AUC                {number(figures.auc)}"
    yield f"  average precision  {number(figures.average_precision)}"
    yield f"  Brier score        {number(figures.brier_score)}"
    yield f"  ECE (10 bins)      {bare(figures.expected_calibration_error)}"
    yield ""


def _labels(report: Report) -> Iterator[str]:
    if has_more(report):
        yield "over all labels, with 95 % intervals"
        yield f"  accuracy           {percent(report.by_label.accuracy)}"
        yield f"  balanced accuracy  {percent(report.by_label.balanced_accuracy)}"
    yield "confusion matrix, rows the truth"
    width = max(9, *(len(visible(label)) for label in report.labels)) + 2
    yield " " * (width + 2) + "".join(label.rjust(width) for label in report.labels) + "rejected".rjust(width)
    for index, label in enumerate(report.labels):
        row = (*report.by_label.confusion[index], report.data.by_label[index].rejected)
        yield f"  {label.ljust(width)}" + "".join(f"{count:,}".rjust(width) for count in row)
    for part in report.by_label.classes:
        yield f"  {part.label}: precision {percent(part.precision)}, recall {percent(part.recall)}, F1 {bare(part.f1)}"
    yield ""


def _some(title: str, lines: list[str], below: str | None = None) -> Iterator[str]:
    if not lines:
        return
    yield f"{title} ({len(lines):,})" + (f": {below}" if below else "")
    for line in lines[:MAX_LISTED]:
        yield f"  {line}"
    if len(lines) > MAX_LISTED:
        yield f"  and {len(lines) - MAX_LISTED:,} more: --report or --json lists all"
    yield ""
