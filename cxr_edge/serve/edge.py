"""Around every request: security headers, the log, counts, defects as 500, and bodies that nobody wants to read."""

import asyncio
from collections.abc import Mapping
from time import perf_counter

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cxr_edge.serve.log import Level, Log, place_of
from cxr_edge.serve.metrics import METHODS, Metrics
from cxr_edge.serve.problem import PROBLEM_KEY, ProblemError, defect, problem_response, stopping

LINGER_SECONDS = 2.0
CLIENT_GONE = 499  # nobody reads it; in the log and the metrics, as nginx has it
SERVER_ERROR, CLIENT_ERROR = 500, 400
QUIET = ("/health", "/ready", "/metrics", "/", "/assets/{name}")  # successes of these would fill the log
UNMATCHED = "unmatched"
SECURITY_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-embedder-policy": "require-corp",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
    "cache-control": "no-store",
}


class Edge:
    """The outermost middleware."""

    def __init__(self, app: ASGIApp, log: Log, metrics: Metrics, templates: Mapping[object, str]) -> None:
        """Wrap `app`; `templates` tells the path template of an endpoint."""
        self._app, self._log, self._metrics, self._templates = app, log, metrics, templates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; raises nothing."""
        if scope["type"] != "http":
            return
        began, exchange = perf_counter(), _Exchange(scope, receive, send)
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except asyncio.CancelledError:  # the grace time of a stop is over
            await exchange.fail(stopping())
        except Exception as error:  # noqa: BLE001 - the edge of a request
            self._log.line("error", "defect", error=type(error).__name__, place=place_of(error))
            await exchange.fail(defect())
        self._note(scope, exchange.status or CLIENT_GONE, perf_counter() - began)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        path = self._templates.get(scope.get("endpoint"), UNMATCHED)
        self._metrics.count_request(scope["method"], path, status, seconds)
        if status < CLIENT_ERROR and path in QUIET:
            return
        reason, instance = scope.get(PROBLEM_KEY, (None, None))
        level: Level = "error" if status == SERVER_ERROR else "warning" if status >= CLIENT_ERROR else "info"
        method = scope["method"] if scope["method"] in METHODS else "other"
        milliseconds = round(seconds * 1e3, 1)
        self._log.line(
            level, "request", method=method, path=path, status=status, ms=milliseconds, reason=reason, instance=instance
        )


class _Exchange:
    """One request and its answer. An answer before the body was read ends the connection, in order."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        headers = Headers(scope=scope)
        self._body_left = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        self._body_held_back = headers.get("expect", "").lower() == "100-continue"
        self.status: int | None = None

    async def receive(self) -> Message:
        self._body_held_back = False
        message = await self._receive()
        self._body_left = self._body_left and message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            await self._send({**message, "headers": self._headers(message)})
        elif self._body_left and not message.get("more_body", False):
            await self._send({**message, "more_body": True})
            await self._linger()
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
        else:
            await self._send(message)

    async def fail(self, problem: ProblemError) -> None:
        """Answer with a problem, unless an answer has begun."""
        if self.status is None:
            await problem_response(self._scope, problem)(self._scope, self.receive, self.send)

    def _headers(self, message: Message) -> list[tuple[bytes, bytes]]:
        given = [(name.lower(), value) for name, value in message.get("headers", [])]
        names = {name for name, _ in given}
        ours = ((name.encode(), value.encode()) for name, value in SECURITY_HEADERS.items())
        given += [(name, value) for name, value in ours if name not in names]
        return [*given, (b"connection", b"close")] if self._body_left else given

    async def _linger(self) -> None:
        """Read on a little: closing at once would reset the connection, and the client might lose the answer."""
        if self._body_held_back:
            return
        try:
            async with asyncio.timeout(LINGER_SECONDS):
                while self._body_left and (await self.receive())["type"] == "http.request":
                    pass
        except TimeoutError:
            return
