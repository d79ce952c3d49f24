"""Results reach the disk whole or not at all, once; faults of the folder are told by kind and never by path."""

import errno
import json
import os
import random
import sys
import time
import traceback
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from contracts import make_prediction
from volumes import fill, kill, make_read_only, small_volume, start

from cxr_edge.errors import Reason
from cxr_edge.results import Row, to_row
from cxr_edge.types import Gate, Note, Rejection, Source
from cxr_edge.watch.outbox import LEFTOVER, Outbox, probe, publish, remove_leftovers, to_json
from cxr_edge.watch.outbox_fault import OutboxFault, OutboxUnavailable, fault_of
from cxr_edge.watch.stored_row import parse_row

SCHEMA = json.loads(files("cxr_edge.results").joinpath("result.schema.json").read_text(encoding="utf-8"))
CONTENT = "ab" * 32
ROW = to_row(make_prediction())
REJECTED = to_row(
    Rejection(
        source=Source(path="b.dcm", content_sha256=CONTENT),
        reason=Reason.GATE_VIEW,
        message="lateral",
        gate=Gate("refused", (Note("gate_view", "lateral"),)),
    )
)
UNREAD_GATE = {**REJECTED, "gate": None}


def _row(number: int) -> Row:
    return to_row(make_prediction(source=Source(path=f"{number}.dcm", content_sha256=f"{number:064x}")))


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_result_is_a_row_of_the_schema_under_its_contents_name(tmp_path: Path) -> None:
    assert Outbox(tmp_path).write_result(ROW) is True
    assert _names(tmp_path) == {f"{CONTENT}.json"}
    written = json.loads((tmp_path / f"{CONTENT}.json").read_bytes())
    jsonschema.Draft202012Validator(SCHEMA).validate(written)
    assert written == ROW


def test_what_was_told_once_is_never_told_otherwise(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    outbox.write_result(ROW)
    before = (tmp_path / f"{CONTENT}.json").stat()
    assert outbox.write_result(REJECTED, heat_map=b"later") is False
    after = (tmp_path / f"{CONTENT}.json").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert outbox.read_row(CONTENT) == ROW
    assert _names(tmp_path) == {f"{CONTENT}.json"}


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        bytes(2000),
        to_json(ROW)[:-2],
        to_json(ROW)[:1000] + bytes(1000),
        to_json({**ROW, "score": 2.0}),
        to_json({**ROW, "kind": "study"}),
        to_json({**ROW, "schema_version": 2}),
        to_json({**ROW, "source": {**ROW["source"], "content_sha256": "cd" * 32}}),
        to_json({key: value for key, value in ROW.items() if key != "gate"}),
        to_json(ROW).replace(b'"score": 0.8', b'"score": NaN'),
        to_json(ROW).replace(b'"total": 10.5', b'"total": NaN'),
        b"[" * 100_000,
        b"[]",
        b"\xff\xfe",
        b" " * (1 << 20) + to_json(ROW),
    ],
    ids=lambda data: f"{len(data)} bytes",
)
def test_a_damaged_result_is_written_again(tmp_path: Path, damaged: bytes) -> None:
    (tmp_path / f"{CONTENT}.json").write_bytes(damaged)
    outbox = Outbox(tmp_path)
    assert outbox.read_row(CONTENT) is None
    assert outbox.write_result(ROW) is True
    assert outbox.read_row(CONTENT) == ROW


@pytest.mark.parametrize("row", [ROW, REJECTED, UNREAD_GATE], ids=["classified", "refused", "rejected"])
def test_a_row_reads_back_as_it_was_and_no_part_of_it_does(row: Row) -> None:
    data = to_json(row)
    assert parse_row(data, CONTENT) == row
    assert parse_row(data[:-1], CONTENT) == row  # the line's end alone is no content
    assert all(parse_row(data[:length], CONTENT) is None for length in range(len(data) - 1))


def test_the_heat_map_stands_before_the_result_that_announces_it(tmp_path: Path) -> None:
    outbox, json_file = Outbox(tmp_path), tmp_path / f"{CONTENT}.json"
    json_file.mkdir()  # the second of the two writings fails
    with pytest.raises(OutboxUnavailable) as caught:
        outbox.write_result(ROW, heat_map=b"png")
    assert caught.value.kind == "other"
    assert (tmp_path / f"{CONTENT}.png").read_bytes() == b"png"
    json_file.rmdir()
    inode = (tmp_path / f"{CONTENT}.png").stat().st_ino
    assert outbox.write_result(ROW, heat_map=b"png") is True
    assert (tmp_path / f"{CONTENT}.png").stat().st_ino == inode
    assert _names(tmp_path) == {f"{CONTENT}.json", f"{CONTENT}.png"}


@pytest.mark.skipif(sys.platform == "win32", reason="pipes in folders")
def test_a_pipe_under_the_name_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / f"{CONTENT}.json")
    with pytest.raises(OutboxUnavailable) as caught:
        Outbox(tmp_path).write_result(ROW)
    assert caught.value.kind == "other"


def test_only_our_own_leftovers_are_removed(tmp_path: Path) -> None:
    ours = {f".cxr-edge-watch-{number:016x}.part" for number in range(3)}
    others = {".cxr-edge-0123456789abcdef.part", ".cxr-edge-watch-x.part", "a.part", f"{CONTENT}.json"}
    for name in ours | others:
        (tmp_path / name).write_bytes(b"")
    assert remove_leftovers(tmp_path) == 3
    assert _names(tmp_path) == others
    assert remove_leftovers(tmp_path) == 0


def test_an_existing_file_is_told_from_a_fault(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"theirs")
    with pytest.raises(FileExistsError), publish(tmp_path / "a", tmp_path, overwrite=False) as stream:
        stream.write(b"ours")
    assert (tmp_path / "a").read_bytes() == b"theirs"
    assert _names(tmp_path) == {"a"}


def test_full_disk_leaves_nothing_half_and_ends_when_there_is_room(tmp_path: Path) -> None:
    with small_volume(tmp_path / "out") as folder:
        outbox = Outbox(folder)
        outbox.write_result(_row(0))
        probe(folder)
        filler = fill(folder)
        for attempt in (lambda: outbox.write_result(_row(1), heat_map=bytes(5000)), lambda: probe(folder)):
            with pytest.raises(OutboxUnavailable, match="No space left") as caught:
                attempt()
            assert caught.value.kind is OutboxFault.FULL
        assert _names(folder) == {"filler", f"{0:064x}.json"}
        assert outbox.write_result(_row(0)) is False  # reading needs no room
        filler.unlink()
        probe(folder)
        assert outbox.write_result(_row(1), heat_map=bytes(5000)) is True
        assert outbox.read_row(f"{1:064x}") == _row(1)


def test_read_only_folder_and_back(tmp_path: Path) -> None:
    with small_volume(tmp_path / "out") as folder:
        outbox = Outbox(folder)
        make_read_only(folder, read_only=True)
        for attempt in (lambda: outbox.write_result(ROW), lambda: probe(folder)):
            with pytest.raises(OutboxUnavailable) as caught:
                attempt()
            assert caught.value.kind is OutboxFault.READ_ONLY
        make_read_only(folder, read_only=False)
        assert outbox.write_result(ROW) is True


@pytest.mark.parametrize("marker", [None, "lock"])
def test_a_folder_that_is_away_is_not_made_anew(tmp_path: Path, marker: str | None) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "lock").touch()
    outbox = Outbox(folder, marker)
    folder.rename(tmp_path / "elsewhere")
    for attempt in (lambda: outbox.write_result(ROW), outbox.check, lambda: outbox.write("a", b"")):
        with pytest.raises(OutboxUnavailable) as caught:
            attempt()
        assert caught.value.kind is OutboxFault.AWAY
    assert not folder.exists()
    (tmp_path / "elsewhere").rename(folder)
    assert outbox.write_result(ROW) is True


def test_an_unmounted_share_leaves_an_empty_folder_that_is_not_taken_for_it(tmp_path: Path) -> None:
    with small_volume(tmp_path / "out") as folder:
        (folder / "lock").touch()
        outbox = Outbox(folder, "lock")
        assert outbox.write_result(ROW) is True
    assert folder.is_dir()
    for attempt in (lambda: outbox.write_result(ROW), outbox.check):
        with pytest.raises(OutboxUnavailable) as caught:
            attempt()
        assert caught.value.kind is OutboxFault.AWAY
    assert _names(folder) == set()


def test_a_marker_that_was_removed_with_old_results_is_no_fault(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "lock").touch()
    outbox = Outbox(folder, "lock")
    outbox.check()
    (folder / "lock").unlink()  # find results -mtime +30 -delete
    assert outbox.write_result(ROW) is True
    folder.rename(tmp_path / "elsewhere")
    folder.mkdir()  # another folder, that has never held the marker
    with pytest.raises(OutboxUnavailable, match="another folder") as caught:
        outbox.write_result(ROW)
    assert caught.value.kind is OutboxFault.AWAY
    (folder / "lock").touch()
    assert outbox.write_result(ROW) is True


@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.ESTALE, "away"), (errno.EIO, "other"), (errno.EACCES, "read_only"), (errno.ENOTCONN, "away")],
)
@pytest.mark.parametrize("asked", ["out", "lock"])
def test_a_folder_that_cannot_be_asked_is_a_fault_and_no_defect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: str, asked: str
) -> None:
    """`Path.exists` and `Path.is_dir` raise most of these up to Python 3.13."""
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "lock").touch()
    real = os.stat

    def stat(path: Any, **more: Any) -> os.stat_result:
        if isinstance(path, Path) and path.name == asked:
            raise OSError(number, os.strerror(number), str(path))
        return real(path, **more)

    monkeypatch.setattr(os, "stat", stat)
    with pytest.raises(OutboxUnavailable) as caught:
        Outbox(folder, "lock").check()
    assert caught.value.kind == kind
    assert str(tmp_path) not in "".join(traceback.format_exception(caught.value))


def test_faults_name_no_path(tmp_path: Path) -> None:
    folder = tmp_path / "DOE^JANE"
    with small_volume(folder):
        make_read_only(folder, read_only=True)
        with pytest.raises(OutboxUnavailable) as caught:
            Outbox(folder).write_result(ROW)
    told = "".join(traceback.format_exception(caught.value))
    assert "Read-only" in told
    assert "DOE" not in told
    assert CONTENT not in told


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, "full"),
        (errno.EACCES, "read_only"),
        (errno.EROFS, "read_only"),
        (errno.ENOENT, "away"),
        (errno.ETIMEDOUT, "away"),
        (errno.EIO, "other"),
        (None, "other"),
    ],
)
def test_kinds_of_faults(number: int | None, kind: str) -> None:
    assert fault_of(OSError() if number is None else OSError(number, "")) == kind


@pytest.mark.parametrize(
    ("winerror", "number", "kind"),
    [
        (112, errno.ENOSPC, "full"),
        (39, errno.EINVAL, "full"),
        (5, errno.EACCES, "read_only"),
        (19, errno.EACCES, "read_only"),
        (64, errno.EINVAL, "away"),
        (59, errno.EINVAL, "away"),
        (32, errno.EACCES, "read_only"),
    ],
)
def test_kinds_of_faults_on_windows(winerror: int, number: int, kind: str) -> None:
    class WindowsError(OSError):
        pass

    error = WindowsError(number, "")
    error.winerror = winerror  # type: ignore[attr-defined,unused-ignore]
    assert fault_of(error) == kind


WRITER = """
import itertools, json, sys
from pathlib import Path
from cxr_edge.watch.outbox import Outbox
outbox, row = Outbox(Path(sys.argv[1])), json.loads(sys.argv[2])
print("ready", flush=True)
for number in itertools.count(int(sys.argv[3])):
    row["source"] |= {"path": f"{number}.dcm", "content_sha256": f"{number:064x}"}
    outbox.write_result(row, heat_map=row["source"]["content_sha256"].encode() * 100)
"""


def test_killed_at_any_moment_it_leaves_no_partial_result(tmp_path: Path) -> None:
    randomness, killed_while_writing, reached = random.Random(5), 0, 0  # noqa: S311 - moments to kill at
    folder = tmp_path / "out"
    folder.mkdir()
    for _ in range(25):
        child = start(WRITER, folder, json.dumps(_row(0)), max(0, reached - 2))  # the last ones again
        time.sleep(randomness.uniform(0.005, 0.1))
        kill(child)
        names = _names(folder)
        killed_while_writing += any(LEFTOVER.fullmatch(name) for name in names)
        remove_leftovers(folder)
        results = sorted(name for name in names if name.endswith(".json"))
        reached = len(results)
        assert results == [f"{number:064x}.json" for number in range(reached)]
        assert all(parse_row((folder / name).read_bytes(), name[:64]) == _row(int(name[:64], 16)) for name in results)
        assert all((folder / f"{name[:64]}.png").stat().st_size == 6400 for name in results)
        assert len(_names(folder)) - 2 * reached in {0, 1}  # a heat map whose result was not written yet
    assert killed_while_writing > 0, "no kill met a writing"


def test_a_row_of_bytes_that_were_not_read_has_no_name(tmp_path: Path) -> None:
    unread = to_row(replace(make_prediction(), source=Source(path="a")))
    with pytest.raises(ValueError, match="content"):
        Outbox(tmp_path).write_result(unread)
