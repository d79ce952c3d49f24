"""What this machine refuses for a while: told, shown as the service's state, and tried again after growing pauses."""

from typing import Final

from cxr_edge.errors import EnvironmentUnusable
from cxr_edge.watch.condition import Condition
from cxr_edge.watch.events import Fault, FaultCode, Observer, State
from cxr_edge.watch.outbox_fault import OutboxFault, OutboxUnavailable
from cxr_edge.watch.state_errors import StateFault, StateUnusable

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
_DOUBLINGS: Final = 30  # more would not fit into a float in the end

Refusal = OutboxUnavailable | StateUnusable | EnvironmentUnusable


class InferenceFails(EnvironmentUnusable):
    """One image after the other fails in the network: it is the engine that failed, not the images."""


class Patience:
    """The tries of one part of the service; used by one thread."""

    def __init__(self, source: str, condition: Condition, observer: Observer) -> None:
        """Begin without a failure; `source` tells this part's fault from those of others."""
        self._source, self._condition, self._observer = source, condition, observer
        self._failures = 0

    def failed(self, error: Refusal) -> float:
        """Tell it and show it; gives the pause before the next try, in seconds."""
        pause = pause_after(self._failures)
        self._failures += 1
        code = code_of(error)
        self._condition.fail(self._source, state_of(error), code)
        kind = type(error).__name__ if isinstance(error, EnvironmentUnusable) else None
        self._observer.observe(Fault(code, kind, pause))
        return pause

    def succeeded(self) -> None:
        """It works, again or still."""
        if self._failures:
            self._failures = 0
            self._condition.recover(self._source)


def pause_after(failures: int) -> float:
    """Seconds to wait after one more failure than these: 1, 2, 4, ... 60."""
    return min(FIRST_PAUSE_S * 2.0 ** min(failures, _DOUBLINGS), LONGEST_PAUSE_S)


def state_of(error: Refusal) -> State:
    """What the service is in as long as this lasts."""
    if isinstance(error, OutboxUnavailable):
        return "outbox_unavailable"
    return "state_unavailable" if isinstance(error, StateUnusable) else "decoding_unavailable"


def code_of(error: Refusal) -> FaultCode:
    """What the log and the health file call it."""
    if isinstance(error, StateUnusable):
        return _STATE_CODES[error.kind]
    if isinstance(error, OutboxUnavailable):
        return _OUTBOX_CODES[error.kind]
    return "model_failed" if isinstance(error, InferenceFails) else "decoder_failed"


_STATE_CODES: Final[dict[StateFault, FaultCode]] = {
    "full": "state_full",
    "read_only": "state_read_only",
    "busy": "state_busy",
    "other": "state_other",
}
_OUTBOX_CODES: Final[dict[OutboxFault, FaultCode]] = {
    OutboxFault.FULL: "outbox_full",
    OutboxFault.READ_ONLY: "outbox_read_only",
    OutboxFault.AWAY: "outbox_away",
    OutboxFault.OTHER: "outbox_other",
}
