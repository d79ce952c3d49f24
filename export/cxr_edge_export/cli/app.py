"""The application that the commands belong to, and the one place that turns errors into exit codes."""

import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer
from typer.exceptions import TyperException

from cxr_edge._version import __version__
from cxr_edge.cli import console
from cxr_edge.errors import CxrEdgeError
from cxr_edge.stopping import stopping_signals

JsonOption = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the figures as JSON.")]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace existing outputs.")]
USAGE, UNUSABLE, INTERRUPTED = 2, 5, 130
TENSORFLOWS_OWN = "ResourceExhaustedError"  # no MemoryError

app = typer.Typer(
    name="cxr-edge-export",
    help="Train a Keras chest-X-ray classifier, and turn it into one ONNX file that carries its contract.",
    epilog="Exit codes: 0 done, 2 usage, 5 model or environment unusable, 6 output unwritable or existing, "
    "7 a limit of the recipe is broken, 130 interrupted, 141 the reader of the output went away.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def common(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=lambda v: _version(wanted=v))
    ] = False,
) -> None:
    """Train a Keras chest-X-ray classifier, and turn it into one ONNX file that carries its contract."""


def main() -> NoReturn:
    """Run the command line and exit with the documented code."""
    for number in stopping_signals():  # as after Ctrl-C
        if number != signal.SIGINT:  # a KeyboardInterrupt already
            signal.signal(number, _interrupt)
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line; returns its exit code."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before TensorFlow is imported; its banner is no result
    try:
        code = app(args=arguments, prog_name="cxr-edge-export", standalone_mode=False)
    except Exception as error:
        told = _in_words(error)
        if told is None:
            raise
        return _failed(*told)
    if code == INTERRUPTED:  # typer turned the KeyboardInterrupt into this code
        return _failed("interrupted", INTERRUPTED)
    return code if isinstance(code, int) else 0


def _in_words(error: Exception) -> tuple[str, int] | None:
    """The line to say and the exit code; None of an error of this program itself."""
    match error:
        case CxrEdgeError():
            told = str(error), error.exit_code
        case TyperException():
            told = error.format_message(), USAGE
        case OSError():
            told = error.strerror or str(error), UNUSABLE
        case ImportError():
            told = f"{error}; install the workbench: pip install ./export", UNUSABLE
        case UnicodeEncodeError():
            told = "the name of a file or folder is no UTF-8, and has to stand in a file: rename it", USAGE
        case _ if isinstance(error, MemoryError) or type(error).__name__ == TENSORFLOWS_OWN:
            told = "out of memory: fewer or smaller images, or a smaller batch, need less", UNUSABLE
        case _:
            return None
    return told


def _interrupt(number: int, _frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # once is enough
    raise KeyboardInterrupt


def _version(*, wanted: bool) -> None:
    if wanted:
        write_out(f"cxr-edge-export {__version__}\n")
        raise typer.Exit


def _failed(message: str, code: int) -> int:
    say(message)
    return code


def say(text: str) -> None:
    """One line on standard error."""
    console.say(text, "cxr-edge-export")


def write_out(text: str) -> None:
    """Print on standard output, whatever its encoding.

    Raises:
        typer.Exit: the reader went away.
        OutputError: it cannot be written.
    """
    console.out(text)
