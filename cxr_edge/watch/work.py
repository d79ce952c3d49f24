"""From waiting files to decided ones: claim, read, judge whether all is there, classify, hand over."""

import contextlib
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final

from cxr_edge.classifier import Classifier
from cxr_edge.decode import DecodeLimits
from cxr_edge.errors import Reason
from cxr_edge.prepare import source_of
from cxr_edge.results import to_row
from cxr_edge.results.studies import may_decide
from cxr_edge.types import Prediction, Rejection, Source
from cxr_edge.watch.arrival import UNFINISHED, end_of_content, ends_blank, may_still_grow
from cxr_edge.watch.backlog import Backlog
from cxr_edge.watch.delivery import Decided, Delivery, Repeated
from cxr_edge.watch.entry import Entry
from cxr_edge.watch.events import Fault, FaultCode, Queued, Retry
from cxr_edge.watch.ledger_values import FinalState, Look, Outcome
from cxr_edge.watch.parts import Parts
from cxr_edge.watch.patience import InferenceFails, pause_after
from cxr_edge.watch.reading import Outcome as Reading
from cxr_edge.watch.reading import Read, read
from cxr_edge.watch.recheck import Rechecker, Unsteady
from cxr_edge.watch.state_errors import LedgerDamaged, StateUnusable
from cxr_edge.watch.stored_row import read_by

READERS: Final = 2  # a share answers slowly; the network need not wait for it
AHEAD: Final = 4
AHEAD_BYTES: Final = 256 * 2**20
BLANK_SETTLE_S: Final = 10.0  # a file that ends in zeros may be a copy that reserved its space
MOST_RUNS: Final = 20  # that ended over one file, alone, before it is rejected
# what the machine may be to blame for: tried again before the image is
TRANSIENT: Final = frozenset({Reason.INTERNAL, Reason.DECODE_TIMEOUT, Reason.DECODER_CRASHED})
ATTEMPTS: Final = 3
FAILED: Final = "failed"
FAILS_IN_A_ROW: Final = 3  # different images that inference failed over: then the engine is to blame


@dataclass(frozen=True, slots=True)
class _Job:
    look: Look
    read: Read


class Worker:
    """Takes the files of one backlog after the other. Used by one thread."""

    def __init__(self, parts: Parts, classifier: Classifier, delivery: Delivery, unsteady: Unsteady) -> None:
        """Keep what it works with."""
        self._rechecker = Rechecker(parts, unsteady)
        self._parts, self._classifier, self._delivery = parts, classifier, delivery
        self._settings, self._ledger, self._deferred = parts.settings, parts.ledger, parts.deferred
        self._in_flight: deque[_Job] = deque()
        self._held: dict[Entry, bytes | None] = {}  # claimed, and handed over to nobody; content while classified
        self._failed_over: set[bytes] = set()  # contents that inference failed over since it last went well
        self._limit = DecodeLimits().file_bytes

    @property
    def is_failing(self) -> bool:
        """Whether inference fails, whichever image it is."""
        return len(self._failed_over) >= FAILS_IN_A_ROW

    def free(self) -> None:
        """Give back what could not be given back when it was due.

        Raises:
            LedgerDamaged, StateUnusable: it still cannot.
        """
        for entry in list(self._held):
            self._release(entry)

    def work(self, backlog: Backlog, seconds: float) -> bool:
        """Take files for about so long; those that runs ended over come last, each alone; then compare decided ones.

        Returns:
            Whether all were taken.

        Raises:
            InferenceFails: over one image after the other.
            LedgerDamaged, StateUnusable, EnvironmentUnusable: and what was claimed is free again, or `free` frees it.
        """
        until = time.monotonic() + seconds
        waiting = backlog.waiting

        def in_time(looks: Iterable[Look]) -> Iterator[Look]:
            nonlocal waiting
            for look in looks:
                if self._parts.stop.is_set() or time.monotonic() >= until:
                    return
                waiting -= 1
                self._parts.observer.observe(Queued(waiting, len(self._in_flight)))
                yield look

        taken = self._take(in_time(backlog.next))
        for look in backlog.suspects:
            taken += self._take(in_time([look]))
        self._parts.observer.observe(Queued(waiting, 0))
        return self._rechecker.work(backlog.rechecks, until) and taken == len(backlog.next) + len(backlog.suspects)

    def _take(self, looks: Iterator[Look]) -> int:
        taken = 0

        def counted() -> Iterator[Look]:
            nonlocal taken
            for look in looks:
                taken += 1
                yield look

        try:
            with (
                contextlib.closing(self._contents(counted())) as contents,
                contextlib.closing(self._classified(contents)) as results,
            ):
                for result in results:
                    job = self._in_flight.popleft()
                    self._judge(job, result)
        finally:
            self._in_flight.clear()
            with contextlib.suppress(LedgerDamaged, StateUnusable):  # it may be the ledger that failed
                self.free()
        return taken

    def _classified(self, contents: Iterator[bytes]) -> Generator[Prediction | Rejection, None, None]:
        return self._classifier.classify_many(contents, keep_radiograph=self._settings.heatmap)

    def _contents(self, looks: Iterator[Look]) -> Generator[bytes, None, None]:
        """The bytes of the files that are to be classified, read a few ahead; the others are dealt with here."""
        reading: deque[tuple[Look, int, Future[Read]]] = deque()
        with ThreadPoolExecutor(READERS, thread_name_prefix="cxr-edge-read") as threads:
            for look in looks:
                while reading and (len(reading) >= AHEAD or self._bytes(reading) + look.entry.size > AHEAD_BYTES):
                    yield from self._arrived(*reading.popleft())
                if tries := self._ledger.claim(look.entry):
                    self._held[look.entry] = None
                    if tries > 1:
                        self._parts.observer.observe(Retry(self._parts.name_of(look.entry), "run_ended", tries))
                    reading.append((look, tries, threads.submit(read, look.entry, self._limit)))
            while reading:
                yield from self._arrived(*reading.popleft())

    def _bytes(self, reading: Iterable[tuple[Look, int, Future[Read]]]) -> int:
        """In memory: read ahead, and handed to the classifier."""
        return sum(look.entry.size for look, _, _ in reading) + sum(len(job.read.content) for job in self._in_flight)

    def _arrived(self, look: Look, tries: int, future: Future[Read]) -> Iterator[bytes]:
        entry, found = look.entry, future.result()
        job = _Job(look, found)
        match found.outcome:
            case Reading.GONE | Reading.CHANGED:
                self._later(look, pause_after(0))
            case Reading.UNREADABLE:
                self._retry(look, "file_unreadable", "file_unreadable")
            case Reading.TOO_LARGE:
                message = f"the file has {entry.size:,} bytes; at most {self._limit:,} are read"
                self._reject(job, Reason.TOO_LARGE, message)
            case Reading.WHOLE:
                if tries > MOST_RUNS:
                    self._reject(job, Reason.INTERNAL, f"the service ended {tries - 1} times while it was at this file")
                elif self._is_whole(job):
                    self._in_flight.append(job)
                    self._delivery.under_way.add(found.sha256)
                    self._held[entry] = found.sha256
                    yield found.content

    def _is_whole(self, job: _Job) -> bool:
        """Whether to classify it now; if not, it is dealt with."""
        look, found = job.look, job.read
        if found.sha256 in self._delivery.under_way:  # asked first: what leaves it is known
            self._later(look, pause_after(0))
            return False
        known = self._ledger.known(found.sha256)
        if known is not None:
            if known.reason is not None and may_still_grow(Reason(known.reason), found.content):
                # what was once reported as incomplete says nothing about this file, which may be growing right now
                self._wait_for_the_rest(job, _rejection(Reason(known.reason), "part of a file, as one before"))
            else:
                self._hand_over(Repeated(look.entry, known))
            return False
        if (missing := end_of_content(found.content)) is not None:
            self._wait_for_the_rest(job, _rejection(Reason.TRUNCATED, f"the file is not whole: {missing}"))
            return False
        if ends_blank(found.content) and look.unchanged_s < min(BLANK_SETTLE_S, self._settings.incomplete_after_s):
            self._later(look, BLANK_SETTLE_S - look.unchanged_s)
            return False
        return True

    def _judge(self, job: _Job, result: Prediction | Rejection) -> None:
        if isinstance(result, Prediction):
            self._failed_over.clear()
            self._decide(job, result, "done")
            return
        if result.reason is Reason.INTERNAL:
            self._blame(job)
        if result.reason in TRANSIENT and self._deferred.times(job.look.entry, FAILED) < ATTEMPTS - 1:
            code: FaultCode = "model_failed" if result.reason is Reason.INTERNAL else "decoder_failed"
            self._retry(job.look, code, FAILED)
        elif may_still_grow(result.reason, job.read.content):
            self._wait_for_the_rest(job, result)
        else:
            self._decide(job, result, "rejected")

    def _blame(self, job: _Job) -> None:
        """The image, or the engine where this is not the first image in a row; then it is not held against any."""
        if not self.is_failing:
            self._failed_over.add(job.read.sha256)
        if self.is_failing:
            self._later(job.look, pause_after(FAILS_IN_A_ROW))  # others come first, which may show that it works
            message = "inference fails over one image after the other"
            raise InferenceFails(message)

    def _wait_for_the_rest(self, job: _Job, rejection: Rejection) -> None:
        """Look at it again when it changes; at its deadline it is reported as it is."""
        left = self._settings.incomplete_after_s - job.look.unchanged_s
        if left > 0:
            self._later(job.look, left)
        else:
            self._decide(job, rejection, "incomplete" if rejection.reason in UNFINISHED else "rejected")

    def _release(self, entry: Entry) -> None:
        self._ledger.release(entry)
        if (content := self._held.pop(entry, None)) is not None:
            self._delivery.under_way.discard(content)

    def _hand_over(self, parcel: Decided | Repeated) -> None:
        self._delivery.put(parcel)
        self._held.pop(parcel.entry, None)

    def _later(self, look: Look, seconds: float) -> None:
        self._release(look.entry)
        self._deferred.put(look.entry, seconds)

    def _retry(self, look: Look, code: FaultCode, cause: str) -> None:
        self._release(look.entry)
        pause = pause_after(self._deferred.times(look.entry, cause))
        times = self._deferred.put(look.entry, pause, cause)
        self._parts.observer.observe(Retry(self._parts.name_of(look.entry), code, times, pause))

    def _reject(self, job: _Job, reason: Reason, message: str) -> None:
        self._decide(job, _rejection(reason, message), "rejected")

    def _decide(self, job: _Job, result: Prediction | Rejection, state: FinalState) -> None:
        entry, content = job.look.entry, job.read.sha256
        source = replace(result.source, path=source_of(entry.path).path, content_sha256=content.hex())
        result = replace(result, source=source)
        try:
            row = to_row(result, identifiers=self._settings.identifiers)
        except Exception as error:  # noqa: BLE001 - costs this image, not the service
            message = f"the result cannot be written down: unexpected {type(error).__name__}"
            source = Source(path=source.path, content_sha256=source.content_sha256)
            result = Rejection(source=source, reason=Reason.INTERNAL, message=message)
            row, state = to_row(result, identifiers=self._settings.identifiers), "rejected"
        outcome = Outcome(
            content=content,
            state=state,
            instance=self._key(source.sop_instance_uid),
            study=self._key(source.study_instance_uid),
            reason=result.reason.value if isinstance(result, Rejection) else None,
            score=None if isinstance(result, Rejection) else result.score,
            decides=may_decide(result),
            positive=None if isinstance(result, Rejection) else result.positive,
            read_by=read_by(row),
        )
        label = self._settings.heatmap_label
        decided = Decided(
            entry=entry,
            outcome=outcome,
            row=row,
            heat_map=self._heat_map(result),
            label_index=None if label is None else self._classifier.contract.labels.index(label),
            latency_ms=result.latency.total_ms,
        )
        self._hand_over(decided)

    def _heat_map(self, result: Prediction | Rejection) -> bytes | None:
        if not self._settings.heatmap or isinstance(result, Rejection):
            return None
        from cxr_edge.heatmap import heat_map_png

        try:
            return heat_map_png(result, self._classifier.contract, self._settings.heatmap_label)
        except Exception as error:  # noqa: BLE001 - the result stands without it
            self._parts.observer.observe(Fault("heat_map_failed", type(error).__name__))
            return None

    def _key(self, uid: str | None) -> bytes | None:
        return None if uid is None else self._parts.keys.of(uid)


def _rejection(reason: Reason, message: str) -> Rejection:
    return Rejection(source=Source(), reason=reason, message=message)
