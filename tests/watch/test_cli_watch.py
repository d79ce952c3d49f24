"""`cxr-edge watch`: options to settings, observers, status, exit codes. The service itself is a fake here."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from cxr_edge.cli.app import run
from cxr_edge.errors import UsageError
from cxr_edge.watch.events import Classified, Event, Notice, Observer, Queued, StateChanged, Undecided
from cxr_edge.watch.health import FILE_NAME, HealthKeeper
from cxr_edge.watch.settings import Settings, state_folder_of

Service = Callable[[Settings, threading.Event, Observer], int]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Callable[[Service], None]:
    """Put another function in the place of the service; priority stays as it is."""

    def install(service: Service) -> None:
        module = ModuleType("cxr_edge.watch.service")
        module.run = service  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "cxr_edge.watch.service", module)

    monkeypatch.setattr("cxr_edge.watch.priority.be_nice", lambda: None)
    return install


@pytest.fixture
def seen(serve: Callable[[Service], None]) -> list[Settings]:
    settings: list[Settings] = []

    def service(given: Settings, _stop: threading.Event, _observer: Observer) -> int:
        settings.append(given)
        return 0

    serve(service)
    return settings


def test_options_become_settings(tmp_path: Path, seen: list[Settings]) -> None:
    inbox, outbox = tmp_path / "in", tmp_path / "out"
    assert run(["watch", str(inbox), "--results", str(outbox)]) == 0
    options = (
        f"--state {tmp_path / 's'} --poll-interval 7 --settle 0 --incomplete-after 9 --study-timeout 8 --order newest "
        f"--after done:{tmp_path / 'd'} --after rejected:{tmp_path / 'r'} --heatmap --heatmap-label VIRAL "
        "--no-identifiers --no-nice "
        f"--model m --operating-point p --provider cpu --threads 3 --gate warn --log {tmp_path / 'l'} --once"
    )
    assert run(["watch", str(inbox), "--results", str(outbox), *options.split()]) == 0
    assert seen == [
        Settings(inbox=inbox, results=outbox),
        Settings(
            inbox=inbox,
            results=outbox,
            state=tmp_path / "s",
            poll_interval_s=7,
            settle_s=0,
            incomplete_after_s=9,
            study_timeout_s=8,
            order="newest",
            after_done=tmp_path / "d",
            after_rejected=tmp_path / "r",
            heatmap=True,
            heatmap_label="VIRAL",
            identifiers=False,
            nice=False,
            model="m",
            operating_point="p",
            provider="cpu",
            threads=3,
            gate="warn",
            log_file=tmp_path / "l",
            once=True,
        ),
    ]


def test_a_file_with_one_option_over_it(tmp_path: Path, seen: list[Settings]) -> None:
    config = tmp_path / "watch.toml"
    config.write_text(
        'inbox = "in"\nresults = "out"\norder = "newest"\nheatmap = true\nheatmap_label = "V"\n', encoding="utf-8"
    )
    assert run(["watch", "--config", str(config), "--no-heatmap"]) == 0
    assert seen == [Settings(inbox=tmp_path / "in", results=tmp_path / "out", order="newest")]


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["IN"], "no results was named"),
        ([], "no inbox was named"),
        (["IN", "--results", "IN"], "--results is the inbox itself"),
        (["IN", "--results", "OUT", "--after", "gone:X"], "need done:FOLDER or rejected:FOLDER"),
        (["IN", "--results", "OUT", "--after", "done:"], "need done:FOLDER or rejected:FOLDER"),
        (["IN", "--results", "OUT", "--after", "done:A", "--after", "done:B"], "given twice"),
        (["IN", "--results", "OUT", "--poll-interval", "0"], "poll-interval"),
        (["IN", "--results", "OUT", "--poll-interval", "nan"], "--poll-interval is nan; need a number of seconds"),
        (["IN", "--results", "OUT", "--settle", "nan"], "--settle is nan; need a number of seconds"),
        (["IN", "--results", "OUT", "--heatmap-label", "VIRAL"], "need --heatmap, too"),
        (["IN", "--results", "OUT", "--state", "OUT"], "--state is the results folder itself"),
        (["IN", "--results", "OUT", "--json"], "--json goes with --status"),
        (["--status"], "which watcher"),
        (["--config", "absent.toml"], "cannot be read"),
    ],
)
def test_usage(arguments: list[str], part: str, seen: list[Settings], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["watch", *arguments]) == 2
    assert part in capsys.readouterr().err
    assert seen == []


def test_events_reach_health_and_log(
    tmp_path: Path, serve: Callable[[Service], None], capsys: pytest.CaptureFixture[str]
) -> None:
    def service(settings: Settings, _stop: threading.Event, observer: Observer) -> int:
        settings.state_folder.mkdir(parents=True)
        events: tuple[Event, ...] = (StateChanged("starting"), Classified("ab" * 32, 5.0), StateChanged("stopped"))
        for event in events:
            observer.observe(event)
        return 0

    serve(service)
    log = tmp_path / "watch.log"
    arguments = ["watch", str(tmp_path / "in"), "--results", str(tmp_path / "out"), "--state", str(tmp_path / "state")]
    assert run([*arguments, "--log", str(log)]) == 0
    assert [json.loads(line)["event"] for line in log.read_text(encoding="utf-8").splitlines()] == [
        "state_changed",
        "classified",
        "state_changed",
    ]
    health = json.loads((tmp_path / "state" / FILE_NAME).read_bytes())
    assert (health["state"], health["counts"]["classified"]) == ("stopped", 1)
    assert capsys.readouterr() == ("", "")


def test_a_terminal_shows_notices(
    tmp_path: Path,
    serve: Callable[[Service], None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def service(_settings: Settings, _stop: threading.Event, observer: Observer) -> int:
        observer.observe(Notice("provider_cpu", "the model runs on the CPU"))
        return 0

    serve(service)
    monkeypatch.setattr("cxr_edge.cli.watch.is_terminal", lambda _stream: True)
    assert run(["watch", str(tmp_path / "in"), "--results", str(tmp_path / "out"), "--state", str(tmp_path / "s")]) == 0
    assert "the model runs on the CPU" in capsys.readouterr().err


def test_a_crash_names_no_file(
    tmp_path: Path, serve: Callable[[Service], None], capsys: pytest.CaptureFixture[str]
) -> None:
    def service(settings: Settings, _stop: threading.Event, observer: Observer) -> int:
        settings.state_folder.mkdir(parents=True)
        observer.observe(StateChanged("running"))
        (settings.inbox / "MARK^PATIENT.dcm").read_bytes()
        return 0

    serve(service)
    state = tmp_path / "state"
    assert run(["watch", str(tmp_path), "--results", str(tmp_path / "out"), "--state", str(state)]) == 1
    captured = capsys.readouterr()
    crashed = json.loads(captured.err.splitlines()[1])
    assert (crashed["event"], crashed["error"]) == ("crashed", "FileNotFoundError")
    assert "cxr_edge.cli.watch:" in crashed["place"]
    assert "MARK" not in captured.err + captured.out
    assert json.loads((state / FILE_NAME).read_bytes())["reason"] == "crashed"


@pytest.mark.parametrize(
    ("files", "places", "said"),
    [
        (1, 0, "1 file not whole, not readable or never at rest; the"),
        (0, 2, "2 places that cannot be looked at; the"),
        (3, 1, "3 files not whole, not readable or never at rest and 1 place that cannot be looked at; the"),
    ],
)
def test_what_is_undecided_is_the_last_word(
    tmp_path: Path,
    serve: Callable[[Service], None],
    capsys: pytest.CaptureFixture[str],
    files: int,
    places: int,
    said: str,
) -> None:
    def service(_settings: Settings, _stop: threading.Event, observer: Observer) -> int:
        observer.observe(Undecided(files, places))
        return 3

    serve(service)
    arguments = ["watch", str(tmp_path), "--results", str(tmp_path / "out"), "--state", str(tmp_path / "state")]
    assert run([*arguments, "--once"]) == 3
    logged, last = capsys.readouterr().err.splitlines()
    assert json.loads(logged).items() >= {"event": "undecided", "files": files, "places": places}.items()
    assert last.startswith(f"cxr-edge: not all is decided: {said} next run")


def test_a_refusal_of_the_service_is_one_line(
    tmp_path: Path, serve: Callable[[Service], None], capsys: pytest.CaptureFixture[str]
) -> None:
    def service(_settings: Settings, _stop: threading.Event, _observer: Observer) -> int:
        message = "another watcher holds this inbox"
        raise UsageError(message)

    serve(service)
    state = tmp_path / "state"
    assert run(["watch", str(tmp_path), "--results", str(tmp_path / "out"), "--state", str(state)]) == 2
    assert capsys.readouterr().err == "cxr-edge: another watcher holds this inbox\n"
    assert not state.exists()


def test_status(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("CXR_EDGE_STATE", str(tmp_path / "state"))
    inbox = tmp_path / "in"
    config = tmp_path / "watch.toml"
    config.write_text('inbox = "in"\n', encoding="utf-8")
    assert run(["watch", "--status", str(inbox)]) == 8
    assert "no watcher has run here" in capsys.readouterr().out
    folder = state_folder_of(inbox)
    folder.mkdir(parents=True)
    keeper = HealthKeeper(folder / FILE_NAME)
    keeper.observe(Queued(17, 2))
    keeper.observe(StateChanged("running"))
    for arguments in ([str(inbox)], ["--config", str(config)], ["--state", str(folder)]):
        assert run(["watch", "--status", *arguments]) == 0
        assert "17, in flight 2" in capsys.readouterr().out
    assert run(["watch", "--status", str(inbox), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["well"] is True
    assert answer["health"]["waiting"] == 17
    keeper.observe(StateChanged("inbox_away", "inbox_away"))
    assert run(["watch", "--status", str(inbox)]) == 8
    assert "inbox_away" in capsys.readouterr().out


SCRIPT = """
import sys, threading
from types import ModuleType
from cxr_edge.watch.events import StateChanged
def run(settings, stop, observer):
    observer.observe(StateChanged("running"))
    stop.wait()
    observer.observe(StateChanged("stopped"))
    return 0
service = ModuleType("cxr_edge.watch.service")
service.run = run
sys.modules["cxr_edge.watch.service"] = service
from cxr_edge.cli import main
sys.argv = ["cxr-edge", "watch", "in", "--results", "out", "--state", "."]
main()
"""


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("number", [2, 15])
def test_a_terminal_shows_a_live_table_and_a_signal_ends_it_with_0(tmp_path: Path, number: int) -> None:
    import pty

    leader, follower = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", SCRIPT], stderr=follower, stdout=subprocess.DEVNULL, cwd=tmp_path)
    os.close(follower)
    shown = b""
    while b"running since" not in shown:
        shown += os.read(leader, 4096)
    process.send_signal(number)
    try:
        while part := os.read(leader, 4096):
            shown += part
    except OSError:  # Linux says so of a terminal that nobody holds any more
        pass
    os.close(leader)
    assert process.wait(timeout=20) == 0
    assert b"stopped since" in shown
    assert b"Ctrl-C" in shown
    assert b"Ctrl-C" not in shown[shown.rindex(b"stopped since") :]
    assert b"{" not in shown  # no log lines between


@pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")
def test_a_service_logs_to_standard_error(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", SCRIPT], stderr=subprocess.PIPE, cwd=tmp_path) as process:
        assert process.stderr is not None
        assert json.loads(process.stderr.readline())["state"] == "running"
        process.terminate()
        assert [json.loads(line)["state"] for line in process.stderr] == ["stopped"]
    assert process.returncode == 0
