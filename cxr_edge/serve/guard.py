"""Who may ask: the Host and Origin headers, and the token. A pure ASGI middleware."""

import hmac
import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from cxr_edge.serve.problem import ProblemError, problem_response
from cxr_edge.serve.settings import Settings

LOOPBACK_NAME = "localhost"
HTTP_PORT = 80
WITHOUT_TOKEN = ("/", "/health", "/ready")  # and /assets/: the page must load before it can ask for the token
ASSETS = "/assets/"


class Guard:
    """Lets through what comes from the own page or from a program that knows the token.

    A page of another site that a browser was lured to cannot ask (Origin), also when its name was bound anew to this
    address (Host: DNS rebinding).
    """

    def __init__(self, app: ASGIApp, settings: Settings, port: int, *, is_loopback: bool) -> None:
        """Guard `app`, which listens on `port`."""
        self._app = app
        self._token = None if settings.token is None else settings.token.encode()
        self._allowed = frozenset(name.lower() for name in settings.allowed_hosts)
        self._port, self._is_loopback = port, is_loopback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        try:
            self._check(scope["path"], Headers(scope=scope))
        except ProblemError as problem:
            await problem_response(scope, problem)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _check(self, path: str, headers: Headers) -> None:
        if "content-length" in headers and "transfer-encoding" in headers:
            message = "the header tells the body's length in two ways"  # a proxy may believe the other one: smuggling
            raise ProblemError(400, "bad_request", message)
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        if len(hosts) != 1 or not self._is_own(hosts[0].lower()):
            message = "the Host header is none of this server's names; start it with --allow-host NAME for another one"
            raise ProblemError(421, "foreign_host", message)
        own = {f"http://{hosts[0].lower()}", f"https://{hosts[0].lower()}"}  # https: a proxy that speaks TLS
        if any(origin.lower() not in own for origin in origins):
            raise ProblemError(403, "foreign_origin", "the request comes from a page of another site")
        if self._token is not None and not (path in WITHOUT_TOKEN or path.startswith(ASSETS)):
            self._check_token(headers.get("authorization", ""), self._token)

    def _is_own(self, host: str) -> bool:
        name, port = _split(host)
        if name in self._allowed or host in self._allowed:
            return True  # behind a proxy the port is the proxy's
        if (port or HTTP_PORT) != self._port:
            return False
        # a rebound name is a name: an address can only be this machine's own
        return name == LOOPBACK_NAME or _is_address(name, loopback_only=self._is_loopback)

    @staticmethod
    def _check_token(authorization: str, token: bytes) -> None:
        scheme, _, given = authorization.partition(" ")
        if scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token):
            return
        headers = {"WWW-Authenticate": 'Bearer realm="cxr-edge"'}
        message = "this server needs its token: Authorization: Bearer TOKEN"
        raise ProblemError(401, "token_required", message, headers=headers)


def _split(host: str) -> tuple[str, int | None]:
    """Name and port of a Host header; an IPv6 address keeps its brackets. A name that is none: empty."""
    try:
        parts = urlsplit(f"//{host}")
        port = parts.port
    except ValueError:
        return "", None
    if parts.netloc != host or parts.username is not None or not parts.hostname:
        return "", None
    return (f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname), port


def _is_address(name: str, *, loopback_only: bool) -> bool:
    try:
        address = ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return address.is_loopback or not loopback_only
