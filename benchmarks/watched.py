"""A watch service as a process of its own, and what /proc and its log say of it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

REPOSITORY: Final = Path(__file__).resolve().parent.parent
MARK: Final = "CXR_EDGE_BENCHMARK_RUN"  # in the environment of the service and of every process that it starts
TICKS: Final = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
PAGE_MB: Final = os.sysconf("SC_PAGE_SIZE") / 2**20 if hasattr(os, "sysconf") else 0.0
QUICK: Final = ("--poll-interval", "0.2", "--settle", "0.3", "--no-nice", "--provider", "cpu")


@dataclass(frozen=True, slots=True)
class Scene:
    """The folders of one service below `root`, and its options.

    Attributes:
        root: a folder of its own.
        options: of `cxr-edge watch`, beyond folders and log.
        done, rejected: where decided files are moved to; None where they stay.
        inbox_elsewhere: the inbox, where it is not to be below `root`.
    """

    root: Path
    options: tuple[str, ...] = QUICK
    done: Path | None = None
    rejected: Path | None = None
    inbox_elsewhere: Path | None = None

    def __post_init__(self) -> None:
        """Make the folders."""
        for folder in (self.inbox, self.outbox, self.state, self.done, self.rejected):
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)

    @property
    def inbox(self) -> Path:
        """The folder that is watched."""
        return self.inbox_elsewhere or self.root / "inbox"

    @property
    def outbox(self) -> Path:
        """The folder of results."""
        return self.root / "outbox"

    @property
    def state(self) -> Path:
        """The folder of ledger and health."""
        return self.root / "state"

    @property
    def log(self) -> Path:
        """The log's file."""
        return self.root / "watch.log"

    def start(self, mark: str, *extra: str) -> "subprocess.Popen[bytes]":
        """`cxr-edge watch`, its processes marked by `mark`; what it prints goes to `root`/stderr."""
        command = [sys.executable, "-m", "cxr_edge", "watch", str(self.inbox), "--results", str(self.outbox)]
        command += ["--state", str(self.state), "--log", str(self.log), *self.options, *extra]
        for kind, folder in (("done", self.done), ("rejected", self.rejected)):
            command += [] if folder is None else ["--after", f"{kind}:{folder}"]
        with (self.root / "stderr").open("ab") as stderr:
            return subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=stderr, env=environment(self.root, mark), cwd=self.root
            )

    def health(self) -> dict[str, Any]:
        """What health.json says; nothing before there is one."""
        try:
            return dict(json.loads((self.state / "health.json").read_bytes()))
        except FileNotFoundError:
            return {}


def environment(root: Path, mark: str = "") -> dict[str, str]:
    """This process's, with the package found and its state kept out of the user's home."""
    paths = [str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "CXR_EDGE_STATE": str(root / "package-state"),
        MARK: mark,
    }


def stop(service: "subprocess.Popen[bytes]", seconds: float = 60.0) -> int:
    """SIGTERM, and its exit code; killed where it does not end."""
    service.send_signal(signal.SIGTERM)
    try:
        return service.wait(seconds)
    except subprocess.TimeoutExpired:
        service.kill()
        service.wait()
        return -signal.SIGKILL


class LogTail:
    """Reads what a log has grown by."""

    def __init__(self, file: Path) -> None:
        """Begin at its end."""
        self._file = file
        self._at = file.stat().st_size if file.exists() else 0

    def events(self) -> Iterator[dict[str, Any]]:
        """Whole new lines; a line that a kill cut in two is passed over."""
        if not self._file.exists():
            return
        with self._file.open("rb") as stream:
            stream.seek(self._at)
            new = stream.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._at += len(whole)
        for line in whole.splitlines():
            try:
                yield json.loads(line)
            except ValueError:
                continue


def processes(mark: str) -> dict[int, str]:
    """Number -> whole mark of each living process whose mark begins with `mark`."""
    wanted = re.compile(rb"(?:^|\0)" + f"{MARK}=({re.escape(mark)}[^\\0]*)".encode())
    found: dict[int, str] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal() and int(folder.name) != os.getpid():
            try:
                match = wanted.search((folder / "environ").read_bytes())
            except OSError:  # ended, or another user's
                continue
            if match is not None:
                found[int(folder.name)] = match[1].decode()
    return found


def cpu_seconds(mark: str) -> float:
    """Processor time of all living processes with this mark, and of those that they have waited for."""
    total = 0
    for pid in processes(mark):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        total += sum(int(ticks) for ticks in fields[11:15])  # utime, stime, cutime, cstime: proc(5)
    return total / TICKS


@dataclass(frozen=True, slots=True)
class Usage:
    """What the processes of one mark hold: `of_children` are all but the first."""

    rss_mb: float
    rss_of_children_mb: float
    handles: int
    processes: int


def usage(mark: str, main: int) -> Usage:
    """Resident memory and open handles, now."""
    own, others, handles = 0.0, 0.0, 0
    found = processes(mark)
    for pid in found:
        try:
            mb = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * PAGE_MB
            handles += sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
        except OSError:
            continue
        own, others = (own + mb, others) if pid == main else (own, others + mb)
    return Usage(own, others, handles, len(found))


def wait_until_gone(mark: str, seconds: float) -> float | None:
    """How long it took until no process with this mark was left; None where some still were after `seconds`."""
    began = time.monotonic()
    while processes(mark):
        if time.monotonic() - began > seconds:
            return None
        time.sleep(0.02)
    return time.monotonic() - began
