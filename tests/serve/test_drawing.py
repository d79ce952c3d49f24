"""Pictures and reports take long: for clients that left none is drawn, and no more wait than are worth it."""

import contextlib
import socket
from pathlib import Path

from serving import File, Server, answer_on

from cxr_edge.serve.workers import MOST_TO_DRAW

# a report that takes its time, and says that it was drawn
SLOW = """
import sys, time
import cxr_edge.serve.pages as pages
def slow(*_, **__):
    sys.stderr.write("drawn\\n")
    time.sleep(SECONDS)
    return b"{}"
pages.report_pdf, pages.check_report_extra = slow, lambda: None
from cxr_edge.cli import main
main()
"""


def _asks(server: Server, path: str) -> socket.socket:
    client = socket.create_connection((server.host, server.port), timeout=60)
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n\r\n".encode())
    return client


def test_nothing_is_drawn_for_clients_that_left(tiny: Path, image: File) -> None:
    """300 of them kept all others waiting for 30 s, and took 2.4 GB."""
    with Server(tiny, script=SLOW.replace("SECONDS", "0.3")) as server:
        kept = server.predict(image, query="?heatmap=1").json()
        for _ in range(25):
            _asks(server, kept["report"]).close()
        assert server.get(kept["radiograph"].lstrip("/")).status_code == 200
        server.is_well(image)
        server.process.kill()
        said = server.said_all()
    assert said.count("drawn\n") < 10
    assert said.count('"status": 499') > 15


def test_no_more_wait_than_are_worth_it(tiny: Path, image: File) -> None:
    with Server(tiny, script=SLOW.replace("SECONDS", "0.1")) as server, contextlib.ExitStack() as open_ones:
        path = server.predict(image, query="?heatmap=1").json()["report"]
        clients = [open_ones.enter_context(_asks(server, path)) for _ in range(MOST_TO_DRAW + 20)]
        answers = [answer_on(client) for client in clients]
        refused = [problem for status, _, problem in answers if status == 503]
        assert len(refused) in range(1, 21)
        assert {problem["reason"] for problem in refused} == {"busy"}
        assert sum(status == 200 for status, _, _ in answers) == len(clients) - len(refused)
        server.is_well(image)
