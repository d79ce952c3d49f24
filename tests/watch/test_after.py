"""A move keeps every byte whatever happens: at any moment the content stands in the inbox, the target, or both."""

import errno
import hashlib
import os
import random
import shutil
import stat
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest
from volumes import fill, kill, make_read_only, other_volume, small_volume, start

from cxr_edge import files
from cxr_edge.watch import after
from cxr_edge.watch.after import Moved, move
from cxr_edge.watch.entry import Entry
from cxr_edge.watch.outbox import LEFTOVER, remove_leftovers
from cxr_edge.watch.outbox_fault import OutboxFault, OutboxUnavailable

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="POSIX links and permissions")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    (tmp_path / "inbox").mkdir()
    return tmp_path / "inbox"


@pytest.fixture(params=["one volume", "two volumes"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    if request.param == "one volume":
        (tmp_path / "done").mkdir()
        yield tmp_path / "done"
    else:
        with other_volume(tmp_path / "done") as volume:
            yield volume


def _put(inbox: Path, relative: str, data: bytes = b"pixels") -> Entry:
    path = inbox / relative
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    status = path.stat()
    return Entry(relative, str(path), status.st_size, status.st_mtime_ns)


def _tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("relative", ["a.dcm", "Müller/CT 1/a.dcm", "x/y/z/noname", "-=&.jpg"])
def test_it_keeps_folders_names_times_and_permissions(inbox: Path, root: Path, relative: str) -> None:
    entry = _put(inbox, relative)
    os.utime(entry.path, ns=(10**18, 10**18))
    Path(entry.path).chmod(0o600)
    entry = Entry(relative, entry.path, entry.size, 10**18)
    assert move(entry, root, _sha256(b"pixels")) is Moved.MOVED
    assert _tree(inbox) == {}
    assert _tree(root) == {str(Path(relative)): b"pixels"}
    status = (root / relative).stat()
    assert status.st_mtime_ns == 10**18
    assert os.name == "nt" or stat.S_IMODE(status.st_mode) == 0o600


def test_a_file_changed_since_it_was_read_stays(inbox: Path, root: Path) -> None:
    entry = _put(inbox, "a.dcm")
    Path(entry.path).write_bytes(b"pixels and more")
    assert move(entry, root, _sha256(b"pixels")) is Moved.CHANGED
    entry = _put(inbox, "a.dcm", b"PIXELS")  # same size, and by the entry the same time
    assert move(entry, root, _sha256(b"pixels")) is Moved.CHANGED
    assert _tree(inbox) == {"a.dcm": b"PIXELS"}
    assert _tree(root) == {}


def test_a_file_that_somebody_took_is_gone(inbox: Path, root: Path) -> None:
    entry = _put(inbox, "a.dcm")
    Path(entry.path).unlink()
    assert move(entry, root, _sha256(b"pixels")) is Moved.GONE


def test_the_same_content_there_already_is_enough(inbox: Path, root: Path) -> None:
    entry = _put(inbox, "sub/a.dcm")
    (root / "sub").mkdir()
    (root / "sub" / "a.dcm").write_bytes(b"pixels")
    assert move(entry, root, _sha256(b"pixels")) is Moved.MOVED
    assert _tree(inbox) == {}
    assert _tree(root) == {str(Path("sub/a.dcm")): b"pixels"}


def test_nothing_is_ever_replaced(inbox: Path, root: Path) -> None:
    contents = [b"first.", b"second", b"third.", b"second"]
    for content in contents:
        assert move(_put(inbox, "a.dcm", content), root, _sha256(content)) is Moved.MOVED
    assert _tree(inbox) == {}
    assert _tree(root) == {
        "a.dcm": b"first.",
        f"a-{_sha256(b'second')[:12]}.dcm": b"second",
        f"a-{_sha256(b'third.')[:12]}.dcm": b"third.",
    }


def test_names_taken_by_folders_links_and_other_content(inbox: Path, root: Path) -> None:
    content = _sha256(b"pixels")
    (root / "a.dcm").mkdir()
    (root / f"a-{content[:12]}.dcm").write_bytes(b"others")
    assert move(_put(inbox, "a.dcm"), root, content) is Moved.MOVED
    assert (root / f"{content}.dcm").read_bytes() == b"pixels"
    (root / f"{content}.dcm").write_bytes(b"spoilt")
    entry = _put(inbox, "a.dcm")
    with pytest.raises(OutboxUnavailable) as caught:
        move(entry, root, content)
    assert caught.value.kind is OutboxFault.OTHER
    assert _tree(inbox) == {"a.dcm": b"pixels"}


@POSIX
def test_a_dangling_link_at_the_target_is_not_followed(inbox: Path, root: Path, tmp_path: Path) -> None:
    (root / "a.dcm").symlink_to(tmp_path / "elsewhere")
    assert move(_put(inbox, "a.dcm"), root, _sha256(b"pixels")) is Moved.MOVED
    assert not (tmp_path / "elsewhere").exists()
    assert (root / "a.dcm").is_symlink()
    assert (root / f"a-{_sha256(b'pixels')[:12]}.dcm").read_bytes() == b"pixels"


def test_a_file_in_the_way_of_a_folder(inbox: Path, root: Path) -> None:
    (root / "sub").write_bytes(b"a file")
    content = _sha256(b"pixels")
    assert move(_put(inbox, "sub/deep/a.dcm"), root, content) is Moved.MOVED
    assert _tree(root) == {"sub": b"a file", f"{content}.dcm": b"pixels"}


@POSIX
def test_a_name_too_long_for_a_hash_behind_it(inbox: Path, root: Path) -> None:
    name = "n" * 251 + ".dcm"
    for data in (b"first.", b"second"):
        assert move(_put(inbox, name, data), root, _sha256(data)) is Moved.MOVED
    assert _tree(root) == {name: b"first.", f"{_sha256(b'second')}.dcm": b"second"}


@POSIX
def test_of_a_link_the_content_moves_and_what_it_points_to_stays(inbox: Path, root: Path, tmp_path: Path) -> None:
    (tmp_path / "origin").write_bytes(b"pixels")
    (inbox / "a.dcm").symlink_to(Path("..") / "origin")
    status = (inbox / "a.dcm").stat()
    entry = Entry("a.dcm", str(inbox / "a.dcm"), status.st_size, status.st_mtime_ns)
    assert move(entry, root, _sha256(b"pixels")) is Moved.MOVED
    assert (tmp_path / "origin").read_bytes() == b"pixels"
    assert not (inbox / "a.dcm").is_symlink()
    assert not (root / "a.dcm").is_symlink()
    assert _tree(root) == {"a.dcm": b"pixels"}


@POSIX
def test_killed_between_the_two_names_of_a_rename(inbox: Path, tmp_path: Path) -> None:
    (tmp_path / "done").mkdir()
    entry = _put(inbox, "a.dcm")
    os.link(entry.path, tmp_path / "done" / "a.dcm")
    assert move(entry, tmp_path / "done", _sha256(b"pixels")) is Moved.MOVED
    assert (_tree(inbox), _tree(tmp_path / "done")) == ({}, {"a.dcm": b"pixels"})


def test_a_target_that_is_the_inbox_itself_loses_nothing(inbox: Path, tmp_path: Path) -> None:
    entry = _put(inbox, "a.dcm")
    assert move(entry, inbox, _sha256(b"pixels")) is Moved.BLOCKED
    if os.name == "posix":
        (tmp_path / "alias").symlink_to(inbox)
        assert move(entry, tmp_path / "alias", _sha256(b"pixels")) is Moved.BLOCKED
    assert _tree(inbox) == {"a.dcm": b"pixels"}


def test_a_target_inside_the_inbox(inbox: Path) -> None:
    (inbox / "done").mkdir()
    assert move(_put(inbox, "a.dcm"), inbox / "done", _sha256(b"pixels")) is Moved.MOVED
    assert _tree(inbox) == {str(Path("done/a.dcm")): b"pixels"}


@pytest.mark.parametrize("relative", ["../a.dcm", "sub/../../a.dcm", "/etc/a.dcm", ""])
def test_nothing_leaves_the_target(inbox: Path, tmp_path: Path, relative: str) -> None:
    entry = _put(inbox, "a.dcm")
    with pytest.raises(ValueError, match="below the inbox"):
        move(Entry(relative, entry.path, entry.size, entry.mtime_ns), tmp_path, _sha256(b"pixels"))


def test_a_target_that_is_away_is_not_made_anew(inbox: Path, tmp_path: Path) -> None:
    entry = _put(inbox, "a.dcm")
    with pytest.raises(OutboxUnavailable) as caught:
        move(entry, tmp_path / "done", _sha256(b"pixels"))
    assert caught.value.kind is OutboxFault.AWAY
    assert not (tmp_path / "done").exists()


def test_full_target(inbox: Path, tmp_path: Path) -> None:
    with small_volume(tmp_path / "done") as root:
        entry = _put(inbox, "DOE^JANE/a.dcm", bytes(20_000))
        filler = fill(root)
        with pytest.raises(OutboxUnavailable) as caught:
            move(entry, root, _sha256(bytes(20_000)))
        assert caught.value.kind is OutboxFault.FULL
        assert "DOE" not in "".join(traceback.format_exception(caught.value))
        filler.unlink()
        with pytest.raises(OutboxUnavailable):
            move(_put(inbox, "big", bytes(90_000)), root, _sha256(bytes(90_000)))
        assert [path for path in root.rglob("*") if path.is_file()] == []
        assert move(entry, root, _sha256(bytes(20_000))) is Moved.MOVED
        assert _tree(root) == {str(Path("DOE^JANE/a.dcm")): bytes(20_000)}


def test_read_only_target(inbox: Path, tmp_path: Path) -> None:
    with small_volume(tmp_path / "done") as root:
        make_read_only(root, read_only=True)
        for relative in ("a.dcm", "sub/a.dcm"):
            entry = _put(inbox, relative)
            with pytest.raises(OutboxUnavailable) as caught:
                move(entry, root, _sha256(b"pixels"))
            assert caught.value.kind is OutboxFault.READ_ONLY
        make_read_only(root, read_only=False)
        assert move(entry, root, _sha256(b"pixels")) is Moved.MOVED


def test_read_only_inbox_blocks_the_move_and_not_the_service(tmp_path: Path) -> None:
    with small_volume(tmp_path / "inbox") as inbox:
        (tmp_path / "done").mkdir()
        entry = _put(inbox, "a.dcm")
        make_read_only(inbox, read_only=True)
        for _ in range(2):
            assert move(entry, tmp_path / "done", _sha256(b"pixels")) is Moved.BLOCKED
        assert _tree(tmp_path / "done") == {"a.dcm": b"pixels"}
        make_read_only(inbox, read_only=False)
        assert move(entry, tmp_path / "done", _sha256(b"pixels")) is Moved.MOVED
        assert _tree(inbox) == {}
    assert _tree(tmp_path / "done") == {"a.dcm": b"pixels"}


def test_an_archive_that_is_unmounted_leaves_a_folder_that_nothing_is_moved_to(inbox: Path, tmp_path: Path) -> None:
    with small_volume(tmp_path / "done") as root:
        assert move(_put(inbox, "a.dcm"), root, _sha256(b"pixels")) is Moved.MOVED
    entry = _put(inbox, "b.dcm")
    with pytest.raises(OutboxUnavailable, match="not mounted") as caught:
        move(entry, root, _sha256(b"pixels"))
    assert caught.value.kind is OutboxFault.AWAY
    assert _tree(root) == {}
    assert _tree(inbox) == {"b.dcm": b"pixels"}


def test_it_may_be_remembered_before_the_first_move(inbox: Path, tmp_path: Path) -> None:
    with small_volume(tmp_path / "done") as root:
        after.check(root)
    with pytest.raises(OutboxUnavailable, match="not mounted"):
        move(_put(inbox, "a.dcm"), root, _sha256(b"pixels"))


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO, errno.EACCES])
def test_a_target_that_cannot_be_asked_is_a_fault_and_no_defect(
    inbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    root, entry, real = tmp_path / "done", _put(inbox, "a.dcm"), os.stat
    root.mkdir()

    def stat(path: Any, **more: Any) -> os.stat_result:
        if path == root:
            raise OSError(number, os.strerror(number), str(path))
        return real(path, **more)

    monkeypatch.setattr(os, "stat", stat)
    with pytest.raises(OutboxUnavailable):
        move(entry, root, _sha256(b"pixels"))
    assert _tree(inbox) == {"a.dcm": b"pixels"}


def test_a_target_that_cannot_be_written_costs_no_reading(
    inbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = _put(inbox, "a.dcm")
    monkeypatch.setattr(after, "_sha256", lambda *_, **__: pytest.fail("the file was read"))
    with small_volume(tmp_path / "done") as root:
        make_read_only(root, read_only=True)
        with pytest.raises(OutboxUnavailable) as caught:
            move(entry, root, _sha256(b"pixels"))
    assert caught.value.kind is OutboxFault.READ_ONLY


def test_a_volume_without_permissions_takes_the_copy(
    inbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:  # as FAT and some shares do
        raise PermissionError(errno.EPERM, "Operation not permitted")

    with other_volume(tmp_path / "done") as root:
        entry = _put(inbox, "a.dcm")
        monkeypatch.setattr(Path, "chmod", refuse)
        monkeypatch.setattr(os, "chmod", refuse)
        assert move(entry, root, _sha256(b"pixels")) is Moved.MOVED
        assert _tree(root) == {"a.dcm": b"pixels"}


@pytest.mark.parametrize("call", ["link", "unlink"])
def test_a_file_held_by_another_program_blocks_the_move_on_one_volume(
    inbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    (tmp_path / "done").mkdir()
    entry = _put(inbox, "a.dcm")

    def refuse(*_: object, **__: object) -> None:  # what Windows says while a viewer has the file open
        raise PermissionError(13, "The process cannot access the file", entry.path)

    with monkeypatch.context() as patch:
        if call == "link":
            patch.setattr(os, "link", refuse)
            patch.setattr(Path, "rename", refuse)
        else:
            unlink = Path.unlink
            patch.setattr(
                Path, "unlink", lambda path, **more: refuse() if path == Path(entry.path) else unlink(path, **more)
            )
        assert move(entry, tmp_path / "done", _sha256(b"pixels")) is Moved.BLOCKED
    assert _tree(inbox) == {"a.dcm": b"pixels"}
    assert move(entry, tmp_path / "done", _sha256(b"pixels")) is Moved.MOVED
    assert (_tree(inbox), _tree(tmp_path / "done")) == ({}, {"a.dcm": b"pixels"})


def test_without_hard_links_it_renames_and_still_replaces_nothing(
    inbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object) -> None:
        raise OSError(1, "not permitted")

    monkeypatch.setattr(os, "link", no_links)
    (tmp_path / "done").mkdir()
    for content in (b"first.", b"second"):
        assert move(_put(inbox, "a.dcm", content), tmp_path / "done", _sha256(content)) is Moved.MOVED
    assert sorted(_tree(tmp_path / "done").values()) == [b"first.", b"second"]
    (tmp_path / "taken").write_bytes(b"")
    with pytest.raises(FileExistsError):
        files.rename_new(tmp_path / "done" / "a.dcm", tmp_path / "taken")


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_source_that_changes_while_it_is_copied_stays(
    inbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    chunks = after._chunks  # noqa: SLF001 - the moment of the change is what is tested
    entry = _put(inbox, "a.dcm")

    def changing(source: IO[bytes]) -> Iterator[bytes]:
        if when == "before":
            Path(entry.path).write_bytes(b"PIXELS")
        yield from chunks(source)
        if when == "after":
            Path(entry.path).write_bytes(b"newer pixels")

    monkeypatch.setattr(after, "_chunks", changing)
    with other_volume(tmp_path / "done") as root:
        assert move(entry, root, _sha256(b"pixels")) is Moved.CHANGED
        assert _tree(inbox) == {"a.dcm": b"PIXELS" if when == "before" else b"newer pixels"}
        assert _tree(root) == ({} if when == "before" else {"a.dcm": b"pixels"})


def test_a_name_that_is_taken_while_it_is_copied_is_not_replaced(
    inbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunks = after._chunks  # noqa: SLF001 - the moment is what is tested

    with other_volume(tmp_path / "done") as root:

        def meanwhile(source: IO[bytes]) -> Iterator[bytes]:
            (root / "a.dcm").write_bytes(b"theirs")
            yield from chunks(source)

        monkeypatch.setattr(after, "_chunks", meanwhile)
        assert move(_put(inbox, "a.dcm"), root, _sha256(b"pixels")) is Moved.MOVED
        assert _tree(root) == {"a.dcm": b"theirs", f"a-{_sha256(b'pixels')[:12]}.dcm": b"pixels"}
    assert _tree(inbox) == {}


def test_a_copy_that_reads_back_otherwise_is_no_copy(
    inbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha256, entry = after._sha256, _put(inbox, "a.dcm")  # noqa: SLF001 - a disk that forgets is hard to come by

    def forgetful(path: Path, **more: Any) -> str:
        if LEFTOVER.fullmatch(path.name):
            with path.open("r+b") as stream:
                stream.write(b"P")
        return sha256(path, **more)

    monkeypatch.setattr(after, "_sha256", forgetful)
    with other_volume(tmp_path / "done") as root:
        with pytest.raises(OutboxUnavailable, match="reads back something else") as caught:
            move(entry, root, _sha256(b"pixels"))
        assert caught.value.kind is OutboxFault.OTHER
        assert _tree(root) == {}
    assert _tree(inbox) == {"a.dcm": b"pixels"}


MOVER = """
import hashlib, os, sys
from pathlib import Path
from cxr_edge.watch.after import move
from cxr_edge.watch.entry import Entry
inbox, root = Path(sys.argv[1]), Path(sys.argv[2])
print("ready", flush=True)
for path in sorted(inbox.rglob("*.dcm")):
    status = path.stat()
    content = hashlib.sha256(path.read_bytes()).hexdigest()
    entry = Entry(path.relative_to(inbox).as_posix(), str(path), status.st_size, status.st_mtime_ns)
    print(move(entry, root, content), flush=True)
"""


@pytest.mark.parametrize("volumes", [1, 2])
def test_killed_at_any_moment_nothing_is_lost_and_nothing_half(tmp_path: Path, volumes: int) -> None:
    inbox, randomness, killed_within = tmp_path / "inbox", random.Random(3), 0  # noqa: S311 - moments to kill at
    with other_volume(tmp_path / "other") as other:
        root = other if volumes == 2 else tmp_path / "done"
        root.mkdir(exist_ok=True)
        expected = {f"{number % 7}/{number}.dcm": randomness.randbytes(300_000) for number in range(300)}
        for relative, data in expected.items():
            _put(inbox, relative, data)
        for _ in range(12):
            child = start(MOVER, inbox, root)
            time.sleep(randomness.uniform(0.0, 0.05))
            kill(child)
            killed_within += bool(_tree(inbox))
            remove_leftovers(root)
            waiting, done = _tree(inbox), _tree(root)
            assert waiting.keys() | done.keys() == expected.keys()
            assert all(expected[name] == data for name, data in [*waiting.items(), *done.items()])
        assert killed_within > 0, "no kill met a move"
        child = start(MOVER, inbox, root)
        child.communicate()
        assert (_tree(inbox), _tree(root)) == ({}, expected)
    shutil.rmtree(inbox)
