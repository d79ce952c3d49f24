"""uvicorn's HTTP/1.1 connection, which by itself waits for ever: for a header, for a reader, in any number."""

import asyncio
import math

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from cxr_edge.serve.settings import LEAST_BYTES_PER_SECOND, RETRY_SECONDS

MOST_CONNECTIONS = 256
READ_BYTES = 32 * 1024  # at once; asyncio's 256 KiB in chunks of one byte keep everybody else waiting for 0.3 s
HEADER_SECONDS = 10.0  # from the connection, or from the first byte of a further request, to the end of its header
WRITE_SECONDS = 30.0  # after which it is seen how much of an answer a slow client has taken
TOO_MANY = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: %d\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    % RETRY_SECONDS
)


class BoundedConnection(H11Protocol):
    """Ends connections that only wait."""

    _reading: asyncio.TimerHandle | None = None
    _writing: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, or turn it away."""
        super().connection_made(transport)
        transport.max_size = READ_BYTES  # type: ignore[attr-defined] # asyncio's own on POSIX, without effect elsewhere
        if len(self.connections) > MOST_CONNECTIONS:
            transport.write(TOO_MANY)
            transport.close()
        else:
            self._watch_header()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers."""
        for timer in (self._reading, self._writing):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes; a header that has begun has to end in time."""
        super().data_received(data)
        self._watch_header()

    def pause_writing(self) -> None:
        """The client does not read: wait a while."""
        super().pause_writing()
        if self._writing is None:
            self._watch_reader()

    def resume_writing(self) -> None:
        """It does again."""
        super().resume_writing()
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None

    def send_400_response(self, msg: str) -> None:
        """Tell that the rest of the request is no HTTP; what is at work for it has nobody to answer any more."""
        try:
            super().send_400_response(msg)
        except h11.LocalProtocolError:  # an answer has begun
            self.transport.close()
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    def _watch_reader(self, left_before: float = math.inf) -> None:
        left = self.transport.get_write_buffer_size()
        if left > left_before - WRITE_SECONDS * LEAST_BYTES_PER_SECOND:
            self.transport.abort()
        else:
            self._writing = self.loop.call_later(WRITE_SECONDS, self._watch_reader, left)

    def _watch_header(self) -> None:
        cycle: RequestResponseCycle | None = self.cycle  # None before the first request, whatever its type says
        waits = cycle is None or cycle.response_complete
        if waits and self._reading is None and not self.transport.is_closing():
            self._reading = self.loop.call_later(HEADER_SECONDS, self.transport.abort)
        elif not waits and self._reading is not None:
            self._reading.cancel()
            self._reading = None
