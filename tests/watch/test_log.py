"""The log: one JSON object a line, names from a closed set, rotation that loses no older file."""

import dataclasses
import io
import json
import os
import typing
from pathlib import Path

import pytest

from cxr_edge.errors import OutputError, Reason
from cxr_edge.types import ModelIdentity
from cxr_edge.watch import events
from cxr_edge.watch.events import (
    Classified,
    Crashed,
    Event,
    Fault,
    Notice,
    Queued,
    Rejected,
    Scanned,
    StateChanged,
    crash_of,
)
from cxr_edge.watch.log import _LEVELS, JsonLog, RotatingFile, event_name, fields_of, level_of, open_log

SHA = "cd" * 32
KINDS: tuple[type, ...] = typing.get_args(events.Event)


def _lines(*observed: Event) -> list[dict[str, object]]:
    stream = io.StringIO()
    log = open_log(None, max_mb=1, keep=1, stream=stream)
    for event in observed:
        log.observe(event)
    log.close()
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def _rotating(file: Path, keep: int) -> tuple[JsonLog, RotatingFile]:
    handler = RotatingFile(file, maxBytes=1_000_000, backupCount=keep, encoding="utf-8")
    return JsonLog(handler), handler


def test_one_object_a_line() -> None:
    (line,) = _lines(Rejected("0f", SHA, Reason.TRUNCATED, 1.23456))
    stamp = line.pop("ts")
    assert isinstance(stamp, str)
    assert stamp.endswith("Z")
    assert line == {
        "level": "warning",
        "event": "rejected",
        "file": "0f",
        "content": SHA,
        "reason": "truncated",
        "latency_ms": 1.235,
    }


def test_the_model_is_three_fields() -> None:
    (line,) = _lines(events.ModelLoaded(ModelIdentity("tiny", "1", SHA), "CPUExecutionProvider"))
    assert (line["event"], line["model"], line["model_version"], line["model_sha256"]) == (
        "model_loaded",
        "tiny",
        "1",
        SHA,
    )


def test_levels_say_whom_to_wake() -> None:
    lines = _lines(StateChanged("running"), StateChanged("inbox_away", "inbox_away"), Crashed("E", "m:1"))
    assert [line["level"] for line in lines] == ["info", "error", "error"]
    assert _lines(Queued(1, 1), Scanned(5, 0.1)) == []
    assert [line["event"] for line in _lines(Scanned(5, 0.1, problems=2))] == ["scanned"]
    assert set(_LEVELS) == set(KINDS)


def test_a_problem_that_stands_is_told_once_and_so_is_its_end() -> None:
    counts = (0, 2, 2, 2, 1, 1, 0, 0)
    lines = _lines(*(Scanned(5, 0.1, problems=count) for count in counts))
    assert [(line["level"], line["problems"]) for line in lines] == [("warning", 2), ("warning", 1), ("info", 0)]


def test_a_notice_is_logged_by_its_code_alone() -> None:
    (line,) = _lines(Notice("provider_fallback", "a library's own words"))
    assert line["code"] == "provider_fallback"
    assert "words" not in json.dumps(line)


def test_the_set_of_names_is_closed_and_documented() -> None:
    from conftest import REPOSITORY

    page = (REPOSITORY / "docs" / "reference" / "watch.md").read_text(encoding="utf-8")
    for kind in KINDS:
        if _LEVELS[kind] is not None:
            assert f"`{event_name(kind)}`" in page
        for field in dataclasses.fields(kind):
            if _LEVELS[kind] is not None and field.name not in ("states", "message"):
                assert f"`{field.name}`" in page, (kind, field.name)
    for word in (*events.STATES, *typing.get_args(events.FaultCode)):
        assert f"`{word}`" in page


def test_no_field_could_hold_a_path() -> None:
    """Free text is what an event must not have: every str is a hash, a code, or named here."""
    free = {
        (kind.__name__, field.name)
        for kind in KINDS
        for field in dataclasses.fields(kind)
        if field.type in (str, str | None) and field.name not in ("content", "other", "file", "instance", "study")
    }
    assert free == {
        ("StateChanged", "reason"),
        ("ModelLoaded", "execution_provider"),
        ("Notice", "code"),
        ("Notice", "message"),  # not logged
        ("Incomplete", "reason"),
        ("Fault", "error"),
        ("Crashed", "error"),
        ("Crashed", "place"),
    }


def test_a_crash_is_told_without_its_text() -> None:
    from cxr_edge.watch.config import read_config

    try:
        read_config(typing.cast("Path", "MARK^PATIENT.toml"))
    except AttributeError as error:
        crash = crash_of(error)
    assert crash.error == "AttributeError"
    assert "cxr_edge.watch.config:" in crash.place
    assert "MARK" not in json.dumps(fields_of(crash))


def test_rotation_keeps_so_many_of_that_size(tmp_path: Path) -> None:
    file = tmp_path / "watch.log"
    handler = RotatingFile(file, maxBytes=20_000, backupCount=2, encoding="utf-8")
    log = JsonLog(handler)
    for _ in range(600):  # of 140 bytes and more each: four files full
        log.observe(Classified(SHA, 1.0))
    log.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["watch.log", "watch.log.1", "watch.log.2"]
    for path in tmp_path.iterdir():
        assert path.stat().st_size <= 20_000
        for line in path.read_text(encoding="utf-8").splitlines():
            assert json.loads(line)["event"] == "classified"


@pytest.mark.parametrize("keep", [0, 1, 3])
def test_rotation_keeps_order(tmp_path: Path, keep: int) -> None:
    file = tmp_path / "watch.log"
    log, handler = _rotating(file, keep)
    for number in range(6):
        log.observe(Fault("model_failed", f"round {number}"))
        handler.doRollover()
    log.close()
    numbered = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir() if path != file}
    assert sorted(numbered) == [f"watch.log.{number}" for number in range(1, keep + 1)]
    for number in range(1, keep + 1):
        assert f"round {6 - number}" in numbered[f"watch.log.{number}"]


def test_what_cannot_be_renamed_grows_and_no_older_file_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows while somebody reads the file in use."""
    file = tmp_path / "watch.log"
    log, handler = _rotating(file, 2)
    for number in range(2):
        log.observe(Fault("model_failed", f"round {number}"))
        handler.doRollover()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", _refuse)
        for number in range(2, 5):
            log.observe(Fault("model_failed", f"round {number}"))
            handler.doRollover()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path != file} == {
        name: content for name, content in before.items() if name != file.name
    }
    handler.doRollover()
    log.close()
    kept = (tmp_path / "watch.log.1").read_text(encoding="utf-8")
    assert all(f"round {number}" in kept for number in (2, 3, 4))


def _refuse(*_paths: object) -> None:
    raise PermissionError(13, "in use")


def test_what_a_killed_run_put_aside_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "watch.log"
    (tmp_path / "watch.log.0").write_text("aside\n", encoding="utf-8")
    log, handler = _rotating(file, 3)
    log.observe(Fault("model_failed", "now"))
    handler.doRollover()
    log.close()
    assert "now" in (tmp_path / "watch.log.1").read_text(encoding="utf-8")
    assert (tmp_path / "watch.log.2").read_text(encoding="utf-8") == "aside\n"


def test_it_goes_on_after_a_rotation_whose_new_file_could_not_be_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "watch.log"
    handler = RotatingFile(file, maxBytes=200, backupCount=2, encoding="utf-8")
    log = JsonLog(handler)
    log.observe(Fault("model_failed", "first"))
    with monkeypatch.context() as patch:
        patch.setattr(handler, "_open", _refuse)  # no descriptor is left, or no right
        for _ in range(2):
            log.observe(Fault("model_failed", "lost"))
    log.observe(Fault("model_failed", "last"))
    log.close()
    assert "last" in file.read_text(encoding="utf-8")
    assert "first" in (tmp_path / "watch.log.1").read_text(encoding="utf-8")


def test_a_log_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot write the log"):
        open_log(tmp_path / "absent" / "watch.log", max_mb=1, keep=1)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_loses_the_line_and_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with Path("/dev/full").open("w", encoding="utf-8", buffering=1) as full:
        log = open_log(None, max_mb=1, keep=1, stream=full)
        log.observe(StateChanged("running"))
        log.observe(StateChanged("idle"))
        assert level_of(StateChanged("idle")) == "info"
        with pytest.raises(OSError, match="No space"):
            full.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")
