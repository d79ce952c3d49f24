"""The server as a process: its start, its end, and clients that mean it no good."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from marked import CYRILLIC, TEXT, UIDS, hostile
from serving import PATIENCE_S, File, Server, answer_on, form, memory_mb, until
from volumes import ENVIRONMENT

SIGNALS = pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")
# a decoder that takes two seconds, and says that it has begun
SLOW = """
import sys, time
from cxr_edge.classifier import Classifier
genuine = Classifier.classify_many
def slow(self, images, **options):
    sys.stderr.write("begun\\n")
    time.sleep(float(SECONDS))
    return genuine(self, images, **options)
Classifier.classify_many = slow
from cxr_edge.cli import main
main()
"""


@pytest.fixture
def image(png: bytes) -> File:
    return ("a.png", png)


def _slow(seconds: float) -> str:
    return SLOW.replace("SECONDS", repr(str(seconds)))


def _run(*arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "cxr_edge", "serve", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT, timeout=PATIENCE_S)


# ---- start


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_it_tells_its_address(tiny: Path, image: File, host: str) -> None:
    if host == "::1" and not _has_ipv6():
        pytest.skip("this machine has no IPv6")
    with Server(tiny, host=host) as server:
        assert server.url.startswith("http://[::1]:" if host == "::1" else "http://127.0.0.1:")
        assert server.predict(image).status_code == 200
        assert server.get("").headers["content-type"].startswith("text/html")


def _has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def test_a_port_that_is_taken(tiny: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        ended = _run("--port", other.getsockname()[1], "--model", tiny)
    assert ended.returncode == 5
    assert "cannot listen on 127.0.0.1 port" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--host", "0.0.0.0"], 2, "that needs --token-file"),  # noqa: S104 - refused
        (["--host", "::"], 2, "that needs --token-file"),
        (["--host", "no such host"], 2, "there is no host"),
        (["--token-file", "missing"], 2, "cannot read the token file"),
        (["--max-body", "100"], 2, "with its unit"),
        (["--max-body", "1kB"], 2, "100kB to 2GB"),
        (["--allow-host", "http://a"], 2, "is no host name"),
        (["--model", "missing.onnx"], 5, "missing.onnx"),
    ],
)
def test_options_that_cannot_be(tmp_path: Path, options: list[str], code: int, words: str) -> None:
    ended = _run("--port", 0, *options)
    assert (ended.returncode, words in ended.stderr) == (code, True), ended.stderr
    assert "Traceback" not in ended.stderr
    assert tmp_path.exists()


@pytest.mark.parametrize("token", ["", "short", "x" * 31, "x" * 31 + "é", "x x" * 20, "x" * 20_000])
def test_tokens_that_are_none(tmp_path: Path, token: str) -> None:
    (tmp_path / "token").write_text(token, encoding="utf-8")
    ended = _run("--port", 0, "--token-file", tmp_path / "token")
    assert (ended.returncode, "holds no token" in ended.stderr) == (2, True)


def test_reachable_from_elsewhere(tmp_path: Path, tiny: Path, image: File) -> None:
    token = tmp_path / "token"
    token.write_text("t" * 40 + "\n", encoding="ascii")
    token.chmod(0o644)
    with Server(tiny, "--token-file", token, host="0.0.0.0") as server:  # noqa: S104 - with a token
        assert server.predict(image).status_code == 401
        assert server.predict(image, Authorization=f"Bearer {'t' * 40}").status_code == 200
        assert server.get("model", Host="rebound.example").status_code == 421
        server.process.kill()
    said = server.said_all()
    assert "without TLS" in said
    assert os.name != "posix" or "others may read the token file" in said
    assert "tttt" not in said


def test_without_its_packages(tiny: Path) -> None:
    script = "import sys; sys.modules['uvicorn'] = None\nfrom cxr_edge.cli import main; main()"
    command = [sys.executable, "-c", script, "serve", "--model", str(tiny)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT)
    assert ended.returncode == 5
    assert "pip install 'cxr-edge[serve]'" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


# ---- end


@SIGNALS
@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_a_signal_ends_it_well(tiny: Path, image: File, number: str) -> None:
    with Server(tiny) as server:
        assert server.predict(image).status_code == 200
        assert server.ends(getattr(signal, number)) == 0
        assert "Traceback" not in server.said_all()


@SIGNALS
def test_what_is_at_work_is_finished(tiny: Path, image: File) -> None:
    with Server(tiny, script=_slow(1.5)) as server, ThreadPoolExecutor(6) as clients:
        answers = [clients.submit(server.predict, image) for _ in range(6)]
        until(lambda: server.gauge("requests_held") == 6)
        with server.connection() as trickling:
            trickling.sendall(server.head(1000) + b"--")
            until(lambda: server.gauge("requests_held") == 7)
            assert server.ends() == 0
            status, _, problem = answer_on(trickling)
            assert (status, problem["reason"]) == (503, "stopping")
        assert [answer.result().status_code for answer in answers] == [200] * 6


@SIGNALS
def test_what_takes_longer_than_the_grace_time_is_cut_off(tiny: Path, image: File) -> None:
    with Server(tiny, script=_slow(60)) as server, ThreadPoolExecutor(1) as clients:
        answer = clients.submit(server.predict, image)
        until(lambda: "begun\n" in server.said)
        began = time.monotonic()
        assert server.ends() == 0
        assert 7 < time.monotonic() - began < 20
        assert (answer.result().status_code, answer.result().json()["reason"]) == (503, "stopping")


@SIGNALS
def test_the_second_signal_ends_it_at_once(tiny: Path, image: File) -> None:
    with Server(tiny, script=_slow(60)) as server, ThreadPoolExecutor(1) as clients:
        answer = clients.submit(server.predict, image)
        until(lambda: "begun\n" in server.said)
        server.process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert server.process.poll() is None
        began = time.monotonic()
        assert server.ends(signal.SIGINT) == 130
        assert time.monotonic() - began < 3
        assert answer.exception() is not None


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@SIGNALS
def test_no_process_stays_behind(tiny: Path, image: File) -> None:
    with Server(tiny) as server:
        server.predict(image)
        children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text(encoding="ascii")
        server.ends()
    # started by any thread of it; at least the first one, which the main thread started
    for child in children.split():
        until(lambda child=child: not Path(f"/proc/{child}").exists() or _is_dead(child))


def _is_dead(process: str) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


# ---- clients


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


@pytest.mark.slow
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
    with Server(tiny, script=_slow(0.5)) as server:
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
        refused = [connection for connection in connections if _is_refused(connection)]
        assert len(refused) == 300 - 256
        for connection in connections:
            connection.close()
        server.is_well(image)


def _is_refused(connection: socket.socket) -> bool:
    connection.settimeout(0.05)
    try:
        return connection.recv(100).startswith(b"HTTP/1.1 503")
    except TimeoutError:
        return False


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
