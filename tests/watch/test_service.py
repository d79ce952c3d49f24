"""The whole service in a thread, with a tiny network: each file once in effect, and what is written of it."""

import csv
import json
import os
import sys
import threading
from dataclasses import replace

import pytest
from watching import (
    UID_ROOT,
    Recorder,
    csv_lines,
    dicom,
    partial_files,
    picture,
    put,
    rows,
    serve_once,
    serving,
    statuses,
    until,
)

import cxr_edge
from cxr_edge.decode import DecodeLimits
from cxr_edge.errors import OutputError, UsageError
from cxr_edge.heatmap import heat_map_png
from cxr_edge.watch import backlog, service
from cxr_edge.watch.events import (
    Classified,
    Conflict,
    Duplicate,
    Event,
    Moved,
    Queued,
    Rejected,
    Scanned,
    StateChanged,
    StudySummarised,
)
from cxr_edge.watch.settings import Settings


def _without_times(row: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in row.items() if name != "latency_ms"}


def test_every_file_has_one_result(watched: Settings) -> None:
    inbox = watched.inbox
    good = [put(inbox / f"ward {n % 3}" / "胸部" / f"{n}.png", picture(n)) for n in range(4)]
    good += [put(inbox / f"{n}.dcm", dicom(n)) for n in range(3)]
    bad = {
        put(inbox / "notes.txt", b"no image at all, and long enough to be told from the beginning of one. " * 3),
        put(inbox / "ct.dcm", dicom(50, Modality="CT")),
        put(inbox / "lateral.dcm", dicom(51, ViewPosition="LL")),
    }
    put(inbox / "still.copied.dcm.part", dicom(60))
    put(inbox / ".hidden", dicom(61))
    recorder = serve_once(watched)
    found = statuses(watched.results)
    assert found == dict.fromkeys(good, "classified") | {name: found[name] for name in bad}
    assert sorted(found[name] for name in bad) == ["gate_modality", "gate_view", "unknown_format"]
    assert sorted(event.content for event in recorder.of(Classified)) == sorted(good)
    assert {event.content for event in recorder.of(Rejected)} == bad
    assert len(csv_lines(watched.results)) == len(found)
    assert {line["content_sha256"] for line in _csv(watched)} == set(found)
    assert partial_files(watched.inbox.parent) == ["still.copied.dcm.part"]
    assert [path.name for path in inbox.rglob("*") if path.is_file()].count("0.png") == 1  # inputs stay


def _csv(settings: Settings) -> list[dict[str, str]]:
    (path,) = settings.results.glob("results-*.csv")
    with path.open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_result_is_what_classify_says(watched: Settings) -> None:
    paths = [watched.inbox / "a" / "one.dcm", watched.inbox / "two.png", watched.inbox / "three.bin"]
    contents = (dicom(1), picture(2), b"nothing " * 40)
    names = [put(path, content) for path, content in zip(paths, contents, strict=True)]
    serve_once(watched)
    found = rows(watched.results)
    with cxr_edge.load(watched.model, provider="cpu") as classifier:
        for name, result in zip(names, classifier.classify_many(paths), strict=True):
            assert _without_times(found[name]) == _without_times(cxr_edge.results.to_row(result))


def test_a_second_run_does_nothing(watched: Settings) -> None:
    for number in range(3):
        put(watched.inbox / f"{number}.png", picture(number))
    put(watched.inbox / "bad.dcm", b"no image " * 30)
    put(watched.inbox / "again" / "0.png", picture(0))
    serve_once(watched)
    written = {path: path.stat().st_mtime_ns for path in watched.results.glob("*.*") if path.is_file()}
    recorder = serve_once(watched)
    assert not [e for e in recorder.events if isinstance(e, Classified | Rejected | Duplicate)]
    visible = {path: time for path, time in written.items() if not path.name.startswith(".")}
    assert visible == {path: path.stat().st_mtime_ns for path in visible}
    (scanned,) = recorder.of(Scanned)
    assert scanned.states is not None
    assert (scanned.states["done"], scanned.states["rejected"], scanned.states["claimed"]) == (4, 1, 0)


def test_what_arrives_while_it_runs(watched: Settings) -> None:
    with serving(watched) as running:
        running.waits_for(Scanned)
        part = watched.inbox / "new folder" / "image.dcm.part"
        name = put(part, dicom(1))
        other = put(watched.inbox / "later.png", picture(1))
        running.has(other)
        assert name not in rows(watched.results)
        part.rename(part.with_suffix(""))
        running.has(name)
        until(lambda: running.recorder.of(StateChanged)[-1].state == "idle")
        assert running.recorder.of(Queued)[-1].in_flight == 0
    states = [event.state for event in running.recorder.of(StateChanged)]
    assert states[:2] == ["starting", "idle"]
    assert states[-2:] == ["stopping", "stopped"]


@pytest.mark.parametrize("identifiers", [True, False])
def test_one_content_under_many_names(watched: Settings, *, identifiers: bool) -> None:
    with serving(replace(watched, identifiers=identifiers)) as running:
        for name in ("a.dcm", "b.dcm", "c/d.dcm"):
            content = put(watched.inbox / name, dicom(1))
        running.waits_for(Duplicate, 2)
        put(watched.inbox / "much later.dcm", dicom(1))
        running.waits_for(Duplicate, 3)
    assert [event.content for event in running.recorder.of(Classified)] == [content]
    assert {event.content for event in running.recorder.of(Duplicate)} == {content}
    assert len({event.file for event in running.recorder.of(Duplicate)}) == 3
    assert list(rows(watched.results)) == [content]
    assert len(csv_lines(watched.results)) == 1


@pytest.mark.parametrize("identifiers", [True, False])
def test_one_uid_with_other_pixels_is_a_conflict(watched: Settings, *, identifiers: bool) -> None:
    with serving(replace(watched, identifiers=identifiers)) as running:
        first = put(watched.inbox / "first.dcm", dicom(1, instance=7))
        running.has(first)
        running.waits_for(Classified)
        second = put(watched.inbox / "second.dcm", dicom(2, instance=7))
        running.waits_for(Conflict)
    (conflict,) = running.recorder.of(Conflict)
    assert (conflict.content, conflict.other) == (second, first)
    found = rows(watched.results)
    assert [note["code"] for note in found[second]["warnings"]] == ["sop_instance_uid_conflict"]
    assert found[first]["warnings"] == []
    assert UID_ROOT not in repr(conflict)


def test_a_study_is_summed_up_when_it_is_quiet(watched: Settings) -> None:
    with serving(replace(watched, study_timeout_s=1.0)) as running:
        first = [put(watched.inbox / f"{n}.dcm", dicom(n)) for n in (1, 2)]
        put(watched.inbox / "other study.dcm", dicom(3, study=2))
        running.waits_for(StudySummarised)
        (path,) = watched.results.glob("study-*.json")
        assert json.loads(path.read_bytes())["images"] == 2
        late = put(watched.inbox / "late.dcm", dicom(4))
        running.waits_for(StudySummarised, 2)
    row = json.loads(path.read_bytes())
    assert row["kind"] == "study"
    assert row["images"] == 3
    assert row["source"]["study_instance_uid"] == f"{UID_ROOT}.2.1"
    assert row["deciding_image"]["content_sha256"] in [*first, late]
    assert len(list(watched.results.glob("study-*.json"))) == 1  # a study of one image has none
    assert UID_ROOT not in path.name


@pytest.mark.parametrize("order", ["oldest", "newest"])
def test_which_come_first(watched: Settings, order: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "LENGTH", 3)  # and no more are remembered than that, however many wait
    made = {}
    for number in (3, 1, 7, 5, 2, 8, 4, 6):
        made[number] = put(watched.inbox / f"{number}.png", picture(number))
        os.utime(watched.inbox / f"{number}.png", (1e9 + number, 1e9 + number))
    recorder = serve_once(replace(watched, order="newest" if order == "newest" else "oldest"))
    expected = [made[number] for number in sorted(made, reverse=order == "newest")]
    assert [event.content for event in recorder.of(Classified)] == expected
    assert max(event.waiting for event in recorder.of(Queued)) == 8


@pytest.mark.parametrize("inside", [True, False])
def test_decided_files_are_moved(watched: Settings, *, inside: bool) -> None:
    above = watched.inbox if inside else watched.inbox.parent
    settings = replace(watched, after_done=above / "done", after_rejected=above / "refused")
    for folder in (settings.after_done, settings.after_rejected):
        assert folder is not None
        folder.mkdir()
    good = put(watched.inbox / "ward" / "good.dcm", dicom(1))
    bad = put(watched.inbox / "ward" / "bad.dcm", b"no image " * 30)
    recorder = serve_once(settings)
    assert {(event.content, event.after) for event in recorder.of(Moved)} == {(good, "done"), (bad, "rejected")}
    assert (above / "done" / "ward" / "good.dcm").read_bytes() == dicom(1)
    assert (above / "refused" / "ward" / "bad.dcm").read_bytes() == b"no image " * 30
    assert list((watched.inbox / "ward").iterdir()) == []
    put(watched.inbox / "ward" / "good.dcm", dicom(1))  # the same name and content come again
    with serving(settings) as running:
        running.waits_for(Moved)
    assert len(running.recorder.of(Duplicate)) == 1
    assert len(rows(watched.results)) == 2


def test_once_moves_copies_too(watched: Settings) -> None:
    settings = replace(watched, after_done=watched.inbox.parent / "done")
    (watched.inbox.parent / "done").mkdir()
    for name in ("a.dcm", "b.dcm"):
        put(watched.inbox / name, dicom(1))
    recorder = serve_once(settings)
    assert list(watched.inbox.glob("[!.]*")) == []
    assert (len(recorder.of(Classified)), len(recorder.of(Duplicate))) == (1, 1)


def test_a_move_that_was_owed(watched: Settings) -> None:
    content = put(watched.inbox / "good.dcm", dicom(1))
    serve_once(watched)
    target = watched.inbox.parent / "done"
    target.mkdir()
    recorder = serve_once(replace(watched, after_done=target))
    assert [event.content for event in recorder.of(Moved)] == [content]
    assert (target / "good.dcm").exists()


def test_a_heat_map_beside_the_result(watched: Settings) -> None:
    from PIL import Image

    good = put(watched.inbox / "good.dcm", dicom(1))
    put(watched.inbox / "bad.dcm", b"no image " * 30)
    serve_once(replace(watched, heatmap=True))
    (path,) = watched.results.glob("*.png")
    assert path.stem == good
    with Image.open(path) as image:
        image.load()


def test_a_heat_map_of_one_label(watched: Settings) -> None:
    good = put(watched.inbox / "good.dcm", dicom(1))
    put(watched.inbox / "bad.dcm", b"no image " * 30)
    with pytest.raises(UsageError, match="no label 'VIRAL'; it has NORMAL, PNEUMONIA"):
        serve_once(replace(watched, heatmap=True, heatmap_label="VIRAL"))
    serve_once(replace(watched, heatmap=True, heatmap_label="NORMAL"))
    (path,) = watched.results.glob("*.png")
    assert path.name == f"{good}-0.png"
    classifier = cxr_edge.load(watched.model)
    prediction = classifier.classify(watched.inbox / "good.dcm", keep_radiograph=True)
    assert path.read_bytes() == heat_map_png(prediction, classifier.contract, "NORMAL")
    assert path.read_bytes() != heat_map_png(prediction, classifier.contract)


def test_without_identifiers(watched: Settings) -> None:
    marked = watched.inbox / "MARKED folder" / "MARKED.dcm"
    put(marked, dicom(1))
    put(marked.with_name("MARKED too.dcm"), dicom(2))
    put(marked.with_name("MARKED bad.dcm"), b"no image " * 30)
    serve_once(replace(watched, identifiers=False))
    written = [path.read_bytes() for path in watched.results.iterdir()]
    assert any(b'"kind": "study"' in content for content in written)
    assert not [content for content in written if b"MARKED" in content or UID_ROOT.encode() in content]


def test_its_own_outputs_are_no_inputs(watched: Settings) -> None:
    inside = watched.inbox / "a" / "results"
    inside.parent.mkdir()
    (watched.inbox.parent / "another way").symlink_to(watched.inbox, target_is_directory=True)
    name = put(watched.inbox / "good.dcm", dicom(1))
    settings = replace(watched, results=watched.inbox.parent / "another way" / "a" / "results", heatmap=True)
    with serving(settings) as running:
        running.has(name)
        seen = len(running.recorder.of(Scanned))
        until(lambda: len(running.recorder.of(Scanned)) > seen + 3)
    assert list(rows(inside)) == [name]
    assert (inside / f"{name}.png").exists()
    assert {event.files for event in running.recorder.of(Scanned)} == {1}


@pytest.mark.skipif(sys.platform != "linux", reason="names that only Linux allows")
def test_names_that_nobody_expects(watched: Settings) -> None:
    target = watched.inbox.parent / "done"
    target.mkdir()
    names = [b"\xff\xfe.dcm", b"two\nlines.dcm", b"=1+2", "胸部 ☃".encode(), b"n" * 255, b"- rf *"]
    made = []
    for number, name in enumerate(names):
        path = watched.inbox / os.fsdecode(name) / os.fsdecode(name)
        made.append(put(path, dicom(number)))
    serve_once(replace(watched, after_done=target))
    assert statuses(watched.results) == dict.fromkeys(made, "classified")
    assert len(_csv(watched)) == len(made)
    assert not [line for line in _csv(watched) if line["path"].startswith("=")]
    assert {os.fsencode(path.name) for path in target.glob("*/*")} == set(names)


def test_a_file_that_is_too_large_is_hashed_and_not_kept(watched: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    small = put(watched.inbox / "small.png", picture(1))
    large = put(watched.inbox / "large.dcm", dicom(1) + bytes(10_000))
    limit = len(picture(1)) + 100
    monkeypatch.setattr("cxr_edge.watch.work.DecodeLimits", lambda: DecodeLimits(file_bytes=limit))
    serve_once(watched)
    assert statuses(watched.results) == {small: "classified", large: "too_large"}


def test_stopped_in_the_middle_it_goes_on_later(watched: Settings) -> None:
    made = {put(watched.inbox / f"{number}.png", picture(number)) for number in range(40)}
    stop = threading.Event()

    class Stopper(Recorder):
        def observe(self, event: Event) -> None:
            super().observe(event)
            if isinstance(event, Classified) and len(self.of(Classified)) == 5:
                stop.set()

    first = Stopper()
    assert service.run(watched, stop, first) == 0
    done = [event.content for event in first.of(Classified)]
    assert 5 <= len(done) < 40
    assert set(rows(watched.results)) == set(done)
    assert len(csv_lines(watched.results)) == len(done)
    second = serve_once(watched)
    assert sorted(done + [event.content for event in second.of(Classified)]) == sorted(made)
    assert not second.of(Duplicate)


def test_an_inbox_that_never_was_is_a_mistake(watched: Settings) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        service.run(replace(watched, inbox=watched.inbox / "typo"), threading.Event(), Recorder())


def test_results_that_are_a_file(watched: Settings) -> None:
    watched.results.write_bytes(b"")
    with pytest.raises(OutputError, match="is no folder"):
        service.run(watched, threading.Event(), Recorder())
