"""The commands put together, and every exception turned into one line and an exit code."""

import signal
import sys
import threading
from types import FrameType
from typing import Annotated, NoReturn

import click
import typer

from cxr_edge._version import __version__
from cxr_edge.cli.classify import classify
from cxr_edge.cli.console import leave_quietly_after_broken_pipe, out, say
from cxr_edge.cli.inspect import demo, doctor, info
from cxr_edge.errors import CxrEdgeError

USAGE, OUTPUT, INTERRUPTED, BROKEN_PIPE = 2, 6, 130, 141

app = typer.Typer(
    name="cxr-edge",
    help="Classify chest radiographs on an offline workstation. Not a medical device.",
    epilog="Exit codes: 0 all classified, 2 usage, 3 some rejected, 4 none classified, 5 model or environment "
    "unusable, 6 output unwritable or existing, 7 export limit broken, 10 --fail-on matched, 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (classify, info, doctor, demo):
    app.command()(command)


def _print_version(*, wanted: bool) -> None:
    if wanted:
        out(f"cxr-edge {__version__}\n")
        raise typer.Exit


@app.callback()
def common(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Classify chest radiographs on an offline workstation. Not a medical device."""


def main() -> NoReturn:
    """Run the command line and exit with the documented code."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _interrupt)  # outputs are cleaned up, as after Ctrl-C
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line; returns its exit code."""
    try:
        code = app(args=arguments, prog_name="cxr-edge", standalone_mode=False)
    except (KeyboardInterrupt, Exception) as error:
        if (failed := _exit_code(error)) is None:
            raise
        return failed
    return code if isinstance(code, int) else 0


def _exit_code(error: BaseException) -> int | None:
    """Say what happened in one line; None for what is a defect of this program and deserves its traceback."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        out(f"{error.format_message()}\n")
        return USAGE
    if isinstance(error, BrokenPipeError):
        leave_quietly_after_broken_pipe()
        return BROKEN_PIPE
    said: tuple[str, int] | None = None
    match error:
        case CxrEdgeError():
            said = str(error), error.exit_code
        case click.ClickException():
            said = error.format_message(), USAGE
        case KeyboardInterrupt() | click.Abort():
            said = "interrupted", INTERRUPTED
        case OSError():
            said = f"cannot write the output: {error.strerror or error}", OUTPUT
    if said is None:
        return None
    say(said[0])
    return said[1]


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
