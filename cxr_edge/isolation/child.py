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
from cxr_edge.errors import EnvironmentUnusable, Reason
from cxr_edge.isolation.command import command, creation, environment
from cxr_edge.isolation.limits import NO_LIMIT, OUT_OF_MEMORY

if TYPE_CHECKING:
    from cxr_edge.isolation.wire import Setup

START_SECONDS = 60.0  # a cold disk and a virus scanner can take a third of it
STEP_SECONDS = 0.1
GRACE_SECONDS = 1.0  # for an image that nobody waits for any more: most are done by then
EXIT_SECONDS = 0.5  # for a process whose pipe closed to end by itself, and tell by its code why
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

    The thread also starts the process: an interrupt reaches the main thread alone, and can then cut no start in two.
    Used by one thread at a time; `end` may be called by any.

    Attributes:
        memory_limit: how its memory is limited: `RLIMIT_DATA`, `job object`, or `none` and why.
    """

    def __init__(self, memory_bytes: int) -> None:
        """Prepare to start it: nothing runs yet that somebody had to end.

        Raises:
            EnvironmentUnusable: there is no interpreter to start.
        """
        self._memory_bytes, self._command, self._environment = memory_bytes, command(memory_bytes), environment()
        self.memory_limit = NO_LIMIT
        self._process: subprocess.Popen[bytes] | None = None
        self._job: Any = None
        self._refusal = ""
        self._tasks: queue.SimpleQueue[Callable[[], Any] | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[tuple[Any, Exception | None]] = queue.SimpleQueue()
        self._is_started = self._is_ready = self._is_asked = self._is_ended = self._is_closed = False
        # a daemon: stuck on a process that cannot be killed, it must not hold up the interpreter's end
        self._talker = threading.Thread(target=self._talk, name="cxr-edge-child", daemon=True)

    @property
    def pid(self) -> int | None:
        """The process's number; None while there is none."""
        return None if self._process is None else self._process.pid

    def is_fit(self) -> bool:
        """Whether it can be asked: not gone, and not left in the midst of an answer by an interrupt."""
        return not self._is_ended and not self._is_asked and (self._process is None or self._process.poll() is None)

    def start(self) -> None:
        """Start it, without waiting for it; a second time does nothing.

        Raises:
            ChildFailedError: the system grants no thread. What else it refuses, `ask` tells.
        """
        if self._is_started:
            return
        try:
            self._is_started = True
            self._talker.start()
        except RuntimeError as error:
            self.end()
            raise ChildFailedError(Reason.DECODER_CRASHED, f"it cannot be started: {error}") from None
        except BaseException:
            self.end()
            raise

    def get_ready(self, setup: "Setup", given_up: threading.Event | None = None) -> None:
        """Wait until it has started and knows the contract; returns at once when it does. `given_up` as in `ask`.

        Raises:
            ChildFailedError: it does not start, or is not what was meant to be started.
        """
        if self._is_ready:
            return
        try:
            self.greet(given_up)
            self.ask(lambda *pipes: _set_up(setup, *pipes), START_SECONDS, given_up)
            self._is_ready = True
        except BaseException:  # interrupted between the two: it would not say hello again
            self.end()
            raise

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
            EnvironmentUnusable: somebody closed it meanwhile.
        """
        try:
            self.start()
            self._is_asked = True
            self._tasks.put(lambda: talk(*self._pipes()))
            result, error = self._wait(seconds, given_up)
        except BaseException:  # interrupted: the answer would be taken for the next image's
            self.end()
            raise
        if error is None:
            self._is_asked = False
            return cast("T", result)
        if isinstance(error, EOFError | OSError):
            error = self._post_mortem()
        self.end()
        from cxr_edge.isolation.wire import WireError

        if isinstance(error, WireError):
            raise ChildFailedError(Reason.DECODER_CRASHED, "its answer made no sense") from None
        raise error

    def end(self, *, closed: bool = False) -> None:
        """Kill it; it has nothing to lose. `closed`: whoever waits for it is told that its owner wanted so."""
        self._is_closed = self._is_closed or closed
        self._is_ended = True
        self._tasks.put(None)
        self._kill()
        with contextlib.suppress(RuntimeError):  # never started
            self._talker.join(END_SECONDS)

    def _kill(self) -> None:
        if self._process is None:  # if it comes to be, `_talk` kills it
            return
        with contextlib.suppress(OSError):
            self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(END_SECONDS)
        if self._job is not None:
            self._job.close()

    def _wait(self, seconds: float, given_up: threading.Event | None) -> tuple[Any, Exception | None]:
        steps = ceil(seconds / STEP_SECONDS)
        while steps > 0:
            with contextlib.suppress(queue.Empty):
                return self._results.get(timeout=min(seconds, STEP_SECONDS))
            if self._is_ended:
                raise self._post_mortem()
            steps -= 1
            if given_up is not None and given_up.is_set():
                steps = min(steps, ceil(GRACE_SECONDS / STEP_SECONDS))
        raise ChildFailedError(Reason.DECODE_TIMEOUT, f"it took longer than {seconds:g} s")

    def _launch(self) -> None:
        pipe, null = subprocess.PIPE, subprocess.DEVNULL
        self._process = subprocess.Popen(  # noqa: S603 - this very interpreter
            self._command, bufsize=0, stdin=pipe, stdout=pipe, stderr=null, env=self._environment, **creation()
        )
        self._job, self.memory_limit = _job_of(self._process, self._memory_bytes)

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        if self._is_ended:
            raise EOFError
        if self._process is None:
            raise ChildFailedError(Reason.DECODER_CRASHED, self._refusal)
        return cast("IO[bytes]", self._process.stdin), cast("IO[bytes]", self._process.stdout)

    def _talk(self) -> None:
        if not self._is_ended:
            try:
                self._launch()
            except Exception as error:  # noqa: BLE001 - told to whoever asks
                self._refusal = f"it cannot be started: {getattr(error, 'strerror', None) or error}"
        while self._do_next():
            pass
        if self._process is None:
            return
        self._kill()
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

    def _post_mortem(self) -> Exception:
        code = None
        if self._process is not None and not self._is_ended:  # before it is killed, which would be taken for its end
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = self._process.wait(EXIT_SECONDS)
        if self._is_closed:
            return EnvironmentUnusable("the classifier was closed while it decoded an image")
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
