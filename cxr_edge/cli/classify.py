"""`cxr-edge classify`."""

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Literal

import typer

from cxr_edge.cli.console import is_terminal, out, say
from cxr_edge.cli.inputs import STANDARD_INPUT, Found, find_images, open_image
from cxr_edge.cli.opening import open_classifier
from cxr_edge.cli.options import (
    GateOption,
    ModelOption,
    OperatingPointOption,
    OverwriteOption,
    ProviderOption,
    ThreadsOption,
)
from cxr_edge.cli.progress import with_progress
from cxr_edge.cli.side_files import ReportLanguage, ReportOptions, SideFiles
from cxr_edge.errors import UsageError
from cxr_edge.files import atomic_writer, refuse_existing
from cxr_edge.processors import available_threads
from cxr_edge.results import Format, RowWriter, StudyCollector, open_writer, to_row
from cxr_edge.types import Prediction, Rejection

if TYPE_CHECKING:
    from cxr_edge.classifier import Classifier
    from cxr_edge.contract import Contract
    from cxr_edge.isolation.pool import Pool

ALL_CLASSIFIED, SOME_REJECTED, NONE_CLASSIFIED, UNWRITTEN, FAIL_ON_MATCHED = 0, 3, 4, 6, 10
FORMAT_BY_SUFFIX: dict[str, Format] = {
    ".csv": "csv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".txt": "table",
    "": "jsonl",
}


@dataclass(frozen=True, slots=True)
class _Destination:
    """Where rows go and in which shape."""

    kind: Format
    output: Path | None
    side_files: SideFiles
    overwrite: bool
    identifiers: bool


@dataclass(slots=True)
class _Tally:
    classified: int = 0
    rejected: int = 0
    positive: int = 0
    unwritten: int = 0

    def count(self, result: Prediction | Rejection) -> None:
        if isinstance(result, Rejection):
            self.rejected += 1
        else:
            self.classified += 1
            self.positive += result.positive

    def exit_code(self, fail_on: str | None) -> int:
        if self.unwritten:
            return UNWRITTEN
        if not self.classified:
            return NONE_CLASSIFIED
        if self.rejected:
            return SOME_REJECTED
        return FAIL_ON_MATCHED if fail_on == "positive" and self.positive else ALL_CLASSIFIED


def classify(  # noqa: PLR0913 - typer reads the options from the signature
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Files, folders, or - for standard input.")],
    *,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Folders with all their sub-folders.")] = False,
    study: Annotated[bool, typer.Option("--study", help="Take all untagged files of this call for one study.")] = False,
    format_: Annotated[
        Format | None,
        typer.Option("--format", help="Default: table on a terminal, else jsonl, or by --output's suffix."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the rows to FILE, whole or not at all.")
    ] = None,
    overwrite: OverwriteOption = False,
    heatmap: Annotated[
        Path | None, typer.Option("--heatmap", metavar="FOLDER", help="Write a PNG per image, named by its SHA-256.")
    ] = None,
    heatmap_label: Annotated[
        str | None,
        typer.Option(
            "--heatmap-label", metavar="LABEL", help="Evidence for this label, in PNG and PDF; the PNG's name tells it."
        ),
    ] = None,
    pdf: Annotated[
        Path | None, typer.Option("--pdf", metavar="FOLDER", help="Write a report per image, named by its SHA-256.")
    ] = None,
    language: Annotated[ReportLanguage | None, typer.Option("--language", help="Of the reports; default: en.")] = None,
    pdf_identifiers: Annotated[
        bool, typer.Option("--pdf-identifiers", help="File name and UIDs on the reports, too.")
    ] = False,
    model: ModelOption = None,
    operating_point: OperatingPointOption = None,
    provider: ProviderOption = "auto",
    threads: ThreadsOption = None,
    gate: GateOption = "strict",
    no_identifiers: Annotated[
        bool, typer.Option("--no-identifiers", help="Leave path and UIDs out of the rows.")
    ] = False,
    fail_on: Annotated[
        Literal["positive"] | None, typer.Option("--fail-on", help="Exit code 10 when an image is positive.")
    ] = None,
) -> None:
    """Classify radiographs.

    DICOM, JPEG, PNG, WebP, TIFF or BMP, told by content and never by suffix.
    """
    output = None if output == Path(STANDARD_INPUT) else output  # "-" is standard output here
    identifiers = not no_identifiers
    if pdf_identifiers and no_identifiers:
        message = "--pdf-identifiers contradicts --no-identifiers"
        raise UsageError(message)
    if pdf is None and (language is not None or pdf_identifiers):
        message = f"{'--language' if language else '--pdf-identifiers'} is about reports; need --pdf FOLDER"
        raise UsageError(message)
    if heatmap_label is not None and heatmap is None and pdf is None:
        message = "--heatmap-label is about heat maps and reports; need --heatmap FOLDER or --pdf FOLDER"
        raise UsageError(message)
    reports = ReportOptions(language=language or "en", identifiers=pdf_identifiers)
    side_files = SideFiles(heatmap, pdf, heatmap_label=heatmap_label, report_options=reports, overwrite=overwrite)
    side_files.check_extra()
    destination = _Destination(_format(format_, output), output, side_files, overwrite, identifiers)
    if output is not None:
        refuse_existing(output, overwrite=overwrite)
    outputs = tuple(path for path in (output, heatmap, pdf) if path is not None)
    found = find_images(paths, recursive=recursive, outputs=outputs)
    for notice in found.notices:
        say(notice)
    isolation = _start_isolation(len(found.paths))
    with open_classifier(
        model,
        provider=provider,
        threads=threads,
        gate=gate,
        operating_point=operating_point,
        isolation=isolation,
    ) as classifier:
        side_files.prepare(classifier.contract)
        tally = _run(classifier, found, destination, StudyCollector(untagged_as_study=study, identifiers=identifiers))
    if not tally.classified and not tally.rejected:
        say("no image was found")
    raise typer.Exit(tally.exit_code(fail_on))


def _start_isolation(images: int) -> "Pool | None":
    """Decoding processes for several images; one alone has nothing else to lose, and need not wait for a process."""
    if images < 2:  # noqa: PLR2004
        return None
    from cxr_edge.isolation.limits import IsolationLimits
    from cxr_edge.isolation.pool import Pool

    return Pool(IsolationLimits(processes=min(available_threads(), images)))  # it imports while this process does


def _run(classifier: "Classifier", found: Found, destination: _Destination, studies: StudyCollector) -> _Tally:
    tally = _Tally()
    with _rows_to(destination, classifier.contract) as writer:
        for result in _progress(_results(classifier, found, destination, tally), found, destination):
            tally.count(result)
            writer.write(to_row(result, identifiers=destination.identifiers))
            studies.add(result)
        for row in studies.rows():
            writer.write(row)
    return tally


def _results(
    classifier: "Classifier", found: Found, destination: _Destination, tally: _Tally
) -> Iterator[Prediction | Rejection]:
    """Results in the order of the files, side files written on the way. One that cannot be written loses no row."""
    keep = destination.side_files.wanted
    images = (open_image(path) for path in found.paths)
    with contextlib.closing(classifier.classify_many(images, keep_radiograph=keep)) as many:
        for path, made in zip(found.paths, many, strict=True):
            result = replace(made, source=replace(made.source, path=path)) if path == STANDARD_INPUT else made
            if keep and isinstance(result, Prediction):
                for problem in destination.side_files.write(result, classifier.contract):
                    tally.unwritten += 1
                    say(problem)
                result = replace(result, radiograph=None)
            yield result


@contextlib.contextmanager
def _rows_to(destination: _Destination, contract: "Contract") -> Iterator[RowWriter]:
    if destination.output is None:
        writer = _writer(destination.kind, out, contract)
        yield writer
        writer.close()
        return
    with atomic_writer(destination.output, overwrite=destination.overwrite) as stream:
        writer = _writer(destination.kind, _encoder(stream), contract)
        yield writer
        writer.close()


def _writer(kind: Format, emit: Callable[[str], object], contract: "Contract") -> RowWriter:
    """The table names the positive labels, which no row does."""
    if kind == "table":
        from cxr_edge.results.table import TableWriter

        return TableWriter(emit, positive_labels=contract.positive_labels)
    return open_writer(kind, emit)


def _encoder(stream: IO[bytes]) -> Callable[[str], object]:
    return lambda text: stream.write(text.encode("utf-8"))


def _progress(
    results: Iterator[Prediction | Rejection], found: Found, destination: _Destination
) -> Iterable[Prediction | Rejection]:
    rows_on_terminal = destination.output is None and destination.kind != "table" and is_terminal(sys.stdout)
    if len(found.paths) < 2 or rows_on_terminal:  # noqa: PLR2004 - one file needs no bar
        return results
    return with_progress(results, "classifying", len(found.paths))


def _format(wanted: Format | None, output: Path | None) -> Format:
    if wanted is not None:
        return wanted
    if output is not None:
        if output.suffix.lower() not in FORMAT_BY_SUFFIX:
            message = f"the suffix {output.suffix} tells no format; --format does"
            raise UsageError(message)
        return FORMAT_BY_SUFFIX[output.suffix.lower()]
    return "table" if is_terminal(sys.stdout) else "jsonl"
