"""`cxr-edge watch`."""

import contextlib
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cxr_edge.cli.console import is_terminal, out, printable, say
from cxr_edge.cli.inspect import JsonOption
from cxr_edge.cli.options import ModelOption, OperatingPointOption, Provider
from cxr_edge.errors import CxrEdgeError, UsageError
from cxr_edge.types import GateMode
from cxr_edge.watch.settings import Order, Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cxr_edge.watch.events import Event, Observer

CRASHED, UNWELL = 1, 8


def watch(  # noqa: PLR0913 - typer reads the options from the signature
    inbox: Annotated[Path | None, typer.Argument(metavar="[INBOX]", help="The folder to watch.")] = None,
    *,
    results: Annotated[Path | None, typer.Option("--results", metavar="OUTBOX", help="The folder for results.")] = None,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="Settings as TOML; options given here win.")
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option("--state", metavar="FOLDER", help="Ledger, lock and health; on a local disk, never on a share."),
    ] = None,
    poll_interval: Annotated[
        float | None, typer.Option(metavar="SECONDS", min=0.1, max=60, help="Least time between two scans [5].")
    ] = None,
    settle: Annotated[
        float | None, typer.Option(metavar="SECONDS", min=0, max=3600, help="Unchanged so long before it is read [2].")
    ] = None,
    incomplete_after: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=1, max=604_800, help="Report a file that is not whole by then [300]."),
    ] = None,
    study_timeout: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=1, max=604_800, help="Sum up a study that was quiet so long [120]."),
    ] = None,
    order: Annotated[Order | None, typer.Option("--order", help="Which waiting files come first [oldest].")] = None,
    after: Annotated[
        list[str] | None,
        typer.Option("--after", metavar="done:FOLDER|rejected:FOLDER", help="Move decided files; else left alone."),
    ] = None,
    heatmap: Annotated[
        bool | None, typer.Option("--heatmap/--no-heatmap", help="A PNG beside each result [no].")
    ] = None,
    heatmap_label: Annotated[
        str | None, typer.Option("--heatmap-label", metavar="LABEL", help="Evidence for this label, as for classify.")
    ] = None,
    identifiers: Annotated[
        bool | None, typer.Option("--identifiers/--no-identifiers", help="Path and UIDs in the results [yes].")
    ] = None,
    nice: Annotated[bool | None, typer.Option("--nice/--no-nice", help="Give way to other programs [yes].")] = None,
    model: ModelOption = None,
    operating_point: OperatingPointOption = None,
    provider: Annotated[Provider | None, typer.Option("--provider", help="As for classify [auto].")] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, max=256, help="Inference threads, as for classify.")
    ] = None,
    gate: Annotated[GateMode | None, typer.Option("--gate", help="As for classify [strict].")] = None,
    log: Annotated[
        Path | None, typer.Option("--log", metavar="FILE", help="JSON lines, rotated; else to standard error.")
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="End when all that is there is decided; exit code 3 if not all could be.")
    ] = False,
    status: Annotated[
        bool, typer.Option("--status", help="Say how the watcher of INBOX is; exit code 8 if none is well.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Watch a folder and classify what arrives, day and night.

    Each image once; results as <SHA-256>.json in OUTBOX. Ctrl-C or SIGTERM finishes the running image.
    """
    given: dict[str, object] = {
        "inbox": inbox,
        "results": results,
        "state": state,
        "poll_interval_s": poll_interval,
        "settle_s": settle,
        "incomplete_after_s": incomplete_after,
        "study_timeout_s": study_timeout,
        "order": order,
        **_after(after or []),
        "heatmap": heatmap,
        "heatmap_label": heatmap_label,
        "identifiers": identifiers,
        "nice": nice,
        "model": model,
        "operating_point": operating_point,
        "provider": provider,
        "threads": threads,
        "gate": gate,
        "log_file": log,
    }
    if status:
        raise typer.Exit(_say_status(config, inbox, state, as_json=as_json))
    if as_json:
        message = "--json goes with --status; results are JSON files anyway"
        raise UsageError(message)
    from cxr_edge.watch.config import make_settings

    raise typer.Exit(_serve(make_settings(config, {**given, "once": once or None})))


def _after(options: list[str]) -> dict[str, Path]:
    folders: dict[str, Path] = {}
    for option in options:
        kind, _, folder = option.partition(":")
        if kind not in ("done", "rejected") or not folder:
            message = f"--after is {option!r}; need done:FOLDER or rejected:FOLDER"
            raise UsageError(message)
        if f"after_{kind}" in folders:
            message = f"--after {kind} is given twice; need one folder"
            raise UsageError(message)
        folders[f"after_{kind}"] = Path(folder)
    return folders


def _serve(settings: Settings) -> int:
    """Run the service with its observers, priority and signals."""
    if settings.nice:
        from cxr_edge.watch.priority import be_nice

        be_nice()  # before any thread is started, which would keep its own priority
    from cxr_edge.watch.signals import stop_on_signals

    _silence_libraries()
    stop, last_word, code = threading.Event(), _LastWord(), CRASHED
    with _observers(settings, last_word) as observer, stop_on_signals(stop):
        from cxr_edge.watch.service import run

        try:
            code = run(settings, stop, observer)
        except CxrEdgeError:
            raise
        except Exception as error:  # noqa: BLE001 - a traceback's text may hold the name of a patient's file
            from cxr_edge.watch.events import crash_of

            observer.observe(crash_of(error))
    if last_word.text is not None:
        say(last_word.text)
    return code


class _LastWord:
    """Keeps what people are told when all is over."""

    def __init__(self) -> None:
        """Nothing, so far."""
        self.text: str | None = None

    def observe(self, event: "Event") -> None:
        """Take what is worth a line of its own."""
        from cxr_edge.watch.events import Crashed, Undecided

        match event:
            case Crashed(error, place):
                defect = "this is a defect of the program, please report it"
                self.text = f"the service failed: {error} at {place}; {defect}"
            case Undecided(files, places):
                wait = f"{files} file{'' if files == 1 else 's'} not whole, not readable or never at rest"
                unseen = f"{places} place{'' if places == 1 else 's'} that cannot be looked at"
                left = " and ".join(text for text, count in ((wait, files), (unseen, places)) if count)
                self.text = f"not all is decided: {left}; the next run takes what can be taken by then"


@contextlib.contextmanager
def _observers(settings: Settings, last_word: _LastWord) -> "Iterator[Observer]":
    """Health, the log, and for people at a terminal a live view instead of a log on standard error."""
    from cxr_edge.watch.events import Observers
    from cxr_edge.watch.health import FILE_NAME, HealthKeeper
    from cxr_edge.watch.log import open_log

    keeper = HealthKeeper(settings.state_folder / FILE_NAME)
    observers: list[Observer] = [keeper, last_word]
    with contextlib.ExitStack() as stack:
        terminal = is_terminal(sys.stderr)
        if settings.log_file is not None or (not terminal and sys.stderr is not None):
            log = open_log(settings.log_file, max_mb=settings.log_max_mb, keep=settings.log_keep)
            stack.callback(log.close)
            observers.append(log)
        if terminal:
            from cxr_edge.watch.view import LiveView

            observers.append(stack.enter_context(LiveView(keeper)))
        yield Observers(*observers)


def _silence_libraries() -> None:
    """Libraries warn in their own words, which may quote a tag's value; results say what was decided instead."""
    import logging
    import warnings

    logging.getLogger().addHandler(logging.NullHandler())  # else warnings go to standard error
    warnings.simplefilter("ignore")


def _say_status(config: Path | None, inbox: Path | None, state: Path | None, *, as_json: bool) -> int:
    from cxr_edge.watch.config import read_config
    from cxr_edge.watch.settings import state_folder_of
    from cxr_edge.watch.status import facts_of, read_status

    said = {} if config is None else read_config(config)
    watched, named = inbox or said.get("inbox"), state or said.get("state")
    if not isinstance(watched, Path) and not isinstance(named, Path):
        message = "--status of which watcher? Need INBOX, --state FOLDER or --config FILE"
        raise UsageError(message)
    folder = named if isinstance(named, Path) else state_folder_of(Path(str(watched)))
    status = read_status(folder)
    if as_json:
        import msgspec

        answer = {"well": status.well, "verdict": status.verdict, "health": status.health}
        out(msgspec.json.format(msgspec.json.encode(answer), indent=2).decode() + "\n")
        return 0 if status.well else UNWELL
    facts = {"state": status.verdict} if status.health is None else {"state": status.verdict, **facts_of(status.health)}
    for name, value in facts.items():
        out(f"{name:<12}  {printable(value)}\n")
    return 0 if status.well else UNWELL
