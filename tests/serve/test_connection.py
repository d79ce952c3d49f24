"""Connections: how much is read at once, how answers leave, and what is no HTTP."""

import asyncio
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from serving import Api, File, Server, answer_on, form
from uvicorn.server import ServerState

from cxr_edge.serve import connection
from cxr_edge.serve.connection import READ_BYTES, BoundedConnection
from cxr_edge.serve.listening import bind
from cxr_edge.serve.settings import LEAST_BYTES_PER_SECOND

# tells how much a connection was given at once
TELLING = """
import sys
from cxr_edge.serve.connection import BoundedConnection
genuine = BoundedConnection.data_received
def told(self, data):
    sys.stderr.write(f"read {len(data)}\\n")
    genuine(self, data)
BoundedConnection.data_received = told
from cxr_edge.cli import main
main()
"""


def test_answers_do_not_wait_for_acknowledgements() -> None:
    """Nagle's algorithm holds the second piece of an answer back until the client's delayed acknowledgement, 40 ms."""

    async def scenario() -> int:
        options: asyncio.Queue[int] = asyncio.Queue()

        async def accepted(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            taken = writer.get_extra_info("socket")
            options.put_nowait(taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        bound = bind("127.0.0.1", 0)
        async with await asyncio.start_server(accepted, sock=bound):
            _, writer = await asyncio.open_connection(*bound.getsockname())
            option = await options.get()
            writer.close()
            return option

    assert asyncio.run(scenario()) != 0


@pytest.mark.skipif(sys.platform == "win32", reason="its event loop reads 64 kB at once in any case")
def test_no_client_is_read_for_long(tiny: Path) -> None:
    """A quarter of a megabyte in chunks of one byte takes a third of a second, in which nobody else is served."""
    with Server(tiny, script=TELLING) as server:
        server.predict(("a", bytes(5_000_000)))
        server.process.kill()
        read = [int(line.split()[1]) for line in server.said_all().splitlines() if line.startswith("read ")]
    assert sum(read) > 5_000_000
    assert max(read) <= READ_BYTES


@pytest.mark.parametrize("path", ["predict", "health"])
def test_two_lengths(tiny: Path, image: File, path: str) -> None:
    """RFC 9112, 6.1: a proxy may believe the other one, so what follows could be another client's request."""
    body = form(image)
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    with Server(tiny) as server, server.connection() as client:
        head = server.head(5).replace(b"/predict", f"/{path}".encode())
        head = head.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.sendall(head + chunked + f"GET /health HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n\r\n".encode())
        status, response, problem = answer_on(client)
        assert (status, problem["reason"]) == (400, "bad_request")
        assert response.headers["connection"] == "close"
        assert client.recv(1) == b""  # what came behind is not answered
        server.is_well(image)


@pytest.mark.parametrize("pause", [False, True])
@pytest.mark.parametrize("path", ["predict", "nothing"])
def test_broken_chunks_are_no_defect(tiny: Path, image: File, path: str, *, pause: bool) -> None:
    """Neither before an answer nor while the rest of a body is read on behind it."""
    with Server(tiny) as server:
        with server.connection() as client:
            head = server.head(0).replace(b"/predict", f"/{path}".encode())
            head = head.replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
            client.sendall(head + b"5\r\n--fro\r\n")
            if pause and path == "nothing":
                assert answer_on(client)[0] == 404
            client.sendall(b"no chunk\r\n")
            while client.recv(4096):
                pass
        server.is_well(image)
        server.process.kill()
        assert '"event": "defect"' not in server.said_all()


class _Transport:
    """A client that takes so many bytes of its answer each time it is looked at."""

    def __init__(self, pace: float) -> None:
        self.left, self.pace, self.looks, self.aborted = 10_000_000.0, pace, 0, False

    def get_write_buffer_size(self) -> float:
        self.looks += 1
        self.left -= self.pace
        return self.left

    def get_extra_info(self, _name: str) -> Any:
        return None

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True


@pytest.mark.parametrize("faster", [True, False])
def test_slow_readers_are_told_from_those_that_do_not_read(
    api: Api, monkeypatch: pytest.MonkeyPatch, *, faster: bool
) -> None:
    monkeypatch.setattr(connection, "WRITE_SECONDS", 0.02)
    transport = _Transport(0.02 * LEAST_BYTES_PER_SECOND * (1.1 if faster else 0.9))

    async def scenario() -> None:
        taken = BoundedConnection(uvicorn.Config(api.application.asgi, log_config=None), ServerState(), {})
        taken.connection_made(transport)  # type: ignore[arg-type]
        taken.pause_writing()
        async with asyncio.timeout(30):
            while transport.looks < 5 and not transport.aborted:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)
        taken.resume_writing()
        looks = transport.looks
        await asyncio.sleep(0.1)
        assert transport.looks == looks  # nobody is watched who is up to date
        for timer in (taken._reading, taken._writing):  # noqa: SLF001 - not left to the loop's end
            if timer is not None:
                timer.cancel()

    asyncio.run(scenario())
    assert transport.aborted == (not faster)
