"""Where a server listens: one TCP socket, bound before the model is loaded, so that a taken port is told at once."""

import ipaddress
import socket

from cxr_edge.errors import EnvironmentUnusable, UsageError


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it; a name counts when all its addresses do.

    Raises:
        UsageError: there is no such host.
    """
    return all(ipaddress.ip_address(address[0].partition("%")[0]).is_loopback for _, address in _addresses(host, 0))


def bind(host: str, port: int) -> socket.socket:
    """A socket bound to the host's first address, not listening yet.

    Args:
        host: a name or an address; `::1` and `localhost` are fine.
        port: 0 for one that the system chooses.

    Raises:
        UsageError: there is no such host.
        EnvironmentUnusable: the address is taken or not this machine's.
    """
    family, address = _addresses(host, port)[0]
    # the protocol is named, else asyncio leaves Nagle's delay on: 40 ms for each answer on a connection kept open
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):  # Windows: else another program may take the port over
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:  # a restart need not wait for connections of before to be forgotten
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        message = f"cannot listen on {host} port {port}: {error.strerror or error}"
        raise EnvironmentUnusable(message) from None
    return bound


def url_of(bound: socket.socket) -> str:
    """The address of the page, with the port that was really bound."""
    host, port = bound.getsockname()[:2]
    if ipaddress.ip_address(host.partition("%")[0]).is_unspecified:
        host = "[::1]" if ":" in host else "127.0.0.1"  # what this machine itself can open
    elif ":" in host:
        host = f"[{host}]"
    return f"http://{host}:{port}/"


def _addresses(host: str, port: int) -> list[tuple[int, tuple[str, int]]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        message = f"there is no host {host!r}; need a name or an address of this machine"
        raise UsageError(message) from None
    # IPv4 first: every client speaks it
    ordered = sorted(found, key=lambda entry: entry[0] != socket.AF_INET)
    return [(family, address) for family, _, _, _, address in ordered]  # type: ignore[misc]
