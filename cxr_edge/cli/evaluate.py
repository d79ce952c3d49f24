"""`cxr-edge evaluate`."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cxr_edge.cli.console import out, printable, say
from cxr_edge.cli.inputs import STANDARD_INPUT
from cxr_edge.cli.labelled_inputs import find_labelled
from cxr_edge.cli.opening import open_classifier
from cxr_edge.cli.options import (
    GateOption,
    ModelOption,
    OperatingPointOption,
    OverwriteOption,
    ProviderOption,
    ReportJsonOption,
    ThreadsOption,
)
from cxr_edge.cli.outputs import write_each
from cxr_edge.cli.progress import with_progress
from cxr_edge.errors import OutputError, UsageError
from cxr_edge.files import refuse_existing
from cxr_edge.labelled import LabelledImage
from cxr_edge.types import Prediction, Rejection

if TYPE_CHECKING:
    from cxr_edge.classifier import Classifier
    from cxr_edge.evaluate import Report, Setting

ALL_CLASSIFIED, SOME_REJECTED, NONE_CLASSIFIED = 0, 3, 4
NAME_WITHHELD = "name withheld"


@dataclass(frozen=True, slots=True)
class _Outputs:
    """Files to write; None: not wanted."""

    html: Path | None
    json: Path | None
    overlay: Path | None
    overwrite: bool

    @property
    def paths(self) -> tuple[Path, ...]:
        return tuple(path for path in (self.html, self.json, self.overlay) if path is not None)

    def check(self) -> None:
        """Say before long work what could not be written after it."""
        for path in self.paths:
            refuse_existing(path, overwrite=self.overwrite)
        if len({path.resolve() for path in self.paths}) != len(self.paths):
            message = "--report, --json and --overlay name the same file twice"
            raise UsageError(message)


def evaluate(  # noqa: PLR0913 - typer reads the options from the signature
    source: Annotated[
        Path, typer.Argument(metavar="FOLDER|CSV", help="One sub-folder per class; or columns path,label[,patient].")
    ],
    *,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE.html", help="Write a self-contained HTML report.")
    ] = None,
    json_file: ReportJsonOption = None,
    choose_threshold: Annotated[
        str | None,
        typer.Option(
            "--choose-threshold",
            metavar="RULE",
            help="Propose an operating point: sensitivity>=0.98 or specificity>=0.9.",
        ),
    ] = None,
    overlay: Annotated[
        Path | None,
        typer.Option("--overlay", metavar="FILE", help="Write the proposed operating point as an overlay file."),
    ] = None,
    overwrite: OverwriteOption = False,
    description: Annotated[
        str | None,
        typer.Option(
            "--description",
            metavar="TEXT",
            help="What these images are; default: the source's name, withheld with --no-identifiers.",
        ),
    ] = None,
    no_identifiers: Annotated[
        bool, typer.Option("--no-identifiers", help="Leave paths and patients out of the reports.")
    ] = False,
    model: ModelOption = None,
    operating_point: OperatingPointOption = None,
    provider: ProviderOption = "auto",
    threads: ThreadsOption = None,
    gate: GateOption = "strict",
) -> None:
    """Measure a model on labelled images.

    Sensitivity, specificity, AUC, calibration with 95 % intervals, by image and by patient; every misread image.
    """
    outputs = _Outputs(report, None if json_file == Path(STANDARD_INPUT) else json_file, overlay, overwrite)
    outputs.check()
    if overlay is not None and choose_threshold is None:
        message = "--overlay needs --choose-threshold: it writes the operating point that was proposed"
        raise UsageError(message)
    from cxr_edge.evaluate import Setting, parse_wish
    from cxr_edge.isolation.limits import IsolationLimits

    # a folder may be named for a patient
    named = NAME_WITHHELD if no_identifiers else source.resolve().name or str(source)
    setting = Setting(
        description=printable(description or named),
        gate=gate,
        root=source if _is_folder(source) else source.parent,
        identifiers=not no_identifiers,
        wish=None if choose_threshold is None else parse_wish(choose_threshold),
    )
    with open_classifier(
        model,
        provider=provider,
        threads=threads,
        gate=gate,
        operating_point=operating_point,
        isolation=IsolationLimits(),
    ) as classifier:
        images = find_labelled(source, classifier.contract.labels, outputs.paths)
        if not images:
            say("no image was found")
            raise typer.Exit(NONE_CLASSIFIED)
        found = _evaluate(classifier, images, setting)
    written = _write(found, outputs, to_standard_output=json_file == Path(STANDARD_INPUT))
    if setting.wish is not None and found.proposal is None:
        message = f"no operating point with {choose_threshold} can be proposed; the warnings say why"
        raise UsageError(message)
    if not written:
        raise typer.Exit(OutputError.exit_code)
    if not found.data.classified:
        raise typer.Exit(NONE_CLASSIFIED)
    raise typer.Exit(SOME_REJECTED if found.data.rejected else ALL_CLASSIFIED)


def _is_folder(source: Path) -> bool:
    return os.path.isdir(source)  # noqa: PTH112 - Path.is_dir may raise


def _evaluate(classifier: "Classifier", images: tuple[LabelledImage, ...], setting: "Setting") -> "Report":
    from cxr_edge.evaluate import collect, evaluate

    return evaluate(classifier, collect(classifier, images, _progress), setting)


def _write(report: "Report", outputs: _Outputs, *, to_standard_output: bool) -> bool:
    """Write what is wanted, then print; returns whether every file is written."""
    from cxr_edge.evaluate import overlay_of, report_to_html, report_to_json, report_to_text
    from cxr_edge.overlay import overlay_to_json

    doubts = () if report.proposal is None else report.proposal.warnings
    for warning in (*report.warnings, *doubts):
        say(f"warning: {warning}")
    files: tuple[tuple[Path | None, Callable[[], bytes]], ...] = (
        (outputs.html, lambda: report_to_html(report)),
        (outputs.json, lambda: report_to_json(report)),
        (None if report.proposal is None else outputs.overlay, lambda: overlay_to_json(overlay_of(report))),
    )
    written = write_each(files, overwrite=outputs.overwrite)
    out(report_to_json(report).decode() if to_standard_output else report_to_text(report))
    return written


def _progress(results: Iterable[Prediction | Rejection], total: int) -> Iterable[Prediction | Rejection]:
    return with_progress(results, "evaluating", total)
