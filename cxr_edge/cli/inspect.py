"""`cxr-edge info`, `cxr-edge doctor` and `cxr-edge demo`: look at the model, at the installation, at both at work."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from cxr_edge.cli.console import is_terminal, out, printable, say
from cxr_edge.cli.options import ModelOption, ProviderOption, ThreadsOption
from cxr_edge.files import refuse_existing, write_atomically

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
UNUSABLE = 5
MAX_NAME = 40


def info(model: ModelOption = None, *, as_json: JsonOption = False) -> None:
    """Show the model's contract.

    Labels, preprocessing, operating points, intended use, parity with the Keras original.
    """
    import json

    from cxr_edge.contract import from_metadata, to_json
    from cxr_edge.engine import Engine
    from cxr_edge.info import describe
    from cxr_edge.modelfile import read_model

    file = read_model(model)
    contract = from_metadata(Engine(file.content, provider="cpu").metadata)
    if as_json:
        out(json.dumps({"sha256": file.sha256, "contract": json.loads(to_json(contract))}, indent=2) + "\n")
        return
    for title, lines in describe(contract, file.sha256):
        _section(title, dict(lines))


def doctor(*, as_json: JsonOption = False) -> None:
    """Look at this installation.

    Versions, providers, CPU, codecs, models, clashing wheels. Exit code 5 if it cannot run.
    """
    import json

    from cxr_edge.doctor import examine

    report = examine()
    if as_json:
        verdict = {"problems": report.problems, "warnings": report.warnings}
        out(json.dumps({**report.facts, **verdict}, indent=2) + "\n")
    else:
        for title, facts in report.facts.items():
            _section(title, facts)
    for warning in report.warnings:
        say(f"warning: {warning}")
    for problem in report.problems:
        say(problem)
    raise typer.Exit(UNUSABLE if report.problems else 0)


def demo(
    model: ModelOption = None,
    *,
    keep: Annotated[
        Path | None, typer.Option("--keep", metavar="FILE", help="Keep the phantom: a DICOM file to try things on.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing FILE.")] = False,
    provider: ProviderOption = "auto",
    threads: ThreadsOption = None,
) -> None:
    """Classify a synthetic phantom.

    Written as DICOM into a temporary folder, which is removed again.
    """
    from cxr_edge.classifier import load
    from cxr_edge.demo import classify_phantom
    from cxr_edge.phantom import phantom_dicom

    if keep is not None:
        refuse_existing(keep, overwrite=overwrite)
    classifier = load(model, provider=provider, threads=threads)
    for note in classifier.notices:
        say(note.message)
    prediction = classify_phantom(classifier)
    if keep is not None:
        write_atomically(keep, phantom_dicom(), overwrite=overwrite)
    point = prediction.operating_point
    out("A synthetic phantom, drawn by this program, was classified: the installation works.\n")
    out("The class of a drawing means nothing. Not a medical device.\n\n")
    _section(
        "result",
        {
            "label": prediction.label,
            "score": f"{prediction.score:.4f}",
            "operating point": f"{point.name}, threshold {point.threshold:.4f}",
            "gate": "; ".join((prediction.gate.status, *(note.message for note in prediction.gate.reasons))),
            "rendering": prediction.rendering,
            "model": f"{prediction.model.name} {prediction.model.version}",
            "provider": prediction.execution_provider,
            "inference": f"{prediction.latency.inference_ms:.1f} ms",
            "total": f"{prediction.latency.total_ms:.1f} ms",
        },
    )


def _section(title: str, facts: dict[str, str]) -> None:
    import textwrap

    indent = min(max((len(name) for name in facts), default=0), MAX_NAME) + 4
    out(f"{title}\n")
    for name, value in facts.items():
        head = f"  {name}".ljust(indent)
        if len(head) > indent:  # a long name stands on a line of its own
            out(f"{head}\n")
            head = " " * indent
        lines = textwrap.wrap(printable(str(value)), _width() - indent, break_long_words=False) or [""]
        out(head + f"\n{' ' * indent}".join(lines) + "\n")
    out("\n")


def _width() -> int:
    """Columns to wrap at: the terminal's; none in a pipe, where a line is a line."""
    import shutil

    return max(60, shutil.get_terminal_size().columns) if is_terminal(sys.stdout) else 100_000
