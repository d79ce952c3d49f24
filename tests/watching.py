"""The watch service as tests run it: in a thread, its events recorded, or as a process of its own."""

import contextlib
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self, TypeVar

import pytest
from dicom_files import gradient, make_file
from PIL import Image
from volumes import ENVIRONMENT

from cxr_edge.phantom import chest_phantom
from cxr_edge.watch import service
from cxr_edge.watch.events import Event
from cxr_edge.watch.settings import Settings

PATIENCE_S = 120.0  # a busy machine is no failure
UID_ROOT = "1.2.826.0.1.3680043.8.498.77"
Kind = TypeVar("Kind")
Row = dict[str, Any]


def picture(number: int, kind: str = "PNG") -> bytes:
    """A small radiograph that no other number gives."""
    stream = io.BytesIO()
    Image.fromarray(chest_phantom(64, 48, seed=number)).save(stream, kind)
    return stream.getvalue()


def dicom(number: int, *, instance: int | None = None, study: int = 1, **attributes: Any) -> bytes:
    """A small DICOM file; its pixels depend on `number`, and so does its SOP Instance UID unless told otherwise."""
    samples = gradient(rows=41 + number % 50, columns=56 + number // 50)
    identity = f"{UID_ROOT}.1.{number if instance is None else instance}"
    uids = {"SOPInstanceUID": identity, "StudyInstanceUID": f"{UID_ROOT}.2.{study}"}
    return make_file(samples, **{**uids, **attributes})


def sha256(content: bytes) -> str:
    """As it stands in the names of result files."""
    return hashlib.sha256(content).hexdigest()


def put(path: Path, content: bytes) -> str:
    """Write a file of the inbox; gives its SHA-256."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return sha256(content)


def rows(outbox: Path) -> dict[str, Row]:
    """The result files by content."""
    found = {path.stem: json.loads(path.read_bytes()) for path in outbox.glob("*.json") if len(path.stem) == 64}
    assert all(row["source"]["content_sha256"] == name for name, row in found.items())
    return found


def statuses(outbox: Path) -> dict[str, str]:
    """Content -> `classified`, or the reason of its rejection."""
    return {
        name: row["status"] if row["status"] == "classified" else row["reason"]["code"]
        for name, row in rows(outbox).items()
    }


def csv_lines(outbox: Path) -> list[str]:
    """The lines of all daily CSV files, without their headers."""
    return [line for path in sorted(outbox.glob("results-*.csv")) for line in path.read_text("utf-8").splitlines()[1:]]


def partial_files(folder: Path) -> list[str]:
    """What a killed or failed writer could have left."""
    return [path.name for path in folder.rglob("*") if path.name.endswith((".part", ".tmp"))]


def until(condition: Callable[[], object], seconds: float = PATIENCE_S) -> None:
    """Wait for something to become true; fail when it does not."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


class Recorder:
    """Keeps every event."""

    def __init__(self) -> None:
        """Begin with none."""
        self.events: list[Event] = []

    def observe(self, event: Event) -> None:
        """Keep one."""
        self.events.append(event)

    def of(self, kind: type[Kind]) -> list[Kind]:
        """Those of one type, in order."""
        return [event for event in list(self.events) if isinstance(event, kind)]


@dataclass
class Running:
    """A service in a thread.

    Attributes:
        settings: what it was started with.
        recorder: its events so far.
        stop: ask it to end.
        code: what `run` returned, once it has.
    """

    settings: Settings
    recorder: Recorder
    stop: threading.Event
    code: int | None = None

    def waits_for(self, kind: type[object], count: int = 1) -> None:
        """Until there were so many events of a type."""
        until(lambda: len(self.recorder.of(kind)) >= count)

    def has(self, *contents: str) -> None:
        """Until these contents have a result."""
        until(lambda: all((self.settings.results / f"{content}.json").exists() for content in contents))


@contextlib.contextmanager
def serving(settings: Settings) -> Iterator[Running]:
    """A service that runs as long as the block, then is stopped and has to end by itself with 0."""
    settings = replace(settings, once=False)
    running = Running(settings, Recorder(), threading.Event())
    failures: list[BaseException] = []

    def work() -> None:
        try:
            running.code = service.run(settings, running.stop, running.recorder)
        except BaseException as error:  # noqa: BLE001 - raised again in the test's thread
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield running
    finally:
        running.stop.set()
        thread.join(PATIENCE_S)
    assert not thread.is_alive()
    if failures:
        raise failures[0]
    assert running.code == 0


def serve_once(settings: Settings, *, code: int = 0) -> Recorder:
    """Run until all is decided, or all that can be; gives the events."""
    recorder = Recorder()
    assert service.run(replace(settings, once=True), threading.Event(), recorder) == code
    return recorder


class Watcher:
    """`cxr-edge watch` as a process of its own, with quick settings."""

    def __init__(
        self,
        model: Path,
        inbox: Path,
        outbox: Path,
        *options: str,
        script: str | None = None,
        prefix: Sequence[str] = (),
        log_to_file: bool = True,
    ) -> None:
        """Start it; `script` runs in place of `-m cxr_edge`, with the same arguments; `prefix` starts the command."""
        self.outbox, self.state = outbox, inbox.parent / f"state-{inbox.name}"
        self.log = inbox.parent / f"watch-{inbox.name}.log"
        quick = {"--poll-interval": "0.1", "--settle": "0.1", "--study-timeout": "1"}
        given = [part for option, value in quick.items() if option not in options for part in (option, value)]
        arguments = ["watch", str(inbox), "--results", str(outbox), "--state", str(self.state), "--model", str(model)]
        program = ["-m", "cxr_edge"] if script is None else ["-c", script]
        self.command = [*prefix, sys.executable, *program, *arguments, "--provider", "cpu"]
        log = ["--log", str(self.log)] if log_to_file else []
        self.process = subprocess.Popen(
            [*self.command, *log, *given, *options],
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing of it is left, nor of what it started or was started by."""
        if sys.platform == "win32":
            self.process.kill()
        else:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()

    def events(self, name: str) -> list[Row]:
        """Lines of its log of one kind of event."""
        if not self.log.exists():
            return []
        lines = [json.loads(line) for line in self.log.read_text("ascii").splitlines(keepends=True) if line[-1] == "\n"]
        return [line for line in lines if line["event"] == name]

    def told(self) -> list[str]:
        """Every content that the log calls decided, as often as it does."""
        return sorted(str(event["content"]) for name in ("classified", "rejected") for event in self.events(name))

    def fault_codes(self) -> set[str]:
        """Of every fault that the log tells."""
        return {str(event["code"]) for event in self.events("fault")}

    def is_well(self) -> bool:
        """What `watch --status` says of it."""
        command = (sys.executable, "-m", "cxr_edge", "watch", "--status", "--state", str(self.state))
        answer = subprocess.run(command, capture_output=True, check=False)
        assert answer.returncode in (0, 8), answer.stderr
        return answer.returncode == 0

    def health(self) -> Row:
        """What stands in health.json; empty before it is there."""
        try:
            found: Row = json.loads((self.state / "health.json").read_bytes())
        except FileNotFoundError:
            return {}
        return found

    def is_in(self, state: str, reason: str | None = None) -> None:
        """Until its health says so."""
        until(lambda: self._says(state, reason))

    def has(self, *contents: str) -> None:
        """Until these contents have a result."""
        until(lambda: self._runs() and all((self.outbox / f"{content}.json").exists() for content in contents))

    def ends(self, number: int, seconds: float = PATIENCE_S) -> tuple[int, str, str]:
        """Send a signal; gives exit code, standard output and standard error."""
        self.process.send_signal(number)
        return self.ended(seconds)

    def ended(self, seconds: float = PATIENCE_S) -> tuple[int, str, str]:
        """Wait for its end; gives exit code, standard output and standard error."""
        out, err = self.process.communicate(timeout=seconds)
        return self.process.returncode, out, err

    def _says(self, state: str, reason: str | None) -> bool:
        health = self.health() if self._runs() else {}
        return health.get("state") == state and (reason is None or health["reason"] == reason)

    def _runs(self) -> bool:
        if self.process.poll() is not None:
            fail(self.process.communicate()[1], self.process.returncode)
        return True


def fail(stderr: str, code: int) -> None:
    """Say how a process ended that should run."""
    message = f"the watcher ended with {code}: {stderr[-2000:]}"
    raise AssertionError(message)


def without_roots_rights() -> list[str]:
    """What to start a process with, so that even root meets a permission; skips where that cannot be had."""
    if os.geteuid() != 0:
        return []
    prefix = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    try:
        subprocess.run([*prefix, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("root reads every file, and setpriv cannot take that right away here")
    return prefix
