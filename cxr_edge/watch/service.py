"""The watch service: locks, ledger, model, and the loop of scanning and working."""

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cxr_edge.classifier import Classifier
from cxr_edge.errors import EnvironmentUnusable
from cxr_edge.watch.backlog import Backlog, Deferred, choose
from cxr_edge.watch.belonging import Belonging
from cxr_edge.watch.condition import Condition
from cxr_edge.watch.delivery import Delivery, Owed
from cxr_edge.watch.events import Fault, Observer, Queued, Scanned, Undecided
from cxr_edge.watch.folders import InboxLock, make_state_folder, require_inbox, take_folders
from cxr_edge.watch.keys import Keys
from cxr_edge.watch.ledger import Ledger, LedgerDamaged, StateUnusable
from cxr_edge.watch.lock import LOCK_NAME, hold
from cxr_edge.watch.once import Once
from cxr_edge.watch.opening import LEDGER_NAME, load_model, open_ledger
from cxr_edge.watch.outbox import Outbox
from cxr_edge.watch.outbox_fault import OutboxUnavailable
from cxr_edge.watch.parts import Parts
from cxr_edge.watch.patience import Patience
from cxr_edge.watch.place import Place
from cxr_edge.watch.presence import InboxAway, Presence
from cxr_edge.watch.recheck import Unsteady
from cxr_edge.watch.scan import ScanProblem, scan
from cxr_edge.watch.settings import Settings
from cxr_edge.watch.state_errors import LedgerGone, unusable
from cxr_edge.watch.wake import Waker, pause_s
from cxr_edge.watch.work import Worker

if TYPE_CHECKING:
    from cxr_edge.watch.ledger_values import FileState

STOPPED, UNDECIDED, UNDELIVERED = 0, 3, 6
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
        0; 6 where results could not be written before the end, which are made again by the next run; 3 with `once`,
        where something of the inbox could not be decided.

    Raises:
        UsageError: there is no such inbox; another watcher is at work; the state belongs to other folders, or
            to another model; the model cannot draw the heat maps that are wanted.
        ModelError, ContractError, ProviderError, EnvironmentUnusable: as `cxr_edge.load`.
        OutputError: the state folder cannot be made, locked or written.
        InboxAway: with `once`, when the inbox goes away.
    """
    folder = settings.state_folder
    if not (folder / LEDGER_NAME).exists():
        require_inbox(settings.inbox)
    make_state_folder(folder)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(hold(folder, "state folder of this inbox"))
        except OSError as error:
            raise unusable(error, "the lock") from error
        belonging = Belonging(settings, folder)
        belonging.check()
        return _Service(settings, folder, belonging, stop, observer).run()


class _Service:
    def __init__(
        self, settings: Settings, folder: Path, belonging: Belonging, stop: threading.Event, observer: Observer
    ) -> None:
        self._settings, self._folder, self._stop, self._observer = settings, folder, stop, observer
        self._belonging, self._unsteady = belonging, Unsteady()
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
        self._lock = InboxLock(settings.inbox, self._presence, observer)
        self._disk, self._engine = (Patience(part, self._condition, observer) for part in ("ledger", "engine"))

    def run(self) -> int:
        self._condition.set("starting")
        code, reason = STOPPED, "failed"
        try:
            with contextlib.ExitStack() as stack:
                stack.enter_context(self._lock)
                if self._insist(lambda: self._take_folders(stack)):
                    classifier = stack.enter_context(load_model(self._settings, self._observer))
                    self._belonging.take_model(classifier.model.name)
                    keys = Keys.open(self._folder)
                    code = self._watch_on(classifier, keys)
            reason = "asked to"
        finally:
            self._condition.end(reason)
        return code

    def _insist(self, work: Callable[[], None]) -> bool:
        """Do what the disk may refuse for a while; False where the service was stopped before it went well."""
        patience = Patience("start", self._condition, self._observer)
        while not self._stop.is_set():
            try:
                work()
            except (OutboxUnavailable, StateUnusable) as error:
                if self._settings.once:
                    raise
                self._stop.wait(patience.failed(error))
            else:
                patience.succeeded()
                return True
        return False

    def _take_folders(self, stack: contextlib.ExitStack) -> None:
        take_folders(self._settings, self._folder, stack)
        self._belonging.remember("results")
        self._outbox.check()  # remembers which folder it is, should somebody tidy its lock's file away

    def _watch_on(self, classifier: Classifier, keys: Keys) -> int:
        """Watch; with a new ledger whenever the old one turns out to be damaged."""
        code, damaged = STOPPED, False
        while True:
            ledgers: list[Ledger] = []
            wanted = damaged

            def obtain(*, anew: bool = wanted, into: list[Ledger] = ledgers) -> None:
                into.append(open_ledger(self._folder, keys, self._settings.results, self._observer, anew=anew))

            if not self._insist(obtain):
                return code
            try:
                with ledgers[0] as ledger, Waker(self._settings.inbox, self._stop) as waker:
                    return self._watch(classifier, keys, ledger, waker)
            except LedgerDamaged as error:
                damaged = not isinstance(error, LedgerGone)

    def _watch(self, classifier: Classifier, keys: Keys, ledger: Ledger, waker: Waker) -> int:
        settings = self._settings
        place = Place(self._folder / LEDGER_NAME)
        parts = Parts(settings, ledger, keys, self._deferred, self._observer, self._stop)
        with Delivery(parts, self._outbox, self._condition) as delivery:
            worker = Worker(parts, classifier, delivery, self._unsteady)
            away, pruned, undecided, once = False, None, False, Once(settings.incomplete_after_s)
            while not self._stop.is_set():
                self._let_moves_end(delivery)
                began, cpu_began = time.monotonic(), time.thread_time()
                try:
                    place.check()
                    worker.free()
                    backlog, problems = self._scan(ledger)
                except InboxAway as error:
                    self._lock.drop()
                    if settings.once:
                        raise
                    self._freeze(error, waker, is_news=not away)
                    away = True
                    continue
                except StateUnusable as error:
                    self._falter(error)
                    continue
                scan_s, cpu_s = time.monotonic() - began, time.thread_time() - cpu_began
                if away:
                    waker.rearm()
                    away = False
                if not problems and pruned != (today := datetime.now(UTC).date()):
                    pruned = self._prune(ledger, today)
                done = self._work(backlog, worker, delivery, max(settings.poll_interval_s, WORK_PER_SCAN * scan_s))
                if settings.once and once.is_over(backlog, ledger.counts(), done=done):
                    undecided = self._tell_undecided(backlog, problems)
                    break
                self._rest(backlog, waker, cpu_s, done=done)
            self._condition.set("stopping")
        return UNDELIVERED if delivery.undelivered else UNDECIDED if undecided else STOPPED

    def _let_moves_end(self, delivery: Delivery) -> None:
        """A file that leaves the inbox between listing and look would be recorded anew, and never be found again."""
        until = time.monotonic() + MOVES_S
        while self._move and not delivery.is_idle and time.monotonic() < until and not self._stop.wait(MOVES_STEP_S):
            delivery.check()

    def _scan(self, ledger: Ledger) -> tuple[Backlog, int]:
        self._lock.take()
        self._belonging.remember("inbox")
        began = time.monotonic()
        problems: Counter[ScanProblem] = Counter()
        entries = scan(self._settings.inbox, self._skip, self._presence, problems, self._unsteady.devices)
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
            if self._stop.is_set():
                break
            delivery.put(Owed(look))
        if not backlog.has_work:
            delivery.check()
            self._disk.succeeded()
            self._condition.set("waiting" if backlog.waiting else "idle")
            return True
        self._condition.set("running")
        try:
            done = worker.work(backlog, seconds)
        except (StateUnusable, EnvironmentUnusable) as error:
            self._falter(error)
            return False
        self._disk.succeeded()
        if not worker.is_failing:
            self._engine.succeeded()
        return done

    def _falter(self, error: StateUnusable | EnvironmentUnusable) -> None:
        """Something on this machine keeps all work from going on: wait longer each time, then look again."""
        if self._settings.once:
            raise error
        patience = self._disk if isinstance(error, StateUnusable) else self._engine
        self._stop.wait(patience.failed(error))

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

    def _tell_undecided(self, backlog: Backlog, problems: int) -> bool:
        if backlog.waiting or problems:
            self._observer.observe(Undecided(backlog.waiting, problems))
        return bool(backlog.waiting or problems)

    def _rest(self, backlog: Backlog, waker: Waker, scan_s: float, *, done: bool) -> None:
        """Until the next scan; `scan_s` is of processor time."""
        settings = self._settings
        if not done or backlog.is_partial or (backlog.has_work and settings.once):
            return
        least = max(LEAST_PAUSE_S, WORK_PER_SCAN * scan_s)
        if backlog.fresh or (backlog.soon and settings.once):
            self._stop.wait(min(max(settings.settle_s, least), settings.poll_interval_s))
            return
        least = min(least, settings.poll_interval_s)
        for left in _slices(pause_s(settings.poll_interval_s, scan_s)):
            if waker.wait(left, least=least) or self._stop.is_set():
                return
            self._observer.observe(Queued(backlog.waiting, 0))


def _slices(seconds: float) -> Iterator[float]:
    """A long rest in parts, so that a sign of life can be given between them."""
    while seconds > 0:
        yield min(seconds, SIGN_OF_LIFE_S)
        seconds -= SIGN_OF_LIFE_S
