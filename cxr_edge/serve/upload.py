"""A request's body -> files in memory, within a size and a pace."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator

from starlette.datastructures import Headers
from starlette.types import Message, Receive

from cxr_edge.serve.admission import Place
from cxr_edge.serve.form import Form, Upload
from cxr_edge.serve.leaving import ClientGoneError
from cxr_edge.serve.problem import ProblemError, stopping
from cxr_edge.serve.settings import IDLE_SECONDS, LEAST_BYTES_PER_SECOND, Settings

PACE_AFTER_SECONDS = 10.0  # a slow start is no slow client


class Uploads:
    """Reads bodies; `stop` ends those that are still coming."""

    def __init__(self, settings: Settings, idle_seconds: float = IDLE_SECONDS) -> None:
        """Read within the settings' limits; `idle_seconds` without one byte is too slow."""
        self._settings = settings
        self._idle_seconds = idle_seconds
        self._waiting: set[asyncio.Timeout] = set()
        self._stopping = False

    def stop(self) -> None:
        """End all uploads that are not complete, with 503."""
        self._stopping = True
        for timeout in self._waiting:
            if not timeout.expired():  # one that expires in this very moment cannot be moved
                timeout.reschedule(0.0)  # long past

    def check_header(self, headers: Headers) -> int:
        """The body's announced size; 0 where none is.

        Raises:
            ProblemError: 415 no multipart form; 413 too large.
        """
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "multipart/form-data":
            message = "the body is no multipart form; need multipart/form-data with one or several fields named file"
            raise ProblemError(415, "no_multipart_form", message)
        announced = headers.get("content-length", "0")
        size = int(announced) if announced.isascii() and announced.isdigit() else 0
        if size > self._settings.max_body_bytes:
            raise self._too_large()
        return size

    async def read(self, headers: Headers, receive: Receive, place: Place) -> list[Upload]:
        """The files of one request, in order.

        Raises:
            ProblemError: 400, 408, 413 or 503; docs/reference/http-api.md tells them.
            ClientGoneError: the client went away.
        """
        with contextlib.closing(Form(headers["content-type"], self._settings.max_files)) as form:
            async for chunk in self._chunks(receive, place):
                form.feed(chunk)
            return form.finish()

    async def _chunks(self, receive: Receive, place: Place) -> AsyncGenerator[bytes, None]:
        loop = asyncio.get_running_loop()
        began, received = loop.time(), 0
        while True:
            message = await self._next(receive)
            if message["type"] != "http.request":
                raise ClientGoneError
            chunk = message.get("body", b"")
            received += len(chunk)
            if received > self._settings.max_body_bytes:
                raise self._too_large()
            place.grow(len(chunk))
            if loop.time() - began > PACE_AFTER_SECONDS + received / LEAST_BYTES_PER_SECOND:
                raise _too_slow()
            yield chunk
            if not message.get("more_body", False):
                return

    async def _next(self, receive: Receive) -> Message:
        if self._stopping:
            raise stopping()
        try:
            async with asyncio.timeout(self._idle_seconds) as timeout:
                self._waiting.add(timeout)
                try:
                    return await receive()
                finally:
                    self._waiting.discard(timeout)
        except TimeoutError:
            raise self._cut_off() from None

    def _cut_off(self) -> ProblemError:
        return stopping() if self._stopping else _too_slow()

    def _too_large(self) -> ProblemError:
        message = f"the body is larger than {self._settings.max_body_bytes:,} bytes; send fewer or smaller files"
        return ProblemError(413, "body_too_large", message)


def _too_slow() -> ProblemError:
    message = f"the body came too slowly; need {LEAST_BYTES_PER_SECOND:,} bytes a second and no longer pauses"
    return ProblemError(408, "too_slow", message)
