"""What lies in the inbox is found, whatever its shape; an inbox that is away is never taken for an empty one."""

import os
import subprocess
import sys
import tracemalloc
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from cxr_edge.watch.entry import Entry
from cxr_edge.watch.presence import Away, Identity, InboxAway, Presence
from cxr_edge.watch.scan import ScanProblem, is_left_alone, scan

posix = pytest.mark.skipif(os.name != "posix", reason="permissions and links as POSIX has them")


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


def put(file: Path, content: bytes = b"x") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


def look(inbox: Path, skip: Collection[Path] = (), problems: Counter[ScanProblem] | None = None) -> dict[str, Entry]:
    found = list(scan(inbox, skip, Presence(inbox), Counter() if problems is None else problems))
    assert len({entry.relative for entry in found}) == len(found)
    return {entry.relative: entry for entry in found}


def test_finds_files_at_any_depth(inbox: Path) -> None:
    put(inbox / "a.dcm", b"12345")
    file = put(inbox / "CT 1" / "série 結果" / "b")
    os.utime(file, ns=(1, 1_600_000_000_123_456_000))
    found = look(inbox)
    assert set(found) == {"a.dcm", "CT 1/série 結果/b"}
    assert found["a.dcm"].size == 5
    assert Path(found["CT 1/série 結果/b"].path).samefile(file)
    assert found["CT 1/série 結果/b"].mtime_ns == file.stat().st_mtime_ns


def test_finds_what_was_there_and_what_is_new(inbox: Path) -> None:
    assert look(inbox) == {}
    put(inbox / "a")
    assert set(look(inbox)) == {"a"}


@pytest.mark.parametrize(
    "name",
    [".hidden", "~$report.docx", "a.part", "a.DCM.TMP", "a.filepart", "a.crdownload", "Thumbs.db", "desktop.ini", "a~"],
)
def test_temporary_names_are_left_alone(inbox: Path, name: str) -> None:
    assert is_left_alone(name)
    put(inbox / name)
    put(inbox / "folder" / name)
    put(inbox / f"{name}.dcm" if not name.startswith((".", "~$")) else inbox / f"a{name}.dcm")
    assert len(look(inbox)) == 1


@pytest.mark.parametrize("name", ["study.tmp", ".snapshot", "lost+found", "System Volume Information", "@eaDir"])
def test_temporary_folders_are_left_alone(inbox: Path, name: str) -> None:
    put(inbox / name / "deep" / "a.dcm")
    assert look(inbox) == {}


@pytest.mark.parametrize("name", ["partial.dcm", "tmp", "IM000001", "1.2.840.10008", "a.part.dcm", "~wave", "part"])
def test_ordinary_names_are_not(inbox: Path, name: str) -> None:
    put(inbox / name)
    assert set(look(inbox)) == {name}


def test_skips_folders_however_they_are_spelled(inbox: Path, tmp_path: Path) -> None:
    put(inbox / "results" / "a.json")
    put(inbox / "moved" / "done" / "b.dcm")
    put(inbox / "moved" / "c.dcm")
    skip = [
        inbox / "moved" / ".." / "results",
        inbox / "moved" / "done",
        inbox / "not made yet",
        tmp_path / "elsewhere",
    ]
    assert set(look(inbox, skip)) == {"moved/c.dcm"}


def test_skips_a_folder_that_is_made_meanwhile(inbox: Path) -> None:
    put(inbox / "a" / "file")
    put(inbox / "b" / "file")
    walk = scan(inbox, [inbox / "a" / "done", inbox / "b" / "done"], Presence(inbox), Counter())
    next(walk)
    put(inbox / "a" / "done" / "moved")
    put(inbox / "b" / "done" / "moved")
    assert [Path(entry.path).name for entry in walk] == ["file"]


@posix
def test_skips_a_folder_given_by_a_link(inbox: Path, tmp_path: Path) -> None:
    put(inbox / "results" / "a.json")
    (tmp_path / "out").symlink_to(inbox / "results")
    assert look(inbox, [tmp_path / "out"]) == {}
    (tmp_path / "in").symlink_to(inbox)
    assert look(tmp_path / "in", [inbox / "results"]) == {}


@posix
def test_links_to_files_count_and_links_to_folders_do_not(inbox: Path, tmp_path: Path) -> None:
    outside = put(tmp_path / "archive" / "a.dcm", b"12345")
    (inbox / "file").symlink_to(outside)
    (inbox / "folder").symlink_to(outside.parent)
    (inbox / "circle").symlink_to(inbox)
    (inbox / "dangling").symlink_to(inbox / "nothing")
    found = look(inbox)
    assert set(found) == {"file"}
    assert found["file"].size == 5


@posix
def test_a_link_to_itself_is_a_problem(inbox: Path) -> None:
    (inbox / "me").symlink_to(inbox / "me")
    problems: Counter[ScanProblem] = Counter()
    assert look(inbox, problems=problems) == {}
    assert problems == {ScanProblem.FILE_UNREADABLE: 1}


@posix
def test_pipes_are_no_files(inbox: Path) -> None:
    os.mkfifo(inbox / "pipe")
    assert look(inbox) == {}


@posix
def test_names_that_are_no_text(inbox: Path) -> None:
    with open(os.fsencode(inbox) + b"/\xff\xfe", "wb"):  # noqa: PTH123 - Path takes no bytes
        pass
    ((relative, entry),) = look(inbox).items()
    assert os.fsencode(relative) == b"\xff\xfe"
    assert Path(entry.path).exists()


@posix
def test_very_deep_folders_end_in_a_problem_not_in_an_error(inbox: Path) -> None:
    here = os.open(inbox, os.O_RDONLY)
    for _ in range(1500):  # deeper than Python recurses, and than a path may be long
        os.mkdir("deep", dir_fd=here)
        below = os.open("deep", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    put(inbox / "a")
    problems: Counter[ScanProblem] = Counter()
    try:
        assert set(look(inbox, problems=problems)) == {"a"}
        assert problems == {ScanProblem.FOLDER_UNREADABLE: 1}
    finally:
        subprocess.run(["rm", "-rf", str(inbox / "deep")], check=True)


def test_a_folder_that_vanishes_is_a_problem(inbox: Path) -> None:
    for name in ("a", "b"):
        put(inbox / name / "file")
    problems: Counter[ScanProblem] = Counter()
    walk = scan(inbox, (), Presence(inbox), problems)
    first = next(walk)
    other = inbox / ("b" if first.relative.startswith("a") else "a")
    (other / "file").unlink()
    other.rmdir()
    assert list(walk) == []
    assert problems == {ScanProblem.FOLDER_VANISHED: 1}


def test_a_folder_that_cannot_be_read_is_a_problem(inbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(inbox / "closed" / "a")
    put(inbox / "b")
    real = os.scandir

    def scandir(path: str) -> Iterator[os.DirEntry[str]]:
        if path.endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    problems: Counter[ScanProblem] = Counter()
    assert set(look(inbox, problems=problems)) == {"b"}
    assert problems == {ScanProblem.FOLDER_UNREADABLE: 1}


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (FileNotFoundError(2, "gone"), ScanProblem.FOLDER_VANISHED),
        (PermissionError(13, "closed"), ScanProblem.FOLDER_UNREADABLE),
    ],
)
def test_a_folder_that_cannot_be_asked_costs_none_of_its_neighbours(
    inbox: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, problem: ScanProblem
) -> None:
    for name in ("a", "b", "c"):
        put(inbox / "gone" / name)  # a folder amid others: whichever comes first in the listing
        put(inbox / f"folder {name}" / "file")
        put(inbox / f"file {name}")
    real = os.stat

    def stat(path: Any, **more: Any) -> os.stat_result:
        if str(path).endswith("gone"):
            raise error
        return real(path, **more)

    monkeypatch.setattr(os, "stat", stat)
    problems: Counter[ScanProblem] = Counter()
    found = look(inbox, problems=problems)
    assert set(found) == {name for end in "abc" for name in (f"file {end}", f"folder {end}/file")}
    assert problems == {problem: 1}


def test_junctions_are_not_followed(inbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows' branch with a fake: not tried on Windows."""
    put(inbox / "junction" / "a")
    real = os.stat

    class Junction:
        st_dev, st_ino, st_reparse_tag = 1, 2, 0xA0000003

    def stat(path: str, *, follow_symlinks: bool = True) -> object:
        return Junction() if str(path).endswith("junction") else real(path, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(os, "stat", stat)
    assert look(inbox) == {}


def test_memory_is_flat(inbox: Path) -> None:
    for number in range(3000):
        (inbox / f"{number}.dcm").touch()
    walk = scan(inbox, (), Presence(inbox), Counter())
    next(walk)
    tracemalloc.start()
    try:
        assert sum(1 for _ in walk) == 2999
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def away(inbox: Path, presence: Presence) -> Away:
    with pytest.raises(InboxAway) as caught:
        list(scan(inbox, (), presence, Counter()))
    assert str(inbox) not in str(caught.value)
    return caught.value.why


def test_an_inbox_that_was_never_there(tmp_path: Path) -> None:
    assert away(tmp_path / "none", Presence(tmp_path / "none")) is Away.MISSING


def test_an_inbox_that_is_a_file(tmp_path: Path) -> None:
    assert away(tmp_path / "file", Presence(put(tmp_path / "file"))) is Away.NOT_A_FOLDER
    assert away(tmp_path / "file" / "x", Presence(tmp_path / "file" / "x")) is Away.MISSING


def test_renamed_and_back(inbox: Path) -> None:
    put(inbox / "a")
    presence = Presence(inbox)
    assert len(list(scan(inbox, (), presence, Counter()))) == 1
    elsewhere = inbox.rename(inbox.with_name("elsewhere"))
    assert away(inbox, presence) is Away.MISSING
    inbox.mkdir()  # what an unmounted share leaves, on one file system
    assert away(inbox, presence) is Away.REPLACED
    inbox.rmdir()
    elsewhere.rename(inbox)
    assert len(list(scan(inbox, (), presence, Counter()))) == 1


def test_made_anew_it_counts_as_soon_as_it_holds_something(inbox: Path) -> None:
    presence = Presence(inbox)
    presence.check()
    inbox.rename(inbox.with_name("old"))
    inbox.mkdir()
    assert away(inbox, presence) is Away.REPLACED
    put(inbox / "a")
    assert [entry.relative for entry in scan(inbox, (), presence, Counter())] == ["a"]
    (inbox / "a").unlink()
    assert list(scan(inbox, (), presence, Counter())) == []  # it is the inbox now


def test_remembers_over_a_restart(inbox: Path, tmp_path: Path) -> None:
    memory = tmp_path / "inbox.json"
    Presence(inbox, memory).check()
    assert "inbox" not in memory.read_text()  # numbers, no path
    inbox.rename(inbox.with_name("old"))
    inbox.mkdir()
    assert away(inbox, Presence(inbox, memory)) is Away.REPLACED
    assert list(scan(inbox, (), Presence(inbox), Counter())) == []


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"{}", b'{"mount_depth": "1", "device": 1, "inode": 1}', b"[" * 9999]
)
def test_a_broken_memory_is_none(inbox: Path, tmp_path: Path, content: bytes) -> None:
    memory = put(tmp_path / "inbox.json", content)
    Presence(inbox, memory).check()
    Presence(inbox, memory).check()
    assert b"inode" in memory.read_bytes()


def test_a_memory_that_cannot_be_written_is_no_matter(inbox: Path, tmp_path: Path) -> None:
    presence = Presence(inbox, tmp_path / "none" / "inbox.json")
    presence.check()
    presence.check()


MOUNTED = Identity(mount_depth=3, device=50, inode=1)


@pytest.mark.parametrize(
    ("found", "empty", "why"),
    [
        (MOUNTED, True, None),
        (Identity(1, 8, 77), True, Away.UNMOUNTED),
        (Identity(1, 8, 77), False, Away.UNMOUNTED),  # what lies under a mount point is not the inbox
        (Identity(3, 51, 1), True, None),  # mounted again
        (Identity(3, 51, 9), True, None),  # a share whose inodes are made up at each mount
        (Identity(4, 60, 1), True, None),  # a mount that came up after the start
        (Identity(3, 50, 9), True, Away.REPLACED),
        (Identity(3, 50, 9), False, None),
    ],
)
def test_which_folder_is_the_inbox(
    inbox: Path, monkeypatch: pytest.MonkeyPatch, found: Identity, *, empty: bool, why: Away | None
) -> None:
    if not empty:
        put(inbox / "a")
    presence = Presence(inbox)
    monkeypatch.setattr(presence, "_identify", lambda: MOUNTED)
    presence.check()
    monkeypatch.setattr(presence, "_identify", lambda: found)
    if why is None:
        presence.check()
        presence.check()
    else:
        for _ in range(2):
            with pytest.raises(InboxAway) as caught:
                presence.check()
            assert caught.value.why is why
        monkeypatch.setattr(presence, "_identify", lambda: MOUNTED)
        presence.check()


def test_a_share_that_dies_while_it_is_listed(inbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(inbox / "a")

    class Dying:
        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def __iter__(self) -> Self:
            return self

        def __next__(self) -> os.DirEntry[str]:
            raise OSError(116, "Stale file handle")

    presence = Presence(inbox)
    monkeypatch.setattr(os, "scandir", lambda _path: Dying())
    assert away(inbox, presence) is Away.UNREADABLE


def test_away_in_the_middle_of_a_walk(inbox: Path) -> None:
    put(inbox / "a" / "file")
    put(inbox / "b" / "file")
    problems: Counter[ScanProblem] = Counter()
    walk = scan(inbox, (), Presence(inbox), problems)
    next(walk)
    inbox.rename(inbox.with_name("elsewhere"))
    with pytest.raises(InboxAway) as caught:
        list(walk)
    assert caught.value.why is Away.MISSING
    assert not problems


@posix
def test_away_between_the_check_and_the_listing(inbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(inbox / "a")
    presence = Presence(inbox)
    presence.check()
    real = os.scandir

    def scandir(path: str) -> Iterator[os.DirEntry[str]]:
        monkeypatch.setattr(os, "scandir", real)
        inbox.rename(inbox.with_name("elsewhere"))
        inbox.mkdir()
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert away(inbox, presence) is Away.REPLACED


def test_a_share_that_cannot_be_asked(inbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stat(_path: Path) -> os.stat_result:
        raise OSError(112, "Host is down")

    monkeypatch.setattr(Path, "stat", stat)
    with pytest.raises(InboxAway, match="Host is down") as caught:
        Presence(inbox).check()
    assert caught.value.why is Away.UNREADABLE


MOUNTS = """
import os, subprocess, sys
from collections import Counter
from pathlib import Path
from cxr_edge.watch.presence import InboxAway, Presence
from cxr_edge.watch.scan import scan
inbox, memory = Path(sys.argv[1]) / "share" / "inbox", Path(sys.argv[1]) / "memory.json"
share = inbox.parent

def mount():
    subprocess.run(["mount", "-t", "tmpfs", "none", share], check=True)
    inbox.mkdir(exist_ok=True)

def look(presence):
    try:
        return sorted(entry.relative for entry in scan(inbox, (), presence, Counter()))
    except InboxAway as away:
        return str(away.why)

inbox.mkdir(parents=True)  # an inbox under the mount point, as careless set-ups have it
presence = Presence(inbox, memory)
seen = [look(presence)]
mount()
(inbox / "a").touch()
seen.append(look(presence))
subprocess.run(["umount", share], check=True)
seen.append(look(presence))
(inbox / "stray").touch()
seen.append(look(presence))
seen.append(look(Presence(inbox, memory)))
mount()
seen.append(look(presence))
walk = scan(inbox, (), presence, Counter())
results, elsewhere = inbox / "results", share.parent / "results"
results.mkdir(); elsewhere.mkdir(); (results / "r").touch()
subprocess.run(["mount", "--bind", results, elsewhere], check=True)
seen.append([entry.relative for entry in scan(inbox, [elsewhere], presence, Counter())])
subprocess.run(["umount", elsewhere], check=True)
(inbox / "b").touch(); (inbox / "c").touch()
next(walk)
seen.append(subprocess.run(["umount", share], stderr=subprocess.DEVNULL).returncode != 0)
print(seen)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="mounts in a namespace of its own")
def test_unmounted_and_back(tmp_path: Path) -> None:
    namespace = ["unshare", "--user", "--map-root-user", "--mount"]
    if subprocess.run([*namespace, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this system allows no namespaces")
    repository = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [*namespace, sys.executable, "-c", MOUNTS, str(tmp_path)],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(repository)},
    )
    assert done.stdout.strip() == "[[], ['a'], 'unmounted', 'unmounted', 'unmounted', [], [], True]"
