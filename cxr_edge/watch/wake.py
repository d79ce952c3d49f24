"""Waiting between two scans: events of the local file system cut it short, and never decide anything."""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

MOST_PAUSE_S: Final = 60.0
REST_PER_SCAN: Final = 200  # seconds of rest for each second of scanning: below 0.5 % of a core
_CHECK_S: Final = 0.25  # Windows runs no signal handler while a lock is waited for, and `stop` is not ours to extend
_STEP_MS: Final = 200  # watchfiles wakes as often to see whether it is to stop
_RETRY_S: Final = 60.0

Watch = Callable[[Path, threading.Event, Callable[[], None]], None]


def pause_s(poll_interval_s: float, scan_s: float) -> float:
    """How long to rest after a scan that took `scan_s` seconds of processor time, in seconds.

    The rest keeps an idle service below 0.5 % of a core up to scans of 0.3 s; above, it stays at a minute, so that
    new files never wait longer than that, unless the poll interval itself is longer.
    """
    return max(poll_interval_s, min(REST_PER_SCAN * scan_s, MOST_PAUSE_S))


def watch_events(folder: Path, stop: threading.Event, changed: Callable[[], None]) -> None:
    """Call `changed` when something below `folder` changes, until `stop` is set; by watchfiles.

    Raises:
        ImportError: watchfiles is not here.
        Exception: what the operating system says: no such folder, no more watches (`fs.inotify.max_user_watches`).
    """
    from watchfiles import watch

    logging.getLogger("watchfiles").setLevel(logging.WARNING)  # its debug messages hold file names
    events = watch(
        folder,
        watch_filter=None,
        step=_STEP_MS,
        debounce=5 * _STEP_MS,
        stop_event=stop,
        rust_timeout=0,
        raise_interrupt=False,
        debug=False,  # else an environment variable could have it print paths
        force_polling=False,
        poll_delay_ms=round(1000 * MOST_PAUSE_S),  # where the system knows no events it would poll, as we do already
        ignore_permission_denied=True,
    )
    for _ in events:
        changed()


class Waker:
    """Waits between scans. Without watchfiles, or where a file system tells nothing, it waits the full time.

    Example:
        with Waker(inbox, stop) as waker:
            while not stop.is_set():
                ...
                waker.wait(5.0)
    """

    def __init__(self, inbox: Path, stop: threading.Event, *, watch: Watch = watch_events) -> None:
        """Watch nothing before `with`.

        Args:
            inbox: The folder whose changes wake.
            stop: Ends every wait; set by a signal handler.
            watch: What tells of changes; returns when its event is set, and may fail in any way.
        """
        self._inbox = inbox
        self._stop = stop
        self._watch = watch
        self._changed = threading.Event()
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Begin to watch, in a thread."""
        self._start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Stop watching."""
        self._end_thread()

    def wait(self, seconds: float, *, least: float = 0.0) -> bool:
        """Wait, and say whether a change cut it short.

        Args:
            seconds: At most as long.
            least: A change wakes no sooner, so that a stream of them does not make one scan follow the other.

        Returns:
            Whether something changed since the last call; False when the time was up, or `stop` was set.
        """
        begin = time.monotonic()
        while True:
            waited = time.monotonic() - begin
            if self._stop.is_set():
                return False
            if waited >= min(least, seconds) and self._changed.is_set():
                self._changed.clear()
                return True
            if waited >= seconds:
                return False
            self._stop.wait(min(_CHECK_S, seconds - waited))

    def rearm(self) -> None:
        """Watch anew, after the inbox was away: the system forgets what it watched when that is unmounted."""
        self._end_thread()
        self._start()

    def _start(self) -> None:
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(self._end,), name="cxr-edge-events", daemon=True)
        self._thread.start()

    def _end_thread(self) -> None:
        self._end.set()
        if self._thread is not None:
            self._thread.join(timeout=5 * _CHECK_S)  # a daemon: a share that hangs does not hold up the end

    def _run(self, end: threading.Event) -> None:
        while not end.is_set():
            try:
                self._watch(self._inbox, end, self._changed.set)
            except ImportError:
                return
            except Exception:  # noqa: BLE001, S110 - a hint that fails is no hint; scanning goes on, and it is tried again
                pass
            end.wait(_RETRY_S)
