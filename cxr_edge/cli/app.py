"""The commands put together, and every exception turned into one line and an exit code."""

import contextlib
import io
import os
import signal
import sys
import threading
from types import FrameType
from typing import Annotated, NoReturn

import typer
from typer.exceptions import TyperException

from cxr_edge._version import __version__
from cxr_edge.cli.bench import bench
from cxr_edge.cli.classify import classify
from cxr_edge.cli.command import Command
from cxr_edge.cli.console import occupy_closed_descriptors, out, say
from cxr_edge.cli.evaluate import evaluate
from cxr_edge.cli.inspect import demo, doctor, info
from cxr_edge.cli.selftest import selftest
from cxr_edge.cli.serve import serve
from cxr_edge.cli.watch import watch
from cxr_edge.errors import CxrEdgeError
from cxr_edge.stopping import stopping_signals

USAGE, INTERRUPTED = 2, 130

app = typer.Typer(
    name="cxr-edge",
    help="Classify chest radiographs on an offline workstation. Not a medical device.",
    epilog="Exit codes: 0 all classified, 2 usage, 3 some rejected, 4 none classified, 5 model or environment "
    "unusable, 6 output unwritable or existing, 7 export limit broken, 8 no watcher is well, 10 --fail-on matched, "
    "130 interrupted, 141 the reader of the output went away.",
    invoke_without_command=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (classify, watch, serve, evaluate, bench, info, doctor, selftest, demo):
    app.command(cls=Command)(command)


def _print_version(*, wanted: bool) -> None:
    if wanted:
        out(f"cxr-edge {__version__}\n")
        raise typer.Exit


@app.callback()
def common(
    context: typer.Context,
    *,
    version: Annotated[  # noqa: ARG001 - its callback prints it
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Classify chest radiographs on an offline workstation. Not a medical device."""
    if context.invoked_subcommand is None:
        out(context.get_help() + "\n")
        raise typer.Exit(USAGE)


def main() -> NoReturn:
    """Run the command line and exit with the documented code."""
    occupy_closed_descriptors()
    if threading.current_thread() is threading.main_thread():
        for number in stopping_signals():  # outputs are cleaned up, as after Ctrl-C
            if number != signal.SIGINT:  # a KeyboardInterrupt already
                signal.signal(number, _interrupt)
    # pydicom imports requests where it finds it, and urllib3 then opens a socket to see whether there is IPv6
    sys.modules.setdefault("requests", None)  # type: ignore[arg-type]  # None: "not installed", in this process
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(newline="")  # rows end as their format says, on Windows too
    code = run()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with contextlib.suppress(OSError):  # said already, if it is news
                stream.flush()
    os._exit(code)  # everything is written; taking the interpreter down piece by piece would cost 40 ms more


def run(arguments: list[str] | None = None) -> int:
    """Run one command line, None for this process's own; returns its exit code."""
    try:
        code = app(args=arguments, prog_name="cxr-edge", standalone_mode=False)
    except CxrEdgeError as error:
        say(str(error))
        return error.exit_code
    except TyperException as error:
        say(error.format_message())
        return USAGE
    if code == INTERRUPTED:  # typer turned the KeyboardInterrupt into this code
        say("interrupted")
    return code if isinstance(code, int) else 0


def _interrupt(number: int, _frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # once is enough; a second one would interrupt the cleaning up
    raise KeyboardInterrupt
