"""A live table for whoever runs the service by hand."""

import sys
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cxr_edge.watch.events import Event, Notice
from cxr_edge.watch.health import Health, HealthKeeper
from cxr_edge.watch.status import facts_of

DISCLAIMER = "Not a medical device."
STYLES = {
    "running": "green",
    "waiting": "green",
    "idle": "green",
    "inbox_away": "bold red",
    "outbox_unavailable": "bold red",
    "state_unavailable": "bold red",
    "decoding_unavailable": "bold red",
}


class LiveView:
    """Shows what a HealthKeeper knows, once a second, until it is closed; the last table stays on the screen."""

    def __init__(self, keeper: HealthKeeper, stream: TextIO | None = None) -> None:
        """Draw on `stream`, standard error unless given."""
        self._keeper = keeper
        self._live = Live(
            get_renderable=self._table,
            console=Console(file=stream or sys.stderr),
            refresh_per_second=1,
        )

    def observe(self, event: Event) -> None:
        """Notices are printed above the table; all else is counted by the keeper and shown at the next refresh."""
        if isinstance(event, Notice):
            self._live.console.print(Text("".join(c if c.isprintable() else ascii(c)[1:-1] for c in event.message)))

    def __enter__(self) -> Self:
        """Begin to draw."""
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Draw a last time and leave the terminal as it was."""
        self._live.stop()

    def _table(self) -> Table:
        return table_of(self._keeper.report())


def table_of(health: Health | None) -> Table:
    """Two columns: what, and how much."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, value, style in _lines(health):
        table.add_row(Text(name), Text(value, style=style))
    return table


def _lines(health: Health | None) -> list[tuple[str, str, str]]:
    if health is None:
        return [("state", "starting", "")]
    state = health.state if health.reason is None else f"{health.state} ({health.reason})"
    lines = [("state", f"{state} since {health.since}", STYLES.get(health.state, ""))]
    lines += [(name, value, "") for name, value in facts_of(health).items()]
    hint = "" if health.state in ("stopping", "stopped") else "Ctrl-C stops after the running image. "
    return [*lines, ("", f"{hint}{DISCLAIMER}", "dim")]
