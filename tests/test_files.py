"""Outputs are whole or absent, and nothing is overwritten unasked."""

import os
import stat
import sys
from pathlib import Path

import pytest

from cxr_edge.errors import OutputError
from cxr_edge.files import atomic_writer, replace_alone, write_atomically


def test_writes_whole(tmp_path: Path) -> None:
    target = tmp_path / "résultat 結果.json"
    write_atomically(target, b"whole", overwrite=False)
    assert target.read_bytes() == b"whole"
    assert list(tmp_path.iterdir()) == [target]


def test_keeps_an_existing_file(tmp_path: Path) -> None:
    target = tmp_path / "a"
    target.write_bytes(b"before")
    with pytest.raises(OutputError, match="--overwrite"):
        write_atomically(target, b"after", overwrite=False)
    assert target.read_bytes() == b"before"
    write_atomically(target, b"after", overwrite=True)
    assert target.read_bytes() == b"after"


def test_a_file_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "a"
    with pytest.raises(OutputError, match="exists"), atomic_writer(target, overwrite=False) as stream:
        stream.write(b"ours")
        target.write_bytes(b"theirs")
    assert target.read_bytes() == b"theirs"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_leaves_nothing_after_an_error(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), atomic_writer(tmp_path / "a", overwrite=False) as stream:
        stream.write(b"half")
        raise error
    assert list(tmp_path.iterdir()) == []


def test_a_reader_never_sees_half(tmp_path: Path) -> None:
    target = tmp_path / "a"
    with atomic_writer(target, overwrite=False) as stream:
        stream.write(b"half")
        stream.flush()
        assert not target.exists()
    assert target.read_bytes() == b"half"


def test_says_why_it_cannot_write(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="folder does not exist"):
        write_atomically(tmp_path / "missing" / "a", b"", overwrite=False)
    with pytest.raises(OutputError, match="is a folder"):
        write_atomically(tmp_path, b"", overwrite=True)


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege on Windows")
def test_a_dangling_link_counts_as_existing(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "nowhere")
    with pytest.raises(OutputError, match="exists"):
        write_atomically(link, b"", overwrite=False)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions, pipes and links")
def test_overwriting_keeps_what_the_target_is(tmp_path: Path) -> None:
    private, link, pipe = tmp_path / "private", tmp_path / "link", tmp_path / "pipe"
    private.write_bytes(b"")
    private.chmod(0o600)
    link.symlink_to(private)
    with atomic_writer(link, overwrite=True) as stream:
        stream.write(b"new")
        (part,) = tmp_path.glob(".*.part")
        assert stat.S_IMODE(part.stat().st_mode) == 0o600
    assert link.is_symlink()
    assert (private.read_bytes(), stat.S_IMODE(private.stat().st_mode)) == (b"new", 0o600)
    os.mkfifo(pipe)
    with pytest.raises(OutputError, match="device, pipe or socket"):
        write_atomically(pipe, b"", overwrite=True)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "a", b"", overwrite=False)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_without_hard_links_it_renames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise OSError(1, "not permitted")

    monkeypatch.setattr(os, "link", no_links)
    write_atomically(tmp_path / "a", b"x", overwrite=False)
    assert (tmp_path / "a").read_bytes() == b"x"
    assert len(list(tmp_path.iterdir())) == 1


def test_what_a_kill_left_goes_with_the_next_writing(tmp_path: Path) -> None:
    target = tmp_path / "state.json"
    (tmp_path / ".state.json.part").write_bytes(b"half")
    replace_alone(target, b"whole")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("state.json", b"whole")]
