"""Results that the page comes back for: picture, heat map, report. In memory, for a while, never on disk."""

import secrets
from collections import OrderedDict
from collections.abc import Callable
from time import monotonic

from cxr_edge.serve.settings import MB
from cxr_edge.types import Prediction

MOST_RESULTS = 200
MOST_BYTES = 256 * MB
KEPT_SECONDS = 3600.0  # since it was last asked for
ID_BYTES = 16


class ResultStore:
    """Predictions with their radiographs by an id that cannot be guessed; the least recently used go first.

    Used by the event loop alone.

    Attributes:
        held_bytes: of all pixels and maps together.
    """

    def __init__(
        self,
        *,
        most_results: int = MOST_RESULTS,
        most_bytes: int = MOST_BYTES,
        kept_seconds: float = KEPT_SECONDS,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Begin empty."""
        self._most_results, self._most_bytes, self._kept_seconds = most_results, most_bytes, kept_seconds
        self._clock = clock
        self._results: OrderedDict[str, tuple[Prediction, float]] = OrderedDict()  # with the time of the last use
        self.held_bytes = 0

    def __len__(self) -> int:
        """How many there are."""
        return len(self._results)

    def put(self, prediction: Prediction) -> str:
        """Keep one; gives its id, 128 random bits as 32 hexadecimal digits."""
        name = secrets.token_hex(ID_BYTES)
        self._results[name] = (prediction, self._clock())
        self.held_bytes += _bytes_of(prediction)
        while len(self._results) > self._most_results or self.held_bytes > self._most_bytes:
            self._drop_oldest()
        return name

    def get(self, name: str) -> Prediction | None:
        """The one of that id; None where there is none, or none any more."""
        self.sweep()
        found = self._results.get(name)
        if found is None:
            return None
        self._results[name] = (found[0], self._clock())
        self._results.move_to_end(name)
        return found[0]

    def sweep(self) -> None:
        """Forget what nobody asked for in a long time."""
        while self._results and next(iter(self._results.values()))[1] + self._kept_seconds <= self._clock():
            self._drop_oldest()

    def clear(self) -> None:
        """Forget everything."""
        self._results.clear()
        self.held_bytes = 0

    def _drop_oldest(self) -> None:
        _, (prediction, _) = self._results.popitem(last=False)
        self.held_bytes -= _bytes_of(prediction)


def _bytes_of(prediction: Prediction) -> int:
    pixels = 0 if prediction.radiograph is None else prediction.radiograph.pixels.nbytes
    return pixels + (0 if prediction.activation_map is None else prediction.activation_map.nbytes)
