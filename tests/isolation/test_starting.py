"""A process that cannot be started is no image's fault."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from isolating import (
    ANOTHER_VERSION,
    GRAY,
    HELLO,
    ONE,
    POSIX,
    TWO,
    children_in,
    in_child,
    instead,
    pids_of,
    png,
    preparer_of,
    rejection,
    stopped,
)

import cxr_edge
from cxr_edge import doctor
from cxr_edge.isolation import child as child_module
from cxr_edge.isolation import command as command_module
from cxr_edge.isolation import pool as pool_module
from cxr_edge.isolation.pool import Pool
from cxr_edge.prepare import Prepared


@pytest.mark.parametrize("executable", ["/usr/sbin/Orthanc", "C:\\Program Files\\Host\\host.exe", "", None, "uwsgi"])
def test_a_program_that_embeds_python_is_not_started_again(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, executable: str | None
) -> None:
    monkeypatch.setattr(sys, "executable", executable)
    with pytest.raises(cxr_edge.EnvironmentUnusable, match="needs a Python interpreter"):
        cxr_edge.load(tiny, isolation=ONE)


def test_a_frozen_program_is_not_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(cxr_edge.EnvironmentUnusable):
        Pool(ONE)


@pytest.mark.parametrize(
    "name", ["python", "python3.11", "Python", "python3.13t", "python.exe", "pythonw.exe", "python_d.exe"]
)
def test_names_of_interpreters(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(sys, "executable", name)
    assert command_module.command(1)[0] == name


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("raise SystemExit(3)", "ended with code 3"),
        ("print('usage: python [--help]')", "made no sense|ended with code"),
        (f"import os; os.write(1, {HELLO!r}); raise SystemExit(4)", "ended with code 4"),
        (
            f"import os; os.write(1, {ANOTHER_VERSION!r})",
            "instead of",
        ),
    ],
)
def test_a_process_that_does_not_start_is_no_images_fault(
    image: Path, monkeypatch: pytest.MonkeyPatch, script: str, why: str
) -> None:
    instead(monkeypatch, script)
    monkeypatch.setattr(pool_module, "FIRST_PAUSE_SECONDS", 0.001)
    with Pool(TWO) as pool:
        for _ in range(2):
            with pytest.raises(cxr_edge.EnvironmentUnusable, match=why):
                preparer_of(pool).prepare_safely(image)
        assert not children_in(pool)


def test_an_interpreter_that_vanished(image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(pool_module, "FIRST_PAUSE_SECONDS", 0.001)
    with Pool(ONE) as pool, pytest.raises(cxr_edge.EnvironmentUnusable, match="cannot be started"):
        preparer_of(pool).prepare_safely(image)
    assert any("no decoding process" in problem for problem in doctor.examine().problems)


def test_one_that_is_silent_at_the_start(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    instead(monkeypatch, "import time; time.sleep(60)")
    monkeypatch.setattr(child_module, "START_SECONDS", 0.3)
    with Pool(ONE) as pool, pytest.raises(cxr_edge.EnvironmentUnusable, match=r"longer than 0\.3 s"):
        preparer_of(pool).prepare_safely(image)


def test_a_broken_installation_blames_no_image(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_child(
        monkeypatch,
        "import sys; [sys.modules.pop(m) for m in list(sys.modules) if m.startswith('PIL')]; sys.modules['PIL'] = None",
    )
    with cxr_edge.load(tiny, isolation=ONE) as classifier, pytest.raises(cxr_edge.EnvironmentUnusable, match="PIL"):
        list(classifier.classify_many([png(GRAY)] * 3))


@pytest.mark.parametrize("entry", ["", "."])
def test_nothing_of_the_current_folder_is_run(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: str
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for module in ("signal", "enum", "sitecustomize", "pydicom", "cxr_edge"):
        (folder / f"{module}.py").write_text(f"open({str(tmp_path / 'run')!r}, 'w').close()", encoding="utf-8")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([entry, os.environ.get("PYTHONPATH", "")]))
    monkeypatch.syspath_prepend(entry)
    with Pool(ONE) as pool:
        assert isinstance(preparer_of(pool).prepare(image), Prepared)
    assert not (tmp_path / "run").exists()


def test_the_package_may_lie_in_the_current_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    root = str(Path(cxr_edge.__file__).parents[1])
    elsewhere = [entry for entry in sys.path if entry not in ("", ".", root)]
    monkeypatch.setattr(sys, "path", ["", *elsewhere])
    assert command_module._path()[0] == root  # noqa: SLF001
    monkeypatch.setattr(sys, "path", ["", *elsewhere, root])
    assert command_module._path() == [*elsewhere, root]  # noqa: SLF001


def _refuse_processes(monkeypatch: pytest.MonkeyPatch, times: int) -> list[int]:
    """Let the system be out of file descriptors for so many starts."""
    refused: list[int] = []
    start = subprocess.Popen

    def refusing(*arguments: Any, **options: Any) -> Any:
        if len(refused) < times:
            refused.append(1)
            raise OSError(errno.EMFILE, "Too many open files")
        return start(*arguments, **options)

    monkeypatch.setattr(subprocess, "Popen", refusing)
    return refused


@POSIX
def test_one_more_that_cannot_be_started_is_done_without(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Pool(TWO) as pool, ThreadPoolExecutor(2) as threads:
        preparer = preparer_of(pool)
        preparer.prepare(image)
        pid = stopped(pool)
        refused = _refuse_processes(monkeypatch, 99)
        waiting = [threads.submit(preparer.prepare, image) for _ in range(2)]
        while not refused:
            time.sleep(0.02)
        time.sleep(0.6)  # time enough for more attempts, were there no pause
        os.kill(pid, signal.SIGCONT)
        assert all(isinstance(future.result(), Prepared) for future in waiting)
        assert (pids_of(pool), len(refused)) == ([pid], 1)


def test_the_only_one_is_tried_again_after_a_pause(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "FIRST_PAUSE_SECONDS", 0.05)
    refused = _refuse_processes(monkeypatch, 4)
    with Pool(ONE) as pool:
        started = time.monotonic()
        assert isinstance(preparer_of(pool).prepare(image), Prepared)
        assert (len(refused), time.monotonic() - started >= 0.05 * 15) == (4, True)
        pool.close()
        refused.clear()
        _refuse_processes(monkeypatch, 5)
        with pytest.raises(cxr_edge.EnvironmentUnusable, match="Too many open files"):
            preparer_of(pool).prepare(image)


def test_a_system_without_threads_left(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        message = "can't start new thread"
        raise RuntimeError(message)

    monkeypatch.setattr(pool_module, "FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with Pool(ONE) as pool, pytest.raises(cxr_edge.EnvironmentUnusable, match="can't start new thread"):
        preparer_of(pool).prepare(image)
    assert any("can't start new thread" in problem for problem in doctor.examine().problems)


def test_how_a_process_ended_is_told_even_when_it_takes_a_moment(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "def slow(*_): import os, time; os.close(replies); time.sleep(0.2); os._exit(3)\nworker._serve = slow\n"
    code += "own = worker._own_pipes\n"
    code += "def pipes():\n    global replies\n    both = own(); replies = both[1].fileno(); return both\n"
    in_child(monkeypatch, code + "worker._own_pipes = pipes")
    with Pool(ONE) as pool:
        lost = rejection(preparer_of(pool).prepare_safely(image))
    assert "ended with code 3" in lost.message


@POSIX
def test_closing_blames_no_image(image: Path) -> None:
    with Pool(ONE) as pool, ThreadPoolExecutor(1) as threads:
        preparer = preparer_of(pool)
        preparer.prepare(image)
        stopped(pool)
        waiting = threads.submit(preparer.prepare_safely, image)
        time.sleep(0.2)
        pool.close()
        with pytest.raises(cxr_edge.EnvironmentUnusable, match="the classifier was closed"):
            waiting.result(10)
