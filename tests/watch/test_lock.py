"""Two watchers never hold one folder, and a killed one holds it no longer."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cxr_edge.errors import UsageError
from cxr_edge.watch.lock import HOLDER_NAME, LOCK_NAME, hold

REPOSITORY = Path(__file__).resolve().parents[2]
HOLD = """
import subprocess, sys
from pathlib import Path
from cxr_edge.watch.lock import hold
with hold(Path(sys.argv[1]), "results folder"):
    # as the decoding processes do: a child that lives longer than its parent
    child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    print(child.pid, flush=True)
    sys.stdin.read()
"""


@contextmanager
def another_watcher(folder: Path) -> Iterator["subprocess.Popen[str]"]:
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().strip().isdigit()
            yield process
        finally:
            process.kill()


def test_another_process_is_refused_and_told_who(tmp_path: Path) -> None:
    with another_watcher(tmp_path) as other:
        with (
            pytest.raises(UsageError, match=rf"results folder is in use by process {other.pid} on ") as caught,
            hold(tmp_path, "results folder"),
        ):
            pytest.fail("two hold it")
        assert str(tmp_path) not in str(caught.value)
        assert json.loads((tmp_path / HOLDER_NAME).read_text())["pid"] == other.pid  # the loser leaves it


def test_free_after_the_end(tmp_path: Path) -> None:
    with another_watcher(tmp_path) as other:
        other.communicate("", timeout=30)
    with hold(tmp_path, "results folder"):
        pass
    assert sorted(file.name for file in tmp_path.iterdir()) in ([LOCK_NAME], [])


def test_free_after_a_kill(tmp_path: Path) -> None:
    with another_watcher(tmp_path) as other:
        other.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
        other.wait(30)
        with hold(tmp_path, "results folder"):
            held = json.loads((tmp_path / HOLDER_NAME).read_text())
            assert held["pid"] == os.getpid()


def test_twice_in_one_process(tmp_path: Path) -> None:
    with hold(tmp_path, "inbox"), pytest.raises(UsageError, match="the inbox is in use"), hold(tmp_path, "inbox"):
        pytest.fail("held twice")
    with hold(tmp_path, "inbox"):
        pass


def test_of_two_threads_one_gets_it(tmp_path: Path) -> None:
    start, refused = threading.Barrier(4), []
    done = threading.Barrier(4)

    def take() -> None:
        start.wait()
        try:
            with hold(tmp_path, "inbox"):
                done.wait(30)
        except UsageError:
            refused.append(1)
            done.wait(30)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 3


def test_freed_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), hold(tmp_path, "inbox"):
        raise ZeroDivisionError
    with hold(tmp_path, "inbox"):
        pass


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"pid": "x", "host": "h"}', b'{"pid": 1, "host": "a\\u001bb"}']
)
def test_a_broken_holder_file(tmp_path: Path, content: bytes) -> None:
    with hold(tmp_path, "inbox"):
        (tmp_path / HOLDER_NAME).write_bytes(content)
        with pytest.raises(UsageError, match="in use by another process;"), hold(tmp_path, "inbox"):
            pytest.fail("held twice")


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"), hold(tmp_path / "none", "inbox"):
        pytest.fail("held nothing")
    assert not (tmp_path / "none").exists()


def test_a_folder_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fcntl = pytest.importorskip("fcntl")

    def flock(_descriptor: int, operation: int) -> None:
        if operation & fcntl.LOCK_EX:
            raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OSError, match="not implemented"), hold(tmp_path, "inbox"):
        pytest.fail("no lock is no lock")


def test_a_folder_that_goes_away_while_held(tmp_path: Path) -> None:
    folder = tmp_path / "share"
    folder.mkdir()
    with hold(folder, "results folder"):
        folder.rename(tmp_path / "elsewhere")
    with hold(tmp_path / "elsewhere", "results folder"):
        pass
