"""How much may be on its way at once: requests, and the bytes of their bodies. Used by the event loop alone."""

import contextlib
from collections.abc import Iterator

from cxr_edge.serve.problem import busy


class Admission:
    """Counts requests from before their body is read until they are answered, and the bytes that they hold.

    Attributes:
        requests: held now.
        held_bytes: of their bodies, now.
    """

    def __init__(self, requests: int, held_bytes: int) -> None:
        """Admit so many requests, and so many bytes of all together."""
        self._most_requests, self._most_bytes = requests, held_bytes
        self.requests = self.held_bytes = 0

    @contextlib.contextmanager
    def place(self, announced_bytes: int) -> Iterator["Place"]:
        """A place for one request, given back in the end.

        Args:
            announced_bytes: of its body, as its header says; 0 where it says nothing.

        Raises:
            ProblemError: 503, there is no room.
        """
        if self.requests >= self._most_requests:
            message = f"{self.requests} requests are being worked on already; please try again"
            raise busy(message)
        self.check_room(announced_bytes)
        place = Place(self)
        self.requests += 1
        try:
            yield place
        finally:
            self.requests -= 1
            self.held_bytes -= place.held_bytes

    def check_room(self, more_bytes: int) -> None:
        """Refuse what does not fit any more.

        Raises:
            ProblemError: 503.
        """
        if self.held_bytes + more_bytes > self._most_bytes:
            message = "other requests hold all the memory for uploads; please try again"
            raise busy(message)


class Place:
    """One request's place; counts the bytes that really came, so that a slow client reserves none."""

    def __init__(self, admission: Admission) -> None:
        """Hold nothing yet."""
        self._admission = admission
        self.held_bytes = 0

    def grow(self, more_bytes: int) -> None:
        """Count bytes that came.

        Raises:
            ProblemError: 503, they do not fit beside those of other requests.
        """
        self._admission.check_room(more_bytes)
        self._admission.held_bytes += more_bytes
        self.held_bytes += more_bytes
