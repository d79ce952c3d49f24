"""The watch service: locks, ledger, model, and the loop of scanning and working."""

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cxr_edge.classifier import Classifier, load
from cxr_edge.errors import EnvironmentUnusable, UsageError
from cxr_edge.isolation.limits import IsolationLimits
from cxr_edge.watch.backlog import Backlog, Deferred, choose
from cxr_edge.watch.condition import Condition
from cxr_edge.watch.delivery import FIRST_PAUSE_S, LONGEST_PAUSE_S, Delivery, Owed, code_of
from cxr_edge.watch.events import Fault, LedgerRebuilt, ModelLoaded, Notice, Observer, Queued, Scanned
from cxr_edge.watch.folders import take_folders
from cxr_edge.watch.keys import Keys
from cxr_edge.watch.ledger import Ledger, LedgerDamaged, StateUnusable
from cxr_edge.watch.lock import LOCK_NAME, hold
from cxr_edge.watch.outbox import Outbox, OutboxUnavailable
from cxr_edge.watch.parts import Parts
from cxr_edge.watch.presence import InboxAway, Presence
from cxr_edge.watch.rebuild import rebuild
from cxr_edge.watch.scan import ScanProblem, scan
from cxr_edge.watch.settings import Settings
from cxr_edge.watch.state_errors import unusable
from cxr_edge.watch.wake import Waker, pause_s
from cxr_edge.watch.work import Worker

if TYPE_CHECKING:
    from cxr_edge.watch.ledger_values import FileState

LEDGER_NAME: Final = "ledger.sqlite"
STOPPED, UNDELIVERED = 0, 6
WORK_PER_SCAN: Final = 20  # seconds of work for each second of scanning: a long backlog costs 5 % of looking anew
LEAST_PAUSE_S: Final = 0.2  # events come in swarms
SIGN_OF_LIFE_S: Final = 30.0
MOVES_S, MOVES_STEP_S = 5.0, 0.02  # a disk that cannot be written does not keep the inbox from being looked at


def run(settings: Settings, stop: threading.Event, observer: Observer) -> int:
    """Watch until `stop` is set.

    Args:
        settings: what to watch, and how.
        stop: finish the running images, flush, and return.
        observer: is told what happens; it must not raise.

    Returns:
        0; 6 where results could not be written before the end. They are made again by the next run.

    Raises:
        UsageError: there is no such inbox; another watcher is at work.
        ModelError, ContractError, ProviderError, EnvironmentUnusable: as `cxr_edge.load`.
        OutputError: the state folder cannot be made, locked or written.
        InboxAway: with `once`, when the inbox goes away.
    """
    folder = settings.state_folder
    _require_inbox(settings.inbox, folder)
    _make(folder, "the state folder")
    try:
        with hold(folder, "state folder of this inbox"):
            return _Service(settings, folder, stop, observer).run()
    except OSError as error:
        raise unusable(error, "the lock") from error


def _require_inbox(inbox: Path, state: Path) -> None:
    """An inbox that was never there is a mistake; one that was there before is awaited."""
    if not inbox.is_dir() and not (state / LEDGER_NAME).exists():
        message = f"the inbox {inbox} does not exist or is no folder"
        raise UsageError(message)


def _make(folder: Path, what: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unusable(error, what) from error


class _Service:
    def __init__(self, settings: Settings, folder: Path, stop: threading.Event, observer: Observer) -> None:
        self._settings, self._folder, self._stop, self._observer = settings, folder, stop, observer
        self._condition = Condition(observer)
        self._deferred = Deferred()
        self._presence = Presence(settings.inbox, folder / "inbox.json")
        owned = (settings.results, settings.after_done, settings.after_rejected, folder)
        self._skip = [path for path in owned if path is not None]
        moving: list[tuple[FileState, Path | None]] = [
            ("done", settings.after_done),
            ("rejected", settings.after_rejected),
        ]
        self._move: list[FileState] = [state for state, root in moving if root is not None]
        self._outbox = Outbox(settings.results, LOCK_NAME)
        self._problems = 0  # of the last scan

    def run(self) -> int:
        self._condition.set("starting")
        code, reason = STOPPED, "failed"
        try:
            with contextlib.ExitStack() as stack:
                self._lock_inbox(stack)
                if self._insist(lambda: take_folders(self._settings, self._folder, stack)):
                    classifier = stack.enter_context(self._load())
                    keys = Keys.open(self._folder)
                    code = self._watch_on(classifier, keys)
            reason = "asked to"
        finally:
            self._condition.recover()
            self._condition.set("stopped", reason)
        return code

    def _lock_inbox(self, stack: contextlib.ExitStack) -> None:
        """Keep a watcher with another state and other results from the same files; a hidden file in the inbox does."""
        try:
            stack.enter_context(hold(self._settings.inbox, "inbox"))
        except OSError as error:  # read-only, or away so far
            message = f"the inbox cannot be locked against another watcher: {error.strerror}"
            self._observer.observe(Notice("inbox_not_locked", message))

    def _insist(self, work: Callable[[], None]) -> bool:
        """Do what the disk may refuse for a while; False where the service was stopped before it went well."""
        pause = FIRST_PAUSE_S
        while not self._stop.is_set():
            try:
                work()
            except (OutboxUnavailable, StateUnusable) as error:
                if self._settings.once:
                    raise
                code = code_of(error)
                is_state = isinstance(error, StateUnusable)
                self._condition.fail("state_unavailable" if is_state else "outbox_unavailable", code)
                self._observer.observe(Fault(code, pause_s=pause))
                self._stop.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)
            else:
                self._condition.recover()
                return True
        return False

    def _load(self) -> Classifier:
        settings = self._settings
        classifier = load(
            settings.model,
            provider=settings.provider,
            threads=settings.threads,
            gate=settings.gate,
            operating_point=settings.operating_point,
            isolation=IsolationLimits(),
        )
        for note in classifier.notices:
            self._observer.observe(Notice(note.code, note.message))
        if settings.heatmap:
            from cxr_edge.heatmap import check_heat_maps

            check_heat_maps(classifier.contract)
        self._observer.observe(ModelLoaded(classifier.model, classifier.execution_provider))
        return classifier

    def _watch_on(self, classifier: Classifier, keys: Keys) -> int:
        """Watch; with a new ledger whenever the old one turns out to be damaged."""
        code, damaged = STOPPED, False
        while True:
            ledgers: list[Ledger] = []
            wanted = damaged

            def obtain(*, anew: bool = wanted, into: list[Ledger] = ledgers) -> None:
                into.append(self._ledger(keys, anew=anew))

            if not self._insist(obtain):
                return code
            try:
                with ledgers[0] as ledger, Waker(self._settings.inbox, self._stop) as waker:
                    return self._watch(classifier, keys, ledger, waker)
            except LedgerDamaged:
                damaged = True

    def _ledger(self, keys: Keys, *, anew: bool) -> Ledger:
        path = self._folder / LEDGER_NAME
        if not anew:
            try:
                return Ledger.open(path, keys)
            except LedgerDamaged:
                pass
        self._observer.observe(Fault("ledger_damaged"))
        ledger = rebuild(path, keys, self._settings.results, marker=LOCK_NAME)
        if ledger.rebuilt is not None:
            self._observer.observe(LedgerRebuilt(ledger.rebuilt.rows, ledger.rebuilt.skipped))
        return ledger

    def _watch(self, classifier: Classifier, keys: Keys, ledger: Ledger, waker: Waker) -> int:
        settings = self._settings
        parts = Parts(settings, ledger, keys, self._deferred, self._observer, self._stop)
        with Delivery(parts, self._outbox, self._condition) as delivery:
            worker = Worker(parts, classifier, delivery)
            away, pruned = False, None
            while not self._stop.is_set():
                self._let_moves_end(delivery)
                began = time.thread_time()
                try:
                    backlog, problems = self._scan(ledger)
                except InboxAway as error:
                    if settings.once:
                        raise
                    self._freeze(error, waker, is_news=not away)
                    away = True
                    continue
                except StateUnusable as error:
                    self._falter(error)
                    continue
                scan_s = time.thread_time() - began
                if away:
                    waker.rearm()
                    away = False
                if not problems and pruned != (today := datetime.now(UTC).date()):
                    pruned = self._prune(ledger, today)
                done = self._work(backlog, worker, delivery, max(settings.poll_interval_s, WORK_PER_SCAN * scan_s))
                if settings.once and self._is_over(backlog, done=done):
                    break
                self._rest(backlog, waker, scan_s, done=done)
            self._condition.set("stopping")
        return UNDELIVERED if delivery.undelivered else STOPPED

    def _let_moves_end(self, delivery: Delivery) -> None:
        """A file that leaves the inbox between listing and look would be recorded anew, and never be found again."""
        until = time.monotonic() + MOVES_S
        while self._move and not delivery.is_idle and time.monotonic() < until and not self._stop.wait(MOVES_STEP_S):
            delivery.check()

    def _scan(self, ledger: Ledger) -> tuple[Backlog, int]:
        began = time.monotonic()
        problems: Counter[ScanProblem] = Counter()
        entries = scan(self._settings.inbox, self._skip, self._presence, problems)
        looks = ledger.look(entries, move=self._move)
        backlog = choose(looks, self._settings.order, self._settings.settle_s, self._deferred)
        count = problems.total()
        states = ledger.counts()
        self._observer.observe(Scanned(backlog.files, time.monotonic() - began, count, states))
        self._observer.observe(Queued(backlog.waiting, 0))
        if count and not self._problems:
            self._observer.observe(Fault("inbox_partly_unreadable"))
        self._problems = count
        return backlog, count

    def _work(self, backlog: Backlog, worker: Worker, delivery: Delivery, seconds: float) -> bool:
        """Move what is owed, classify what waits; whether all that could be taken was."""
        for look in backlog.moves:
            delivery.put(Owed(look))
        if not backlog.next and not backlog.suspects:
            delivery.check()
            self._condition.set("idle")
            return True
        self._condition.set("running")
        try:
            return worker.work(backlog, seconds)
        except (StateUnusable, EnvironmentUnusable) as error:
            self._falter(error)
            return False

    def _falter(self, error: StateUnusable | EnvironmentUnusable) -> None:
        """Something on this machine keeps all work from going on: wait a little, then look again."""
        if self._settings.once:
            raise error
        if isinstance(error, StateUnusable):
            self._condition.fail("state_unavailable", code_of(error))
            self._observer.observe(Fault(code_of(error), pause_s=FIRST_PAUSE_S))
        else:
            self._observer.observe(Fault("model_failed", type(error).__name__, FIRST_PAUSE_S))
        self._stop.wait(FIRST_PAUSE_S)
        self._condition.recover()

    def _freeze(self, error: InboxAway, waker: Waker, *, is_news: bool) -> None:
        self._condition.set("inbox_away", error.why.value)
        if is_news:
            self._observer.observe(Fault("inbox_away", error.why.value, self._settings.poll_interval_s))
        self._observer.observe(Queued(0, 0))
        waker.wait(self._settings.poll_interval_s, least=self._settings.poll_interval_s)

    def _prune(self, ledger: Ledger, today: date) -> date | None:
        try:
            ledger.prune(today)
        except StateUnusable:
            return None  # later, then
        return today

    def _is_over(self, backlog: Backlog, *, done: bool) -> bool:
        """Whether all that is there is decided, but for what is not whole or not readable for longer."""
        waits = backlog.fresh or backlog.soon or backlog.is_partial or backlog.next or backlog.suspects
        return done and not waits

    def _rest(self, backlog: Backlog, waker: Waker, scan_s: float, *, done: bool) -> None:
        """Until the next scan."""
        settings = self._settings
        if not done or backlog.is_partial or ((backlog.next or backlog.suspects) and settings.once):
            return
        if backlog.fresh or (backlog.soon and settings.once):
            self._stop.wait(min(max(settings.settle_s, LEAST_PAUSE_S), settings.poll_interval_s))
            return
        least = min(max(LEAST_PAUSE_S, WORK_PER_SCAN * scan_s), settings.poll_interval_s)
        for left in _slices(pause_s(settings.poll_interval_s, scan_s)):
            if waker.wait(left, least=least) or self._stop.is_set():
                return
            self._observer.observe(Queued(backlog.waiting, 0))


def _slices(seconds: float) -> Iterator[float]:
    """A long rest in parts, so that a sign of life can be given between them."""
    while seconds > 0:
        yield min(seconds, SIGN_OF_LIFE_S)
        seconds -= SIGN_OF_LIFE_S
