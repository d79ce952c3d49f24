"""One signal asks, two end; real signals to real processes."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cxr_edge.watch.signals import stop_on_signals

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")

SCRIPT = """
import hashlib, threading, time
from cxr_edge.watch.signals import stop_on_signals
stop = threading.Event()
with stop_on_signals(stop):
    print("ready", flush=True)
    {body}
print("flushed", flush=True)
"""
OBEDIENT = "stop.wait(); time.sleep(0.2)"
STUBBORN = "stop.wait(); print('asked', flush=True); time.sleep(60)"
BUSY_IN_C = "hashlib.pbkdf2_hmac('sha256', b'', b'', 50_000_000)"  # no Python handler runs meanwhile


@contextmanager
def _running(body: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", SCRIPT.format(body=body)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_asks(number: signal.Signals) -> None:
    with _running(OBEDIENT) as process:
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "flushed\n", "")


def test_what_nohup_was_asked_to_outlive_asks_nothing() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # inherited, as from `nohup`
    try:
        with _running(OBEDIENT) as process:
            process.send_signal(signal.SIGHUP)
            time.sleep(0.5)
            assert process.poll() is None
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=20)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert (process.returncode, out, err) == (0, "flushed\n", "")


def test_the_second_ends_at_once() -> None:
    with _running(STUBBORN) as process:
        assert process.stdout is not None
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "asked\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 130


def test_the_second_ends_even_inside_a_library() -> None:
    with _running(BUSY_IN_C) as process:
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        time.sleep(0.2)  # two equal pending signals would be one
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 130
        assert time.monotonic() - started < 5


def test_a_signal_after_another_stop_is_the_first() -> None:
    with _running("stop.set(); time.sleep(1)") as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0


def test_many_rounds_never_hang() -> None:
    """A handler that sets an Event could deadlock with the waiting thread it interrupted."""
    for _ in range(200):
        stop = threading.Event()
        with stop_on_signals(stop):
            os.kill(os.getpid(), signal.SIGTERM)
            while not stop.wait(0.001):
                pass


def test_what_was_there_before_comes_back() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    descriptors = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None  # noqa: PTH112, PTH208
    with stop_on_signals(threading.Event()):
        assert signal.getsignal(signal.SIGTERM) != before[signal.SIGTERM]
    assert {number: signal.getsignal(number) for number in before} == before
    assert signal.set_wakeup_fd(-1) == -1
    if descriptors is not None:
        assert len(os.listdir("/proc/self/fd")) == descriptors  # noqa: PTH208


def test_only_in_the_main_thread() -> None:
    found: list[BaseException] = []

    def enter() -> None:
        try:
            with stop_on_signals(threading.Event()):
                pass
        except ValueError as error:
            found.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert len(found) == 1


STARTING = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # where these tests run in the background, it is ignored
class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "cxr_edge.cli.app":
            print("ready", flush=True)
            time.sleep(60)
sys.meta_path.insert(0, Slow())
from cxr_edge.cli import main
main()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_the_program_is_being_read(number: int) -> None:
    with subprocess.Popen([sys.executable, "-c", STARTING], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.send_signal(number)
        assert process.wait(timeout=20) == 130
        assert process.stderr.read() == b""
