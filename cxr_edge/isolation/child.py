"""One decoding process, as its parent sees it. Whatever it does, the parent waits no longer than it said it would.

Imports little: the process is to start while its parent still imports numpy.
"""

import contextlib
import queue
import signal
import subprocess
import threading
from collections.abc import Callable
from math import ceil
from typing import IO, TYPE_CHECKING, Any, TypeVar, cast

from cxr_edge._version import __version__
from cxr_edge.errors import Reason
from cxr_edge.isolation.command import command, creation, environment
from cxr_edge.isolation.limits import NO_LIMIT, OUT_OF_MEMORY

if TYPE_CHECKING:
    from cxr_edge.isolation.wire import Setup

START_SECONDS = 60.0  # a cold disk and a virus scanner can take a third of it
STEP_SECONDS = 0.1
GRACE_SECONDS = 1.0  # for an image that nobody waits for any more: most are done by then
END_SECONDS = 1.0  # for a killed process to be gone; one in a dead network share stays until that answers

T = TypeVar("T")


class ChildFailedError(Exception):
    """The process is gone, and why. `reason` is for the image that it was busy with."""

    def __init__(self, reason: Reason, message: str) -> None:
        """Keep the reason code beside the message."""
        super().__init__(message)
        self.reason = reason


class Child:
    """A process with a thread of ours that talks to it: a pipe knows no time limit, and a kill may not free it.

    Used by one thread at a time; `end` may be called by any.

    Attributes:
        memory_limit: how its memory is limited: `RLIMIT_DATA`, `job object`, or `none` and why.
    """

    def __init__(self, memory_bytes: int) -> None:
        """Start it, without waiting for it.

        Raises:
            EnvironmentUnusable: there is no interpreter to start.
            ChildFailedError: the system refuses.
        """
        pipe, null = subprocess.PIPE, subprocess.DEVNULL
        try:
            self._process = subprocess.Popen(  # noqa: S603 - this very interpreter
                command(memory_bytes), bufsize=0, stdin=pipe, stdout=pipe, stderr=null, env=environment(), **creation()
            )
        except OSError as error:
            message = f"it cannot be started: {error.strerror or error}"
            raise ChildFailedError(Reason.DECODER_CRASHED, message) from None
        self._job, self.memory_limit = _job_of(self._process, memory_bytes)
        self._tasks: queue.SimpleQueue[Callable[[], Any] | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[tuple[Any, Exception | None]] = queue.SimpleQueue()
        self._is_ready = False
        # a daemon: stuck on a process that cannot be killed, it must not hold up the interpreter's end
        self._talker = threading.Thread(target=self._talk, name="cxr-edge-child", daemon=True)
        self._talker.start()

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def get_ready(self, setup: "Setup", given_up: threading.Event | None = None) -> None:
        """Wait until it has started and knows the contract; returns at once when it does. `given_up` as in `ask`.

        Raises:
            ChildFailedError: it does not start, or is not what was meant to be started.
        """
        if not self._is_ready:
            self.greet(given_up)
            self.ask(lambda *pipes: _set_up(setup, *pipes), START_SECONDS, given_up)
            self._is_ready = True

    def greet(self, given_up: threading.Event | None = None) -> None:
        """Wait until it has started, and learn how its memory is limited. Once only.

        Raises:
            ChildFailedError: it does not start, or is not what was meant to be started.
        """
        memory_limit = self.ask(_hear_hello, START_SECONDS, given_up)
        if self._job is None and memory_limit != NO_LIMIT:
            self.memory_limit = memory_limit

    def ask(
        self,
        talk: Callable[[IO[bytes], IO[bytes]], T],
        seconds: float,
        given_up: threading.Event | None = None,
    ) -> T:
        """Let `talk` write to the process and read from it; the process is ended when that fails or takes too long.

        Args:
            talk: takes the process's standard input and its standard output; runs in another thread.
            seconds: how long it may take. A stop of this program (Ctrl-Z) does not count.
            given_up: when set, nobody waits for the answer: the process has a moment left.

        Raises:
            ChildFailedError: too slow, dead, or talking nonsense.
        """
        requests, replies = cast("IO[bytes]", self._process.stdin), cast("IO[bytes]", self._process.stdout)
        self._tasks.put(lambda: talk(requests, replies))
        try:
            result, error = self._wait(seconds, given_up)
        except BaseException:  # interrupted: the answer would be taken for the next image's
            self.end()
            raise
        if error is None:
            return cast("T", result)
        self.end()
        if isinstance(error, EOFError | OSError):
            raise self._post_mortem() from None
        from cxr_edge.isolation.wire import WireError

        if isinstance(error, WireError):
            raise ChildFailedError(Reason.DECODER_CRASHED, "its answer made no sense") from None
        raise error

    def end(self) -> None:
        """Kill it; it has nothing to lose."""
        with contextlib.suppress(OSError):
            self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(END_SECONDS)
        if self._job is not None:
            self._job.close()
        self._tasks.put(None)
        self._talker.join(END_SECONDS)

    def _wait(self, seconds: float, given_up: threading.Event | None) -> tuple[Any, Exception | None]:
        steps = ceil(seconds / STEP_SECONDS)
        while steps > 0:
            with contextlib.suppress(queue.Empty):
                return self._results.get(timeout=min(seconds, STEP_SECONDS))
            steps -= 1
            if given_up is not None and given_up.is_set():
                steps = min(steps, ceil(GRACE_SECONDS / STEP_SECONDS))
        self.end()
        raise ChildFailedError(Reason.DECODE_TIMEOUT, f"it took longer than {seconds:g} s")

    def _talk(self) -> None:
        while self._do_next():
            pass
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()

    def _do_next(self) -> bool:
        """One task. A function of its own: between two images, nothing may keep the last one's classifier alive."""
        task = self._tasks.get()
        if task is None:
            return False
        try:
            self._results.put((task(), None))
        except Exception as error:  # noqa: BLE001 - raised again by whoever waits
            self._results.put((None, error))
        return True

    def _post_mortem(self) -> ChildFailedError:
        code = self._process.returncode
        if code == OUT_OF_MEMORY:
            return ChildFailedError(Reason.TOO_LARGE, "not enough memory")
        if code is None:
            return ChildFailedError(Reason.DECODER_CRASHED, "it fell silent")
        if code < 0:
            with contextlib.suppress(ValueError):
                return ChildFailedError(Reason.DECODER_CRASHED, f"it ended by {signal.Signals(-code).name}")
        return ChildFailedError(Reason.DECODER_CRASHED, f"it ended with code {code}")


def _hear_hello(_requests: IO[bytes], replies: IO[bytes]) -> str:
    from cxr_edge.isolation.wire import PROTOCOL, Hello, receive

    hello = receive(replies, Hello)
    if (hello.protocol, hello.version) != (PROTOCOL, __version__):
        message = f"cxr-edge {hello.version[:20]!r} was started instead of {__version__}"
        raise ChildFailedError(Reason.DECODER_CRASHED, message)
    return hello.memory_limit


def _set_up(setup: "Setup", requests: IO[bytes], replies: IO[bytes]) -> None:
    from cxr_edge.isolation.wire import Ready, receive, send

    send(requests, setup)
    receive(replies, Ready)


def _job_of(process: "subprocess.Popen[bytes]", memory_bytes: int) -> "tuple[Any, str]":
    """Windows' way to limit a process, before it learns of any image; elsewhere it limits itself."""
    handle = getattr(process, "_handle", None)  # only Windows has one
    if handle is None:
        return None, NO_LIMIT
    from cxr_edge.isolation.job_object import NAME, JobObject

    try:
        return JobObject(int(handle), memory_bytes), NAME
    except OSError as error:
        return None, f"{NO_LIMIT}: {error}"  # time limit and isolation stand; `doctor` tells
