"""Results and the ledger that somebody takes away: nothing is told twice, nor lost without a word, nor turned round."""

import json
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from watching import Recorder, csv_lines, dicom, put, rows, serve_once, serving, until

from cxr_edge.results import Row
from cxr_edge.watch import patience
from cxr_edge.watch.daily_csv import DailyCsv
from cxr_edge.watch.events import (
    Classified,
    CsvRowMissing,
    Duplicate,
    Fault,
    LedgerRebuilt,
    StateChanged,
    StudyNotSummarised,
    StudySummarised,
)
from cxr_edge.watch.ledger import Ledger, StateUnusable
from cxr_edge.watch.outbox import Outbox
from cxr_edge.watch.outbox_fault import OutboxUnavailable
from cxr_edge.watch.settings import Settings


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "FIRST_PAUSE_S", 0.05)
    monkeypatch.setattr("cxr_edge.watch.delivery.TICK_S", 0.05)
    defaults = {**(DailyCsv.__init__.__kwdefaults__ or {}), "interval_s": 0.3}  # longer than the first pauses, as it is
    monkeypatch.setattr(DailyCsv.__init__, "__kwdefaults__", defaults)


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Who takes a result the moment it is there; the contents that were published, as often as they were."""
    write_result, contents = Outbox.write_result, list[str]()

    def taken(outbox: Outbox, row: Row, *heat_map: Any) -> bool:
        written = write_result(outbox, row, *heat_map)
        contents.append(row["source"]["content_sha256"])
        (outbox.folder / f"{contents[-1]}.json").unlink()
        return written

    with monkeypatch.context() as patch:
        patch.setattr(Outbox, "write_result", taken)
        yield contents


def _codes(recorder: Recorder) -> set[str]:
    return {fault.code for fault in recorder.of(Fault)}


def test_a_result_is_published_once_however_soon_it_is_taken(watched: Settings, published: list[str]) -> None:
    names = sorted(put(watched.inbox / f"{n}.dcm", dicom(n)) for n in range(4))
    recorder = serve_once(watched)
    again = serve_once(watched)
    assert sorted(published) == names
    assert sorted(event.content for event in recorder.of(Classified)) == names
    assert not recorder.of(Fault)
    assert not again.of(Classified)


def test_nor_is_it_published_again_for_what_failed_after_it(
    watched: Settings, published: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    finish, fails = Ledger.finish, iter([True, True])

    def failing(*arguments: Any) -> bool:
        if next(fails, False):
            message = "the disk"
            raise StateUnusable(message)
        return finish(*arguments)

    monkeypatch.setattr(Ledger, "finish", failing)
    name = put(watched.inbox / "a.dcm", dicom(1))
    with serving(watched) as running:
        running.waits_for(Classified)
    assert published == [name]
    assert _codes(running.recorder) == {"state_other"}


def test_a_folder_that_goes_away_after_it_is_waited_for(tmp_path: Path) -> None:
    with pytest.raises(OutboxUnavailable):
        Outbox(tmp_path / "gone").written_on("0" * 64)


@pytest.mark.usefixtures("published")
def test_rows_that_the_csv_never_gets_are_told(watched: Settings) -> None:
    for number in range(3):
        put(watched.inbox / f"{number}.dcm", dicom(number))
    recorder = serve_once(watched)
    assert sum(event.rows for event in recorder.of(CsvRowMissing)) == 3
    assert not serve_once(watched).of(CsvRowMissing)


def test_a_study_counts_images_whose_results_were_tidied_away(watched: Settings) -> None:
    for number in range(3):
        put(watched.inbox / f"{number}.dcm", dicom(number))
    serve_once(watched)
    (path,) = watched.results.glob("study-*.json")
    before = json.loads(path.read_bytes())
    for name in rows(watched.results):
        (watched.results / f"{name}.json").unlink()
    put(watched.inbox / "late.dcm", dicom(3))
    recorder = serve_once(watched)
    after = json.loads(path.read_bytes())
    assert (before["images"], after["images"]) == (3, 4)
    assert after["score"] >= before["score"]
    assert [event.images for event in recorder.of(StudySummarised)] == [4]
    path.unlink()  # and with neither the results nor the summary, there is none rather than one of fewer images
    for name in rows(watched.results):
        (watched.results / f"{name}.json").unlink()
    put(watched.inbox / "ct.dcm", dicom(9, Modality="CT"))
    recorder = serve_once(watched)
    assert [event.images for event in recorder.of(StudyNotSummarised)] == [5]
    assert not path.exists()


@pytest.mark.parametrize("salted", [True, False])
def test_a_ledger_that_was_deleted_is_made_again(watched: Settings, *, salted: bool) -> None:
    archive = watched.inbox.parent / "archive"
    settings = replace(watched, after_done=archive)
    names = sorted(put(watched.inbox / f"{n}.dcm", dicom(n)) for n in range(3))
    serve_once(settings)
    for path in watched.state_folder.glob("*" if not salted else "ledger*"):
        path.unlink()
    again = put(watched.inbox / "again.dcm", dicom(1))
    late = put(watched.inbox / "late.dcm", dicom(3))
    recorder = serve_once(settings)
    assert "ledger_missing" in _codes(recorder)
    assert recorder.of(LedgerRebuilt) == [LedgerRebuilt(3, 0)]
    assert [event.content for event in recorder.of(Classified)] == [late]
    assert [event.content for event in recorder.of(Duplicate)] == [again]
    (path,) = watched.results.glob("study-*.json")  # not a second one under the new salt
    assert json.loads(path.read_bytes())["images"] == 4
    assert len(csv_lines(watched.results)) == 4
    assert sorted(rows(watched.results)) == sorted([*names, late])


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be deleted there")
@pytest.mark.parametrize("how", ["deleted", "moved and back"])
def test_a_state_folder_that_goes_away_is_noticed(watched: Settings, how: str) -> None:
    state, aside = watched.state_folder, watched.inbox.parent / "aside"
    with serving(watched) as running:
        running.has(put(watched.inbox / "a.dcm", dicom(1)))
        until(lambda: running.recorder.of(StateChanged)[-1].state == "idle")
        state.rename(aside)
        until(lambda: running.recorder.of(StateChanged)[-1] == StateChanged("state_unavailable", "state_other"))
        late = put(watched.inbox / "late.dcm", dicom(2))
        until(lambda: len(running.recorder.of(Fault)) >= 3)
        assert late not in rows(watched.results)
        if how == "deleted":
            shutil.rmtree(aside)
            state.mkdir()
        else:
            aside.rename(state)
        running.has(late)
        until(lambda: running.recorder.of(StateChanged)[-1].state == "idle")
    assert len(running.recorder.of(Classified)) == 2
    assert len(running.recorder.of(LedgerRebuilt)) == (how == "deleted")
    assert len(csv_lines(watched.results)) == 2
    assert not serve_once(watched).of(Classified)


def test_a_first_start_has_no_ledger_to_miss(watched: Settings) -> None:
    put(watched.inbox / "a.dcm", dicom(1))
    watched.results.mkdir()
    (watched.results / "results-2026-01-01.csv").write_bytes(b"")
    recorder = serve_once(watched)
    assert not recorder.of(LedgerRebuilt)
    assert not recorder.of(Fault)


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_a_csv_that_cannot_be_written_is_a_standing_fault(watched: Settings, kind: str) -> None:
    watched.results.mkdir()
    put(watched.inbox / "a.dcm", dicom(1))
    serve_once(watched)
    (path,) = watched.results.glob("results-*.csv")
    path.unlink()
    path.mkdir() if kind == "folder" else os.mkfifo(path)
    name = put(watched.inbox / "b.dcm", dicom(2))
    with serving(replace(watched, study_timeout_s=0.01)) as running:
        running.has(name)
        until(lambda: len(running.recorder.of(Fault)) >= 4)
        states = [event.state for event in running.recorder.of(StateChanged)]
        assert states.count("outbox_unavailable") == 1
        assert states[-1] == "outbox_unavailable"
        path.rmdir() if kind == "folder" else path.unlink()
        until(lambda: running.recorder.of(StateChanged)[-1].state == "idle")
    pauses = [fault.pause_s for fault in running.recorder.of(Fault)]
    assert pauses[:4] == [0.05, 0.1, 0.2, 0.4]
    assert _codes(running.recorder) == {"outbox_other"}
    assert running.recorder.of(StudySummarised)  # goes on meanwhile
    assert len(csv_lines(watched.results)) == 1
