"""What is made from results that are on the disk: daily CSV and study summaries, later where not now."""

import time
from typing import Final

from cxr_edge.watch.condition import Condition
from cxr_edge.watch.daily_csv import DailyCsv
from cxr_edge.watch.events import Fault, StudySummarised
from cxr_edge.watch.outbox import Outbox, OutboxUnavailable
from cxr_edge.watch.parts import Parts
from cxr_edge.watch.patience import Patience
from cxr_edge.watch.state_errors import StateUnusable
from cxr_edge.watch.studies import write_study

CSV_ROWS: Final = 2000  # in one writing


class SummingUp:
    """Keeps them up to date. Used by one thread."""

    def __init__(self, parts: Parts, outbox: Outbox, condition: Condition) -> None:
        """Write nothing yet."""
        self._settings, self._ledger, self._observer = parts.settings, parts.ledger, parts.observer
        self._outbox, self._csv = outbox, DailyCsv(outbox)
        self._patience = Patience("summing_up", condition, parts.observer)
        self._from = 0.0

    def work(self, *, last: bool = False) -> bool:
        """Write what is due, all of it at the end; whether the disk let it."""
        if not last and time.monotonic() < self._from:
            return True
        try:
            if last or self._csv.due():
                self._add_to_csv()
            self._add_to_studies(0.0 if last and self._settings.once else self._settings.study_timeout_s)
        except (OutboxUnavailable, StateUnusable) as error:
            self._from = time.monotonic() + self._patience.failed(error)
            return False
        self._patience.succeeded()
        return True

    def _add_to_csv(self) -> None:
        while pending := self._ledger.rows_for_csv(CSV_ROWS):
            updated = self._csv.update((content.day, content.content.hex()) for content in pending)
            if updated.held:
                self._observer.observe(Fault("csv_delayed"))
            self._ledger.mark_in_csv(bytes.fromhex(name) for name in (*updated.written, *updated.missing))
            if updated.held or len(pending) < CSV_ROWS:
                return

    def _add_to_studies(self, quiet_s: float) -> None:
        for study in self._ledger.dirty_studies(quiet_s):
            images = [(content.content.hex(), content.decides) for content in self._ledger.contents_of(study)]
            if write_study(self._outbox, study.key, images, identifiers=self._settings.identifiers):
                self._observer.observe(StudySummarised(study.key.hex(), len(images)))
            self._ledger.clean(study)
