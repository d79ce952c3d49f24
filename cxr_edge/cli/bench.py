"""`cxr-edge bench`."""

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cxr_edge.cli.console import out, say
from cxr_edge.cli.inputs import STANDARD_INPUT, find_images
from cxr_edge.cli.labelled_inputs import find_labelled
from cxr_edge.cli.options import ModelOption, OverwriteOption, ProviderOption, ReportJsonOption
from cxr_edge.cli.outputs import write_each
from cxr_edge.cli.progress import with_progress
from cxr_edge.errors import InputError, OutputError, UsageError
from cxr_edge.files import refuse_existing
from cxr_edge.processors import available_threads

if TYPE_CHECKING:
    from cxr_edge.bench import Report
    from cxr_edge.labelled import LabelledImage
    from cxr_edge.modelfile import ModelFile

ALL_MEASURED, SOME_REJECTED, NONE_MEASURED = 0, 3, 4
MAX_THREADS = 256


@dataclass(frozen=True, slots=True)
class _Outputs:
    """Files to write; None: not wanted."""

    json: Path | None
    plot: Path | None
    overwrite: bool

    @property
    def paths(self) -> tuple[Path, ...]:
        return tuple(path for path in (self.json, self.plot) if path is not None)

    def check(self) -> None:
        """Say before long work what could not be written after it."""
        for path in self.paths:
            refuse_existing(path, overwrite=self.overwrite)
        if len({path.resolve() for path in self.paths}) != len(self.paths):
            message = "--json and --plot name the same file"
            raise UsageError(message)
        if self.plot is not None and self.plot.suffix.lower() not in (".html", ".png"):
            message = f"--plot {self.plot}: the suffix tells the format; need .html or .png"
            raise UsageError(message)


def bench(  # noqa: PLR0913 - typer reads the options from the signature
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FILE...]",
            help="Images, or folders with all their sub-folders. Default: a synthetic phantom.",
            show_default=False,
        ),
    ] = None,
    *,
    model: ModelOption = None,
    provider: ProviderOption = "auto",
    threads: Annotated[
        str | None,
        typer.Option(
            "--threads", metavar="N[,M...]", help="Inference threads (default: each from 1 to CPUs, at most 4)."
        ),
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option(
            "--rounds", min=1, max=1_000_000, help="Measurements of each image (default: 100 of all together)."
        ),
    ] = None,
    compare: Annotated[
        Literal["float"] | None, typer.Option("--compare", help="Measure the float model in turn with this one.")
    ] = None,
    labelled: Annotated[
        Path | None,
        typer.Option("--labelled", metavar="FOLDER|CSV", help="Accuracy beside latency; as `evaluate` takes it."),
    ] = None,
    batch: Annotated[int, typer.Option("--batch", min=2, max=1024, help="The larger batch of tensors.")] = 8,
    json_file: ReportJsonOption = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE.html|png", help="Write charts; HTML holds the whole report.")
    ] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Measure speed.

    Latency by stage, throughput, threads, session creation and memory; with labelled images, accuracy as well.
    """
    to_standard_output = json_file == Path(STANDARD_INPUT)
    outputs = _Outputs(None if to_standard_output else json_file, plot, overwrite)
    outputs.check()
    counts = _threads(threads)
    paths = _images(files or [], outputs)
    from cxr_edge.bench import Plan, bench  # after the cheap checks: it brings numpy
    from cxr_edge.modelfile import read_model

    file = read_model(model)
    with _measured_on(paths) as (images, description):
        plan = Plan(
            model=file,
            paths=images,
            description=description,
            labelled=() if labelled is None else _labelled(labelled, file, outputs),
            compare_float=compare == "float",
            provider=provider,
            threads=counts,
            rounds=rounds,
            batch=batch,
        )
        try:
            report = bench(plan, with_progress)
        except InputError as error:
            say(str(error))
            raise typer.Exit(NONE_MEASURED) from None
    written = _write(report, outputs, to_standard_output=to_standard_output)
    if not written:
        raise typer.Exit(OutputError.exit_code)
    left_out = report.images.excluded or (report.labelled is not None and report.labelled.excluded)
    raise typer.Exit(SOME_REJECTED if left_out else ALL_MEASURED)


def _threads(text: str | None) -> tuple[int, ...]:
    if text is None:
        return tuple(range(1, available_threads() + 1))
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and 1 <= int(part[:9]) <= MAX_THREADS for part in parts):
        message = f"--threads {text}: need numbers from 1 to {MAX_THREADS}, separated by commas"
        raise UsageError(message)
    return tuple(sorted({int(part) for part in parts}))


def _images(arguments: list[str], outputs: _Outputs) -> tuple[str, ...]:
    """Paths; none stands for the phantom."""
    if STANDARD_INPUT in arguments:
        message = "standard input cannot be measured: it can be read only once"
        raise UsageError(message)
    found = find_images(arguments, recursive=True, outputs=outputs.paths)
    for notice in found.notices:
        say(notice)
    if arguments and not found.paths:
        say("no image was found")
        raise typer.Exit(NONE_MEASURED)
    return found.paths


@contextlib.contextmanager
def _measured_on(paths: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """The images and what they are; without any, a phantom in a file, so that reading is measured as well."""
    if paths:
        yield paths, "files given"
        return
    from cxr_edge.phantom import phantom_dicom

    with tempfile.TemporaryDirectory(prefix="cxr-edge-") as folder:
        file = Path(folder) / "phantom.dcm"
        file.write_bytes(phantom_dicom())
        yield (str(file),), "synthetic phantom, 1024 x 840, uncompressed DICOM"


def _labelled(source: Path, file: "ModelFile", outputs: _Outputs) -> "tuple[LabelledImage, ...]":
    from cxr_edge.contract import from_metadata
    from cxr_edge.engine import Engine

    labels = from_metadata(Engine(file.content, provider="cpu", threads=1).metadata).labels
    images = find_labelled(source, labels, outputs.paths)
    if not images:
        message = f"{source} holds no labelled image"
        raise UsageError(message)
    return images


def _write(report: "Report", outputs: _Outputs, *, to_standard_output: bool) -> bool:
    """Write what is wanted, then print; returns whether every file is written."""
    from cxr_edge.bench import report_to_html, report_to_json, report_to_png, report_to_text

    for note in report.notes:
        say(note)
    left_out = (*report.images.excluded, *(report.labelled.excluded if report.labelled is not None else ()))
    for one in left_out:
        say(f"left out {one.path}: {one.reason}: {one.message}")
    draw = report_to_png if outputs.plot is not None and outputs.plot.suffix.lower() == ".png" else report_to_html
    files: tuple[tuple[Path | None, Callable[[], bytes]], ...] = (
        (outputs.json, lambda: report_to_json(report)),
        (outputs.plot, lambda: draw(report)),
    )
    written = write_each(files, overwrite=outputs.overwrite)
    out(report_to_json(report).decode() if to_standard_output else report_to_text(report))
    return written
