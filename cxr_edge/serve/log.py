"""The server's log: JSON lines with a closed set of fields, none of which can tell a patient or a file."""

import json
import queue
import threading
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

MOST_WAITING = 10_000  # lines; a reader that hangs costs lines, never the server
Level = Literal["info", "warning", "error"]


class Log:
    """Writes lines in a thread of its own: standard error may be a pipe that nobody reads."""

    def __init__(self, write: Callable[[str], object]) -> None:
        """Write through `write`, which takes one line with its end."""
        self._write = write
        self._lines: queue.Queue[str | None] = queue.Queue(MOST_WAITING)
        self._thread = threading.Thread(target=self._run, name="cxr-edge-log", daemon=True)
        self._thread.start()

    def line(self, level: Level, event: str, **fields: str | float | None) -> None:
        """Add one line; drop it when too many wait."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        said = {name: value for name, value in fields.items() if value is not None}
        text = json.dumps({"ts": now, "level": level, "event": event, **said}, allow_nan=False)
        try:
            self._lines.put_nowait(text + "\n")
        except queue.Full:
            return

    def close(self, seconds: float = 1.0) -> None:
        """Write what waits, for so long at most."""
        try:
            self._lines.put(None, timeout=seconds)
        except queue.Full:
            return
        self._thread.join(seconds)

    def _run(self) -> None:
        while (line := self._lines.get()) is not None:
            self._write(line)


def place_of(error: BaseException) -> str:
    """File and line of the package where an error came from; its text is left out, it may hold a patient's data."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "cxr_edge" in Path(frame.filename).parts] or list(frames)
    return f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "unknown"
