"""What is made from results that are on the disk: daily CSV and study summaries, later where not now."""

import time
from collections.abc import Callable
from typing import Final

from cxr_edge.watch.condition import Condition
from cxr_edge.watch.daily_csv import DailyCsv
from cxr_edge.watch.events import CsvRowMissing, Fault, StudyNotSummarised, StudySummarised
from cxr_edge.watch.ledger_values import Study
from cxr_edge.watch.outbox import Outbox
from cxr_edge.watch.outbox_fault import OutboxUnavailable
from cxr_edge.watch.parts import Parts
from cxr_edge.watch.patience import Patience
from cxr_edge.watch.state_errors import StateUnusable
from cxr_edge.watch.studies import Summary, write_study

CSV_ROWS: Final = 2000  # in one writing
STUDIES: Final = 1000  # asked for at once


class SummingUp:
    """Keeps them up to date, each as well as the disk lets it. Used by one thread."""

    def __init__(self, parts: Parts, outbox: Outbox, condition: Condition) -> None:
        """Write nothing yet."""
        self._settings, self._ledger, self._observer = parts.settings, parts.ledger, parts.observer
        self._outbox, self._csv = outbox, DailyCsv(outbox)
        self._csv_work = _Work(self._add_to_csv, Patience("daily_csv", condition, parts.observer))
        self._studies_work = _Work(self._add_to_studies, Patience("studies", condition, parts.observer))
        self._quiet_s = self._settings.study_timeout_s
        self._csv_is_held = False

    def work(self, *, last: bool = False) -> bool:
        """Write what is due, all of it at the end; whether the disk let it."""
        if last and self._settings.once:
            self._quiet_s = 0.0
        # a CSV that is not due says nothing of the disk: its fault stands until it was written
        written = self._csv_work.do(at_once=last) if last or self._csv.due() else True
        return self._studies_work.do(at_once=last) and written

    def _add_to_csv(self) -> None:
        while pending := self._ledger.rows_for_csv(CSV_ROWS):
            updated = self._csv.update((content.day, content.content.hex()) for content in pending)
            if updated.held and not self._csv_is_held:  # told once, however long a spreadsheet has it open
                self._observer.observe(Fault("csv_delayed"))
            self._csv_is_held = updated.held
            self._ledger.mark_in_csv(bytes.fromhex(name) for name in (*updated.written, *updated.missing))
            if updated.missing:
                self._observer.observe(CsvRowMissing(len(updated.missing)))
            if updated.held or len(pending) < CSV_ROWS:
                return

    def _add_to_studies(self) -> None:
        while studies := self._ledger.dirty_studies(self._quiet_s, STUDIES):
            for study in studies:
                self._add_to_study(study)
            if len(studies) < STUDIES:
                return

    def _add_to_study(self, study: Study) -> None:
        images = self._ledger.contents_of(study)
        summary = write_study(self._outbox, study.key, images, identifiers=self._settings.identifiers)
        self._ledger.clean(study)
        if summary is Summary.WRITTEN:
            self._observer.observe(StudySummarised(study.key.hex(), len(images)))
        elif summary is Summary.NOT_POSSIBLE:
            self._observer.observe(StudyNotSummarised(study.key.hex(), len(images)))


class _Work:
    """One of the two, with pauses of its own that grow while it fails."""

    def __init__(self, step: Callable[[], None], patience: Patience) -> None:
        """Begin at once."""
        self._step, self._patience = step, patience
        self._from = 0.0

    def do(self, *, at_once: bool) -> bool:
        """Do it unless it rests after a failure; false where it failed now."""
        if not at_once and time.monotonic() < self._from:
            return True
        try:
            self._step()
        except (OutboxUnavailable, StateUnusable) as error:
            self._from = time.monotonic() + self._patience.failed(error)
            return False
        self._patience.succeeded()
        return True
