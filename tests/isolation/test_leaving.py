"""Nothing is left behind, however it ends."""

import json
import linecache
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from isolating import (
    HANGS,
    HELLO,
    ONE,
    POSIX,
    READY,
    REFUSED,
    TWO,
    children_in,
    framed,
    in_child,
    is_gone,
    pids_of,
    preparer_of,
    rejection,
)

import cxr_edge
from cxr_edge.isolation import child as child_module
from cxr_edge.isolation import pool as pool_module
from cxr_edge.isolation.pool import Pool
from cxr_edge.processors import available_threads


class _Interrupts:
    """Ctrl-C at a line of child.py or pool.py that is reached in the main thread, counted from the first."""

    FILES = child_module.__file__, pool_module.__file__

    def __init__(self, line: int) -> None:
        self.line, self.seen = line, 0

    def __enter__(self) -> None:
        self._former = sys.gettrace()
        sys.settrace(self._trace)

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._former)

    def _trace(self, frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code.co_filename not in self.FILES:
            return None
        text = linecache.getline(frame.f_code.co_filename, frame.f_lineno).lstrip()
        # the end of a `with` block is traced as its first line; there Python itself looks for no signal
        if event == "line" and not text.startswith("with "):
            self.seen += 1
            if self.seen == self.line:
                raise KeyboardInterrupt
        return self._trace


FAST = (
    "import os\n"
    "def read(n):\n"
    "    data = b''\n"
    "    while len(data) < n:\n"
    "        data += os.read(0, n - len(data)) or os._exit(0)\n"
    "    return data\n"
    "def message(reply): read(int.from_bytes(read(4), 'little')); os.write(1, reply)\n"
    f"os.write(1, {HELLO!r}); message({READY!r})\n"
    f"while True: message({framed(REFUSED)!r})"
)


@POSIX
@pytest.mark.parametrize("is_there", [False, True])
def test_an_interrupt_anywhere_leaves_and_loses_nothing(monkeypatch: pytest.MonkeyPatch, *, is_there: bool) -> None:
    monkeypatch.setattr(child_module, "command", lambda _memory: [sys.executable, "-I", "-S", "-c", FAST])
    before = set(threading.enumerate())
    pids = set()
    for line in range(1, 1000, 2):
        pool = Pool(TWO)
        preparer = preparer_of(pool)
        if is_there:
            preparer.prepare("x")
        else:
            pool.close()
        try:
            with _Interrupts(line):
                preparer.prepare("x")
            break
        except KeyboardInterrupt:
            pass
        finally:
            pids |= set(pids_of(pool))
        assert len(children_in(pool)) <= 1
        assert all(loan is None or loan() is None for loan in pool._children.values())  # noqa: SLF001
        started = time.monotonic()
        assert rejection(preparer.prepare("x")).message == "m"
        assert time.monotonic() - started < 5
        pids |= set(pids_of(pool))
        pool.close()
    pool.close()
    assert 20 < line < 500  # interrupted at every second line there is
    assert all(is_gone(pid) for pid in pids)
    assert not _children_left()
    assert not [thread for thread in set(threading.enumerate()) - before if thread.name == "cxr-edge-child"]


def _children_left() -> list[int]:
    return [pid for pid in _children_of(os.getpid()) if FAST[:20] in _command_line(pid)]


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8")
    except OSError:
        return ""


@POSIX
def test_close_and_forgetting_end_the_processes(tiny: Path, image: Path) -> None:
    before = set(threading.enumerate())
    classifier = cxr_edge.load(tiny, isolation=TWO)
    pool = classifier._pool  # noqa: SLF001
    assert pool is not None
    first = pids_of(pool)
    classifier.close()
    assert all(is_gone(pid) for pid in first)
    assert classifier.classify(image).positive is not None  # started again
    second = pids_of(pool)
    del pool, classifier
    assert all(is_gone(pid) for pid in second)
    assert not [thread for thread in set(threading.enumerate()) - before if thread.name == "cxr-edge-child"]


SCRIPT = """
import sys, time
import cxr_edge
classifier = cxr_edge.load(sys.argv[1], isolation=cxr_edge.IsolationLimits(processes=2))  # no main guard
classifier.classify(sys.argv[2])
print(*[child.pid for child in classifier._pool._children], flush=True)
time.sleep(60)
"""


@POSIX
@pytest.mark.parametrize("number", [signal.SIGKILL if sys.platform != "win32" else 9, signal.SIGTERM])
def test_orphans_end(tiny: Path, image: Path, tmp_path: Path, number: int) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    process = subprocess.Popen([sys.executable, script, tiny, image], stdout=subprocess.PIPE)
    assert process.stdout is not None
    pids = [int(word) for word in process.stdout.readline().split()]
    assert pids
    process.send_signal(number)
    process.wait(10)
    process.stdout.close()
    assert all(is_gone(pid) for pid in pids)


def test_an_orphan_that_hangs_ends_itself(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = f"def hang(*_, **__): {HANGS}\nworker.Preparer.prepare_safely = hang; worker.ORPHAN_SECONDS = 0.3 - 60"
    in_child(monkeypatch, code)
    with Pool(ONE) as pool:
        lost = rejection(preparer_of(pool).prepare_safely(image))
    assert (lost.reason, "code 1" in lost.message) == ("decoder_crashed", True)


@POSIX
def test_a_hang_does_not_hold_up_who_stops_waiting(tiny: Path, image: Path) -> None:
    before = set(threading.enumerate())
    with cxr_edge.load(tiny, isolation=TWO) as classifier:
        pool = classifier._pool  # noqa: SLF001
        assert pool is not None
        results = classifier.classify_many([image] * 9)
        next(results)
        for pid in pids_of(pool):
            os.kill(pid, signal.SIGSTOP)
        started = time.monotonic()
        results.close()  # a generator
        assert time.monotonic() - started < 10  # not the 60 s that a decoder has
    assert not [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("cxr-edge")]


@POSIX
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("hanging", [False, True])
def test_an_interrupted_command_leaves_nothing(
    tiny: Path, image: Path, tmp_path: Path, number: int, *, hanging: bool
) -> None:
    """The signal reaches the whole group, as Ctrl-C does."""
    rows = tmp_path / "rows.jsonl"
    arguments = ["classify", *[str(image)] * 3000, "--model", str(tiny), "--output", str(rows)]
    process = subprocess.Popen(
        [sys.executable, "-m", "cxr_edge", *arguments],
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no threads yet
    )
    deadline = time.monotonic() + 30
    while not list(tmp_path.glob("*.part")) and time.monotonic() < deadline:
        time.sleep(0.02)
    children = _children_of(process.pid)
    assert children
    if hanging:
        for pid in children:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(0.3)
    os.killpg(process.pid, number)
    _, error = process.communicate(timeout=20)
    assert process.returncode == 130
    assert error.decode().splitlines()[-1] == "cxr-edge: interrupted"
    assert all(is_gone(pid) for pid in children)
    assert not rows.exists()
    assert not list(tmp_path.glob("*.part"))


def _children_of(pid: int) -> list[int]:
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    ).stdout
    return [int(word) for word in listed.split()]


@POSIX
def test_one_file_alone_starts_no_process(tiny: Path, image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cxr_edge.cli import classify as cli_classify
    from cxr_edge.cli.app import run

    started: list[int] = []
    monkeypatch.setattr(cli_classify, "_start_isolation", started.append)
    assert run(["classify", str(image), "--model", str(tiny)]) == 0
    assert started == [1]
    monkeypatch.undo()
    assert cli_classify._start_isolation(1) is None  # noqa: SLF001
    with cli_classify._start_isolation(2) as pool:  # type: ignore[union-attr]  # noqa: SLF001
        assert pool.processes == min(2, available_threads())


def test_the_command_gives_the_same_rows(
    tiny: Path, image: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from cxr_edge.cli import classify as cli_classify
    from cxr_edge.cli.app import run

    (image.parent / "nonsense").write_bytes(b"nonsense")
    arguments = ["classify", str(image), str(image.parent / "nonsense"), "--model", str(tiny)]
    assert run(arguments) == 3
    isolated = [{**json.loads(line), "latency_ms": 0} for line in capsys.readouterr().out.splitlines()]
    monkeypatch.setattr(cli_classify, "_start_isolation", lambda _: None)
    assert run(arguments) == 3
    assert [{**json.loads(line), "latency_ms": 0} for line in capsys.readouterr().out.splitlines()] == isolated
