"""The server as a process: its start and its end."""

import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from serving import PATIENCE_S, File, Server, answer_on, slow_server, until
from volumes import ENVIRONMENT

SIGNALS = pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")


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
    assert "[serve]" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.skipif(os.name != "posix", reason="a browser that is a shell script")
@pytest.mark.parametrize("wanted", [True, False])
def test_the_browser_opens_when_asked(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch, *, wanted: bool
) -> None:
    browser, opened = tmp_path / "browser", tmp_path / "opened"
    browser.write_text(f'#!/bin/sh\necho "$1" > {opened}.part; mv {opened}.part {opened}\n', encoding="utf-8")
    browser.chmod(0o755)
    monkeypatch.setitem(ENVIRONMENT, "BROWSER", str(browser))
    with Server(tiny, *(["--open"] if wanted else [])) as server:
        if wanted:
            until(opened.exists)
            assert opened.read_text(encoding="utf-8").strip() == server.url
        assert server.get("health").status_code == 200
    assert opened.exists() == wanted


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
    with Server(tiny, script=slow_server(1.5)) as server, ThreadPoolExecutor(6) as clients:
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
    with Server(tiny, script=slow_server(60)) as server, ThreadPoolExecutor(1) as clients:
        answer = clients.submit(server.predict, image)
        until(lambda: "begun\n" in server.said)
        began = time.monotonic()
        assert server.ends() == 0
        assert 7 < time.monotonic() - began < 20
        assert (answer.result().status_code, answer.result().json()["reason"]) == (503, "stopping")


@SIGNALS
def test_the_second_signal_ends_it_at_once(tiny: Path, image: File) -> None:
    with Server(tiny, script=slow_server(60)) as server, ThreadPoolExecutor(1) as clients:
        answer = clients.submit(server.predict, image)
        until(lambda: "begun\n" in server.said)
        server.process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert server.process.poll() is None
        began = time.monotonic()
        assert server.ends(signal.SIGINT) == 130
        assert time.monotonic() - began < 10
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
