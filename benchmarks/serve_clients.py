"""Many clients of one server, as light as Python can be: `serve_load.py` starts this as a process of its own.

    python benchmarks/serve_clients.py PORT CLIENTS SECONDS FILE...

Each client posts one file after the other over a connection that it keeps; after a 503 it waits as long as it is told.
Prints JSON: seconds and status of every request, when each answer came, and the processor time that all this took.
"""

import asyncio
import json
import os
import sys
import time
from itertools import cycle, islice
from pathlib import Path
from typing import Any

BOUNDARY = b"frontier-of-a-form"
Request = tuple[bytes, bytes]


def main() -> None:
    """Load the files, run the clients, print."""
    port, clients, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    requests = [_request(port, Path(name).read_bytes()) for name in sys.argv[4:]]
    print(json.dumps(asyncio.run(_run(port, clients, seconds, requests))))


def _request(port: int, content: bytes) -> Request:
    head = b'--%s\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' % BOUNDARY
    body = b"%s%s\r\n--%s--\r\n" % (head, content, BOUNDARY)
    lines = (
        b"POST /predict HTTP/1.1",
        b"Host: 127.0.0.1:%d" % port,
        b"Content-Type: multipart/form-data; boundary=%s" % BOUNDARY,
        b"Content-Length: %d" % len(body),
    )
    return b"\r\n".join(lines) + b"\r\n\r\n", body


async def _run(port: int, clients: int, seconds: float, requests: list[Request]) -> dict[str, Any]:
    answers: list[tuple[float, float, int]] = []
    began = time.monotonic()

    async def client(number: int) -> None:
        connection = None
        for request in islice(cycle(requests), number * 7 % len(requests), None):
            asked = time.monotonic()
            if asked - began > seconds:
                break
            connection = connection or await asyncio.open_connection("127.0.0.1", port)
            status, headers = await _ask(*connection, request)
            answers.append((asked - began, time.monotonic() - asked, status))
            if headers.get("connection") == "close":
                connection[1].close()
                connection = None
            if "retry-after" in headers:
                await asyncio.sleep(float(headers["retry-after"]))
        if connection is not None:
            connection[1].close()

    await asyncio.gather(*(client(number) for number in range(clients)))
    used = os.times()
    return {"answers": answers, "seconds": time.monotonic() - began, "processor_seconds": used.user + used.system}


async def _ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: Request
) -> tuple[int, dict[str, str]]:
    """Status and headers of one answer; 0 where the server hung up."""
    try:
        writer.writelines(request)
        await writer.drain()
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        await reader.readexactly(int(headers.get("content-length", "0")))
    except (OSError, asyncio.IncompleteReadError):
        return 0, {"connection": "close"}
    return int(head[0].split()[1]), headers


if __name__ == "__main__":
    main()
