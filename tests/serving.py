"""The server as tests run it: its application called directly, or a process of its own on a free port."""

import asyncio
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote

import httpx
from volumes import ENVIRONMENT

from cxr_edge.classifier import Classifier
from cxr_edge.serve.app import Application, make_application
from cxr_edge.serve.log import Log
from cxr_edge.serve.settings import Settings

PATIENCE_S = 120.0  # a busy machine is no failure
PORT = 8000
OWN = "http://127.0.0.1:8000"
BOUNDARY = "frontier"
File = tuple[str, bytes]


class Api:
    """The application behind its middlewares, without a socket."""

    def __init__(self, classifier: Classifier, settings: Settings | None = None, *, is_loopback: bool = True) -> None:
        """Make it; `close` ends its threads."""
        self.lines: list[str] = []
        self._log = Log(self.lines.append)
        self.application: Application = make_application(
            classifier, settings or Settings(), self._log, port=PORT, is_loopback=is_loopback
        )

    def client(self) -> httpx.AsyncClient:
        """For tests with several requests at once."""
        return httpx.AsyncClient(transport=httpx.ASGITransport(self.application.asgi), base_url=OWN)

    def request(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        """One request."""

        async def ask() -> httpx.Response:
            async with self.client() as client:
                return await client.request(method, path, **arguments)

        return asyncio.run(ask())

    def get(self, path: str, **arguments: Any) -> httpx.Response:
        """One GET."""
        return self.request("GET", path, **arguments)

    def predict(self, *files: File, query: str = "", **arguments: Any) -> httpx.Response:
        """One upload."""
        return self.request("POST", f"/predict{query}", files=[("file", file) for file in files], **arguments)

    def get_unnormalised(self, path: str) -> tuple[int, bytes]:
        """As a client that leaves `..` in its paths; gives status and body."""
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "http_version": "1.1", "method": "GET", "root_path": "", "query_string": b""}
        scope |= {"path": unquote(path), "raw_path": path.encode(), "headers": [(b"host", b"127.0.0.1:8000")]}
        asyncio.run(self.application.asgi(scope, receive, send))  # type: ignore[arg-type]
        return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])

    def log(self) -> list[dict[str, Any]]:
        """What was logged so far."""
        self._log.line("info", "asked")
        until(lambda: bool(self.lines) and json.loads(self.lines[-1])["event"] == "asked")
        return [line for line in map(json.loads, self.lines) if line["event"] != "asked"]

    def close(self) -> None:
        """End its threads."""
        self.application.close()
        self._log.close()


def until(condition: Any, seconds: float = PATIENCE_S) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


def form(*files: File) -> bytes:
    """A multipart body with these files."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode()
        + content
        + b"\r\n"
        for name, content in files
    ]
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


# a decoder that takes its time, and says that it has begun
SLOW = """
import sys, time
from cxr_edge.classifier import Classifier
genuine = Classifier.classify_many
def slow(self, images, **options):
    sys.stderr.write("begun\\n")
    time.sleep(SECONDS)
    return genuine(self, images, **options)
Classifier.classify_many = slow
from cxr_edge.cli import main
main()
"""


def slow_server(seconds: float) -> str:
    """A script for `Server` that takes so long for each image."""
    return SLOW.replace("SECONDS", str(seconds))


class Server:
    """`cxr-edge serve` as a process."""

    def __init__(self, model: Path, *options: object, script: str | None = None, host: str = "127.0.0.1") -> None:
        """Start it, and wait until it tells its address or ends."""
        start = ["-m", "cxr_edge"] if script is None else ["-c", script]
        command = [sys.executable, *start, "serve", "--host", host, "--port", "0", "--model", str(model)]
        self.process = subprocess.Popen(
            [*command, "--provider", "cpu", *map(str, options)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=ENVIRONMENT,
            text=True,
            encoding="utf-8",
        )
        self.said: list[str] = []
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self._reader = threading.Thread(target=self.said.extend, args=(self.process.stderr,))
        self._reader.start()
        self.url = self.process.stdout.readline().strip()
        self.host, self.port = "::1" if host == "::1" else "127.0.0.1", 0
        if self.url:
            self.port = int(self.url.rstrip("/").rpartition(":")[2])

    def __enter__(self) -> Self:
        """It must have started."""
        assert self.url, "".join(self.said)
        return self

    def __exit__(self, *_: object) -> None:
        """Kill it."""
        self.process.kill()
        self.process.wait()
        self._reader.join()
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.process.stdout.close()
        self.process.stderr.close()

    def ends(self, number: int = signal.SIGTERM) -> int:
        """Ask it to stop; gives its exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)

    def said_all(self) -> str:
        """Standard error, of a process that has ended."""
        self._reader.join()
        return "".join(self.said)

    def predict(self, *files: File, query: str = "", **headers: str) -> httpx.Response:
        """One upload."""
        uploads = [("file", file) for file in files]
        return httpx.post(f"{self.url}predict{query}", files=uploads, headers=headers, timeout=PATIENCE_S)

    def get(self, path: str, **headers: str) -> httpx.Response:
        """One GET."""
        return httpx.get(f"{self.url}{path}", headers=headers, timeout=PATIENCE_S)

    def is_well(self, file: File) -> None:
        """It classifies, and holds nothing of what was before."""
        until(lambda: self.gauge("requests_held") == 0)
        assert self.gauge("upload_bytes_held") == 0
        assert self.get("ready").json() == {"status": "ok"}
        assert self.predict(file).json()["status"] == "classified"

    def gauge(self, name: str) -> float:
        """One figure of /metrics."""
        lines = self.get("metrics").text.splitlines()
        (line,) = [line for line in lines if line.startswith(f"cxr_edge_{name} ")]
        return float(line.rpartition(" ")[2])

    @contextlib.contextmanager
    def connection(self) -> Iterator[socket.socket]:
        """A bare connection."""
        with socket.create_connection((self.host, self.port), timeout=PATIENCE_S) as connection:
            yield connection

    def head(self, length: int, *, expect: bool = False) -> bytes:
        """The header of a `POST /predict` whose body has that length."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        lines = [
            "POST /predict HTTP/1.1",
            f"Host: {host}:{self.port}",
            f"Content-Type: multipart/form-data; boundary={BOUNDARY}",
            f"Content-Length: {length}",
            *(["Expect: 100-continue"] if expect else []),
        ]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()


def answer_on(connection: socket.socket) -> tuple[int, http.client.HTTPResponse, dict[str, Any]]:
    """Read one answer: its status, itself, its document."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    return response.status, response, json.loads(response.read())


def memory_mb(pid: int) -> float:
    """Resident memory of a process; Linux."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
