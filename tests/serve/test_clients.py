"""Clients that mean it no good, and how the server as a process bears them."""

import json
import os
import select
import socket
import sys
import threading
import time
from pathlib import Path

import pytest
from marked import CYRILLIC, TEXT, UIDS, hostile
from serving import File, Server, answer_on, form, memory_mb, slow_server, until


def test_more_than_it_can_hold(tiny: Path, image: File) -> None:
    with Server(tiny, "--queue", 1) as server:
        with server.connection() as first:
            first.sendall(server.head(1000) + b"--")
            until(lambda: server.gauge("requests_held") == 1)
            for size in (10, 5_000_000):
                refused = server.predict(("big", bytes(size)))
                assert (refused.status_code, refused.json()["reason"]) == (503, "busy")
                assert refused.headers["retry-after"] == "1"
        server.is_well(image)


def test_a_body_before_it_is_asked_for(tiny: Path) -> None:
    with Server(tiny, "--queue", 1) as server, server.connection() as first, server.connection() as second:
        first.sendall(server.head(1000) + b"--")
        until(lambda: server.gauge("requests_held") == 1)
        second.sendall(server.head(50_000_000, expect=True))
        assert answer_on(second)[0] == 503  # and no 100 Continue


def test_ten_gigabytes(tiny: Path, image: File) -> None:
    """Announced or not, they are neither read to the end nor kept."""
    with Server(tiny, "--max-body", "20MB") as server:
        server.is_well(image)
        before = memory_mb(server.process.pid) if sys.platform == "linux" else 0
        assert _send_much(server, server.head(10_000_000_000), b"") < 10_000_000_000
        chunked = server.head(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
        first = form(("a", b"")).partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
        head = chunked + b"%x\r\n%s\r\n" % (len(first), first)
        assert _send_much(server, head, b"10000\r\n") < 10_000_000_000
        server.is_well(image)
        if sys.platform == "linux":
            assert memory_mb(server.process.pid) < before + 100


def _send_much(server: Server, head: bytes, before_each: bytes) -> int:
    """Send until the server has had enough; gives how many bytes that took. It must have answered 413."""
    piece = before_each + bytes(65_536) + (b"\r\n" if before_each else b"")
    with server.connection() as connection:
        connection.sendall(head)
        sent = 0
        try:
            while sent < 10_000_000_000:
                connection.sendall(piece)
                sent += 65_536
        except (BrokenPipeError, ConnectionResetError):
            pass
        if sys.platform == "linux":  # elsewhere a reset takes the answer along
            assert answer_on(connection)[0] == 413
        return sent


def test_an_answer_before_the_end_of_the_body_arrives(tiny: Path) -> None:
    with Server(tiny, "--max-body", "1MB") as server:
        for path in ("predict", "nothing"):
            with server.connection() as connection:
                head = server.head(30_000_000).replace(b"/predict", f"/{path}".encode())
                connection.sendall(head + bytes(30_000_000))
                status, response, _ = answer_on(connection)
                assert status == (413 if path == "predict" else 404)
                assert response.headers["connection"] == "close"
                assert connection.recv(1) == b""


def test_clients_that_trickle(tiny: Path, image: File) -> None:
    """A header that does not end, a body that pauses, one that comes too slowly."""
    with Server(tiny) as server:
        with server.connection() as header, server.connection() as pausing, server.connection() as slow:
            header.sendall(b"POST /predict HTTP/1.1\r\nHost: ")
            pausing.sendall(server.head(1000) + b"--")
            slow.sendall(server.head(1_000_000) + form(("a", b"")).partition(b"\r\n\r\n")[0] + b"\r\n\r\n")
            feeding = threading.Thread(target=_feed, args=(slow,))
            feeding.start()
            assert server.predict(image).status_code == 200
            assert answer_on(pausing)[2]["reason"] == "too_slow"
            assert header.recv(1) == b""
            assert answer_on(slow)[2]["reason"] == "too_slow"
            feeding.join()
        server.is_well(image)


def _feed(connection: socket.socket) -> None:
    try:
        for _ in range(200):
            connection.sendall(b"-" * 100)
            time.sleep(0.1)
    except OSError:
        return


def test_clients_that_disconnect(tiny: Path, image: File) -> None:
    with Server(tiny, script=slow_server(0.5)) as server:
        body = form(image)
        for cut in (1, 50, len(body) // 2, len(body) - 1, len(body)):
            with server.connection() as connection:
                connection.sendall(server.head(len(body)) + body[:cut])
        server.is_well(image)
        until(lambda: server.gauge("images_waiting") + server.gauge("images_at_work") == 0)
        left = [line for line in server.said if '"status": 499' in line]
        assert len(left) == 5


def test_a_client_that_does_not_read(tiny: Path, image: File) -> None:
    with Server(tiny) as server, server.connection() as connection:
        request = f"GET /model HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n\r\n".encode()
        connection.sendall(request * 200)
        server.is_well(image)


def test_nonsense(tiny: Path, image: File) -> None:
    with Server(tiny) as server:
        for request in (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),  # a TLS hello
            b"GET / HTTP/1.1\r\n\r\n",
            b"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n",
            b"GET / HTTP/1.0\r\n\r\n",
            b"X" * 100_000,
            b"GET /" + b"a" * 60_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n",
            b"GET /../../etc/passwd HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\n\r\n" % server.port,
        ):
            with server.connection() as connection:
                connection.sendall(request)
                answer = connection.recv(100)
                assert answer.split()[1] in (b"400", b"404", b"421"), request[:50]
        server.is_well(image)
        assert "Traceback" not in "".join(server.said)


def test_too_many_connections(tiny: Path, image: File) -> None:
    with Server(tiny) as server:
        connections = [socket.create_connection((server.host, server.port)) for _ in range(300)]
        until(lambda: len(select.select(connections, [], [], 1.0)[0]) >= 44)
        refused = select.select(connections, [], [], 1.0)[0]
        assert len(refused) == 300 - 256
        assert all(connection.recv(100).startswith(b"HTTP/1.1 503") for connection in refused)
        for connection in connections:
            connection.close()
        server.is_well(image)


def test_no_patient_data_in_the_log(tiny: Path) -> None:
    """Files full of marks, in their names too: answers may hold some, the log holds none."""
    with Server(tiny) as server:
        for name, content in hostile():
            server.predict((f"{TEXT} {CYRILLIC} {name}.dcm", content), query="?heatmap=1")
        server.predict(*((f"{TEXT}{name}", content) for name, content in hostile()))
        if os.name == "posix":
            server.ends()
        server.process.kill()
        said = server.said_all()
    assert said.count('"event": "request"') > 20
    for mark in (TEXT, CYRILLIC, UIDS, "dcm"):
        assert mark.lower() not in said.lower()


def test_malformed_files(tiny: Path, image: File, data_folder: Path) -> None:
    folder = data_folder / "dicom" / "malformed"
    if not folder.is_dir():
        pytest.skip("needs the malformed files")
    files = sorted(path for path in folder.iterdir() if path.is_file())
    with Server(tiny) as server:
        alone = {path.name: server.predict((path.name, path.read_bytes())) for path in files}
        assert {response.status_code for response in alone.values()} <= {200, 422}
        assert sum(response.status_code == 422 for response in alone.values()) > len(files) / 2
        several = server.predict(*((path.name, path.read_bytes()) for path in files)).json()["results"]
        for path, row in zip(files, several, strict=True):
            problem = alone[path.name].json()
            assert row["status"] == (
                "classified" if "status" not in problem or problem["status"] != 422 else "rejected"
            )
            assert "reason" not in row or row["reason"]["code"] == problem["reason"]
        server.is_well(image)
        assert not [line for line in map(json.loads, _json_lines(server)) if line["event"] == "defect"]


def _json_lines(server: Server) -> list[str]:
    return [line for line in server.said if line.startswith("{")]
