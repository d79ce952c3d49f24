"""What every part of a running service works with."""

import threading
from dataclasses import dataclass

from cxr_edge.watch.backlog import Deferred
from cxr_edge.watch.entry import Entry
from cxr_edge.watch.events import Observer
from cxr_edge.watch.keys import Keys
from cxr_edge.watch.ledger import Ledger
from cxr_edge.watch.settings import Settings


@dataclass(frozen=True, slots=True)
class Parts:
    """One ledger's life: a damaged one is replaced, and all with it.

    Attributes:
        settings: what the user wants.
        ledger: what became of each file.
        keys: names without patient data.
        deferred: files to leave alone for a while.
        observer: is told what happens.
        stop: set when the service is to end.
    """

    settings: Settings
    ledger: Ledger
    keys: Keys
    deferred: Deferred
    observer: Observer
    stop: threading.Event

    def name_of(self, entry: Entry) -> str:
        """What the log calls a file."""
        return self.keys.of(entry.relative).hex()
