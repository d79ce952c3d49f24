"""A damaged ledger is put aside and made again from the results, wherever that is interrupted."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from contracts import make_prediction

from cxr_edge.errors import Reason
from cxr_edge.results import to_row
from cxr_edge.types import Gate, Note, Rejection, Source
from cxr_edge.watch.entry import Entry
from cxr_edge.watch.keys import Keys
from cxr_edge.watch.ledger import Content, Ledger, LedgerDamaged, Outcome, Rebuilt, StateUnusable
from cxr_edge.watch.outbox import Outbox
from cxr_edge.watch.outbox_fault import OutboxUnavailable
from cxr_edge.watch.rebuild import rebuild
from cxr_edge.watch.stored_row import read_by

KEYS = Keys(bytes(32))
NOON = 1795176000  # 2026-11-20T12:00Z: the same day almost everywhere
REBUILD = """
import sys
from pathlib import Path
from cxr_edge.watch.keys import Keys
from cxr_edge.watch.rebuild import rebuild
folder = Path(sys.argv[1])
(folder / "ready").touch()
rebuild(folder / "ledger.sqlite", Keys(bytes(32)), folder / "results")
"""


def sha256(number: int) -> str:
    return hashlib.sha256(bytes([number % 256, number // 256])).hexdigest()


def classified(number: int, **changes: Any) -> dict[str, Any]:
    source = Source("/inbox/x.dcm", f"1.2.{number}", f"1.{number // 3}", sha256(number))
    return to_row(make_prediction(source=source, **changes))


def rejected(number: int) -> dict[str, Any]:
    source = Source(content_sha256=sha256(number))
    return to_row(Rejection(source=source, reason=Reason.TRUNCATED, message="cut"))


def write_results(outbox: Path, rows: list[dict[str, Any]]) -> None:
    outbox.mkdir(exist_ok=True)
    for row in rows:
        Outbox(outbox).write_result(row)
        os.utime(outbox / f"{row['source']['content_sha256']}.json", (NOON, NOON))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A ledger with a file in it, damaged, and an OUTBOX of five results."""
    path = tmp_path / "ledger.sqlite"
    entry = Entry("a", "", 1, 1)
    with Ledger.open(path, KEYS) as ledger:
        list(ledger.look([entry]))
        ledger.claim(entry)
        ledger.finish(entry, Outcome(content=bytes.fromhex(sha256(0)), state="done", day="2026-11-19"))
    path.write_bytes(b"damaged" * 1000)
    write_results(tmp_path / "results", [*(classified(number) for number in range(4)), rejected(4)])
    return path


def contents(ledger: Ledger) -> int:
    ((n,),) = ledger._select("SELECT count(*) FROM contents")  # noqa: SLF001
    return int(n)


def test_knows_every_result_again(path: Path) -> None:
    with pytest.raises(LedgerDamaged):
        Ledger.open(path, KEYS)
    with rebuild(path, KEYS, path.parent / "results") as ledger:
        assert ledger.rebuilt == Rebuilt(5, 0)
        day = time.strftime("%Y-%m-%d", time.localtime(NOON))
        content = bytes.fromhex(sha256(3))
        assert ledger.known(content) == Content(
            content,
            "classified",
            KEYS.of("1.2.3"),
            KEYS.of("1.1"),
            None,
            0.8,
            decides=True,
            day=day,
            positive=True,
            read_by=read_by(classified(3)),
        )
        content = bytes.fromhex(sha256(4))
        assert ledger.known(content) == Content(
            content, "rejected", None, None, "truncated", None, decides=False, day=day
        )
        assert {(study.key, study.changes) for study in ledger.dirty_studies()} == {
            (KEYS.of("1.0"), 3),
            (KEYS.of("1.1"), 1),
        }
        assert len(ledger.rows_for_csv(10)) == 5
        assert sum(ledger.counts().values()) == 0
        (look,) = ledger.look([Entry("a", "", 1, 1)])
        assert look.status == "new"
    with Ledger.open(path, KEYS) as ledger:
        assert (contents(ledger), ledger.rebuilt) == (5, None)


def test_the_damaged_one_is_kept(path: Path) -> None:
    path.with_name("ledger.sqlite-wal").write_bytes(b"log")
    rebuild(path, KEYS, path.parent / "results").close()
    kept = {file.name: file.read_bytes() for file in path.parent.glob("ledger-damaged-*")}
    assert sorted(content[:7] for content in kept.values()) == [b"damaged", b"log"]
    assert sorted(name[-4:] for name in kept) == ["-wal", "lite"]
    assert len(list(path.parent.glob("ledger*"))) == 3
    path.write_bytes(b"again")
    rebuild(path, KEYS, path.parent / "results").close()
    assert len(list(path.parent.glob("ledger-damaged-*"))) == 3


def test_what_the_gate_refused_decides_no_study(path: Path) -> None:
    gate = Gate("refused", (Note("gate_view", "not frontal"),))
    write_results(path.parent / "results", [classified(9, gate=gate)])
    with rebuild(path, KEYS, path.parent / "results") as ledger:
        known = ledger.known(bytes.fromhex(sha256(9)))
        assert known is not None
        assert not known.decides


def test_results_without_identifiers_belong_to_no_study(path: Path) -> None:
    source = Source(content_sha256=sha256(9))
    write_results(path.parent / "results", [to_row(replace(make_prediction(), source=source), identifiers=False)])
    with rebuild(path, KEYS, path.parent / "results") as ledger:
        known = ledger.known(bytes.fromhex(sha256(9)))
        assert known is not None
        assert known.instance is known.study is None


def test_bad_results_are_skipped_and_counted(path: Path) -> None:
    outbox = path.parent / "results"
    good = json.dumps(classified(9)).encode()
    bad = {
        10: b"",
        11: good[:100],
        12: good,  # of another content
        13: b"[" * 100_000,
        14: good.replace(sha256(9).encode(), sha256(14).encode()).replace(b'"image"', b'"study"'),
        15: good.replace(sha256(9).encode(), sha256(15).encode()) + b" " * 8_000_000,
        16: b"\xff\xfe",
    }
    for number, content in bad.items():
        (outbox / f"{sha256(number)}.json").write_bytes(content)
    (outbox / f"{sha256(17)}.json").mkdir()
    if sys.platform != "win32":
        os.mkfifo(outbox / f"{sha256(18)}.json")
        (outbox / f"{sha256(19)}.json").symlink_to("/dev/zero")
    for other in (
        "results-2026-11-20.csv",
        f"{sha256(20)}.png",
        f"study-{sha256(21)[:32]}.json",
        f"{sha256(2)}.json.bak",
    ):
        (outbox / other).write_bytes(b"nothing")
    with rebuild(path, KEYS, outbox) as ledger:
        assert ledger.rebuilt == Rebuilt(5, 8 if sys.platform == "win32" else 10)
        assert contents(ledger) == 5


def test_a_reason_of_a_newer_release_is_read_and_kept(path: Path) -> None:
    results = path.parent / "results"
    row = rejected(7)
    write_results(results, [{**row, "reason": {"code": "of_tomorrow", "message": "new"}}])
    before = (results / f"{sha256(7)}.json").read_bytes()
    with rebuild(path, KEYS, results) as ledger:
        assert ledger.rebuilt == Rebuilt(6, 0)
        known = ledger.known(bytes.fromhex(sha256(7)))
    assert known is not None
    assert known.reason == Reason.INTERNAL
    assert Outbox(results).write_result(row) is False
    assert (results / f"{sha256(7)}.json").read_bytes() == before


def test_study_summaries_go_on_under_a_new_salt(path: Path) -> None:
    results = path.parent / "results"
    known = {"schema_version": 1, "kind": "study", "status": "rejected", "rejected": 2, "images": 2}
    reason = {"code": "no_image_classified", "message": "none"}

    def write(salt: Keys, uid: str | None, images: int, key: str | None = None) -> Path:
        row = {**known, "images": images, "reason": reason, "source": {"study_instance_uid": uid}}
        file = results / f"study-{salt.of(key or uid or '').hex()}.json"
        file.write_text(json.dumps(row), encoding="ascii")
        return file

    lost = Keys(bytes([1] * 32))
    stale = [write(lost, "1.0", 4), write(lost, "1.1", 3), write(lost, "1.2", 2)]
    kept = [write(KEYS, "1.1", 2), write(KEYS, "1.2", 3), write(lost, None, 5)]
    cut = results / f"study-{'0' * 32}.json"
    cut.write_bytes(b"{")
    for _ in range(2):
        rebuild(path, KEYS, results).close()
        found = {file.name: json.loads(file.read_bytes())["images"] for file in results.glob("study-*") if file != cut}
        first = f"study-{KEYS.of('1.0').hex()}.json"
        assert found == {first: 4, kept[0].name: 3, kept[1].name: 3, kept[2].name: 5}
        assert not {file.name for file in stale} & set(found)
        assert cut.read_bytes() == b"{"
        path.write_bytes(b"damaged again")


def test_a_summary_that_may_not_be_renamed_holds_up_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results, replace_file = path.parent / "results", Path.replace
    row = {"schema_version": 1, "kind": "study", "status": "rejected", "rejected": 2, "images": 2}
    rest = {"reason": {"code": "no_image_classified", "message": "none"}, "source": {"study_instance_uid": "1.0"}}
    stale = results / f"study-{'1' * 32}.json"
    stale.write_text(json.dumps({**row, **rest}), encoding="ascii")

    def refuse(source: Path, target: Path) -> Path:
        if source == stale:
            raise PermissionError(13, "Permission denied")
        return replace_file(source, target)

    monkeypatch.setattr(Path, "replace", refuse)
    with rebuild(path, KEYS, results) as ledger:
        assert ledger.rebuilt == Rebuilt(5, 0)
    assert stale.exists()


def test_an_outbox_that_is_away_changes_nothing(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(OutboxUnavailable):
        rebuild(path, KEYS, path.parent / "nowhere")
    with pytest.raises(OutboxUnavailable):  # unmounted: the folder is there, and empty
        rebuild(path, KEYS, path.parent / "results", marker=".lock")
    assert path.read_bytes() == before
    with pytest.raises(LedgerDamaged):
        Ledger.open(path, KEYS)


def test_an_unusable_state_folder_is_told_without_its_name(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    with pytest.raises(StateUnusable) as caught:
        rebuild(tmp_path / "PATIENT" / "ledger.sqlite", KEYS, tmp_path / "results")
    assert "PATIENT" not in str(caught.value)


def test_interrupted_at_any_step_it_is_done_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (path.with_name("ledger.sqlite-wal")).write_bytes(b"log")
    folder = path.parent
    pristine = folder.with_name("pristine")
    shutil.copytree(folder, pristine)
    steps = 0
    finished = False
    while not finished:
        shutil.rmtree(folder)
        shutil.copytree(pristine, folder)
        with monkeypatch.context() as patch:
            left = [steps]
            for name in ("rename", "replace", "unlink", "fsync"):
                patch.setattr(os, name, _interrupting(getattr(os, name), left))
            try:
                rebuild(path, KEYS, folder / "results").close()
            except KeyboardInterrupt:
                pass
            else:
                finished = True
        kept = [file.read_bytes()[:7] for file in folder.glob("ledger*") if file.suffix == ".sqlite"]
        assert b"damaged" in kept
        try:
            ledger = Ledger.open(path, KEYS)
        except LedgerDamaged:
            ledger = rebuild(path, KEYS, folder / "results")
        with ledger:
            assert contents(ledger) == 5
        steps += 1
    assert steps > 5


def _interrupting(call: Callable[..., Any], left: list[int]) -> Callable[..., Any]:
    def wrapped(*arguments: Any, **named: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return call(*arguments, **named)

    return wrapped


def test_killed_at_any_moment_it_is_done_again(path: Path) -> None:
    folder = path.parent
    write_results(folder / "results", [classified(number) for number in range(600)])
    lost = 0
    for number in range(12):
        for old in folder.glob("ledger*"):
            old.unlink()
        path.write_bytes(b"damaged" * 1000)
        (folder / "ready").unlink(missing_ok=True)
        child = subprocess.Popen([sys.executable, "-c", REBUILD, str(folder)])
        try:
            while not (folder / "ready").exists() and child.poll() is None:
                time.sleep(0.001)
            time.sleep(0.04 * number)
        finally:
            child.kill()
            child.wait()
        if sys.platform != "win32":
            assert child.returncode in (0, -signal.SIGKILL)
        try:
            ledger = Ledger.open(path, KEYS)
        except LedgerDamaged:
            lost += 1
            ledger = rebuild(path, KEYS, folder / "results")
        with ledger:
            assert contents(ledger) == 600
            assert ledger._select("PRAGMA integrity_check") == [("ok",)]  # noqa: SLF001
    assert lost > 0
