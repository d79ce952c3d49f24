"""Starts a watch service and kills it at a random moment, and counts what it was doing: `watch_kill.py`."""

import contextlib
import random
import shutil
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from watch_feed import OWN
from watched import LogTail, Scene, processes, wait_until_gone

if TYPE_CHECKING:
    import subprocess

OUTLIVE_S: Final = 10.0
WORK: Final = ("classified", "rejected", "duplicate", "incomplete", "moved")  # events that say that it is at work
MOMENTS: Final = {"start": 20, "work": 50, "any": 20, "write": 10}


class Killer:
    """Kills the services of one scene.

    Attributes:
        kills: how many.
        problems: what must not be, one line each.
    """

    def __init__(self, scene: Scene, rng: random.Random) -> None:
        """Kill nothing yet."""
        self.kills = 0
        self.problems: list[str] = []
        self._scene, self._rng = scene, rng
        self._hit: Counter[str] = Counter()
        self._left: set[Path] = set()
        self._outlived_s = [0.0]

    def said(self) -> dict[str, object]:
        """What the kills hit, for the table."""
        doing = ("starting", "with files claimed", "between files")
        return {
            "kills": self.kills,
            **{f"kills, {what}": self._hit[what] for what in doing},
            "temporary files that kills left": len(self._left),
            "decoders outlived it, longest, s": f"{max(self._outlived_s):.2f}",
        }

    def start_and_kill(self, mark: str) -> None:
        """One life of the service."""
        log, service = LogTail(self._scene.log), self._scene.start(mark)
        try:
            is_loaded = self._wait_for_the_moment(service, log)
            if service.poll() is not None:
                self.problems.append(
                    f"the service ended by itself, with {service.returncode}: {last_words(self._scene)}"
                )
                return
        finally:
            service.kill()
            service.wait()
        is_loaded = any(event["event"] == "model_loaded" for event in log.events()) or is_loaded
        self.kills += 1
        # before the model is loaded, what an earlier run had claimed still is
        claimed = is_loaded and _claimed(self._scene) > 0
        self._hit["starting" if not is_loaded else "with files claimed" if claimed else "between files"] += 1
        self._left |= self._parts()

    def wait_for_orphans(self, mark: str) -> None:
        """The service's processes end by themselves."""
        seconds = wait_until_gone(mark, OUTLIVE_S)
        if seconds is None:
            self.problems.append(f"decoding processes outlived the service by {OUTLIVE_S:g} s: {processes(mark)}")
        else:
            self._outlived_s.append(seconds)

    def _wait_for_the_moment(self, service: "subprocess.Popen[bytes]", log: LogTail) -> bool:
        """Until it is to be killed; whether the model was seen to be loaded."""
        rng, events = self._rng, set[str]()
        match rng.choices(list(MOMENTS), list(MOMENTS.values()))[0]:
            case "start":
                _sleep(service, rng.uniform(0.0, 1.5))
            case "any":
                _sleep(service, rng.uniform(0.3, 6.0))
            case "write":  # in the midst of whichever file comes first after a while
                _sleep(service, rng.uniform(0.0, 3.0))
                before = self._parts()
                _sleep(service, 5.0, lambda: not self._parts() <= before, step=0.0)
            case _:

                def is_at_work() -> bool:
                    events.update(event["event"] for event in log.events())
                    return not events.isdisjoint(WORK)

                _sleep(service, 10.0, is_at_work)
                _sleep(service, rng.uniform(0.0, 0.25))
        return "model_loaded" in events

    def _parts(self) -> set[Path]:
        """Temporary files of the service."""
        scene = self._scene
        folders = (scene.inbox, scene.outbox, scene.state, scene.done, scene.rejected)
        return {path for folder in folders if folder is not None for path in folder.glob(f"{OWN}*.part")}


def last_words(scene: Scene) -> str:
    """The end of what the scene's services printed."""
    printed = (scene.root / "stderr").read_text(encoding="utf-8", errors="replace").strip()
    return printed[-300:] or "it printed nothing"


def _sleep(
    service: "subprocess.Popen[bytes]", seconds: float, until: Callable[[], bool] = lambda: False, step: float = 0.01
) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and service.poll() is None and not until():
        time.sleep(min(step, max(0.0, end - time.monotonic())))


def _claimed(scene: Scene) -> int:
    """How many files the dead service was at; asked of a copy, because opening the ledger would tidy it."""
    with tempfile.TemporaryDirectory() as folder:
        for path in scene.state.glob("ledger.sqlite*"):
            if not path.name.endswith("-shm"):
                shutil.copy(path, folder)
        if not (Path(folder) / "ledger.sqlite").exists():
            return 0
        with contextlib.closing(sqlite3.connect(Path(folder) / "ledger.sqlite")) as ledger:
            return int(ledger.execute("SELECT count(*) FROM files WHERE state = 'claimed'").fetchone()[0])
