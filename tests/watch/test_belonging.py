"""One state folder, one inbox, one results folder: under whatever path, but no other."""

import json
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from contracts import make_contract
from tiny_models import tiny_model
from watching import Recorder, dicom, put, rows, serve_once

from cxr_edge.contract import Contract
from cxr_edge.errors import UsageError
from cxr_edge.watch import service
from cxr_edge.watch.belonging import MARK_NAME, MEMORY_NAME, Belonging
from cxr_edge.watch.settings import Settings


@pytest.fixture
def used(watched: Settings) -> Settings:
    """A watcher that has run once."""
    put(watched.inbox / "a.dcm", dicom(1))
    serve_once(watched)
    return watched


def _refusal(settings: Settings) -> str:
    recorder = Recorder()
    with pytest.raises(UsageError) as caught:
        service.run(settings, threading.Event(), recorder)
    assert recorder.events == []
    return str(caught.value)


@pytest.mark.parametrize("exists", [True, False])
def test_another_results_folder_is_refused(used: Settings, *, exists: bool) -> None:
    other = replace(used, results=used.results.with_name("other"))
    if exists:
        other.results.mkdir()
    message = _refusal(other)
    for part in ("belongs to another results folder than", "need the one it was used with", "--state"):
        assert part in message
    assert "\n" not in message
    assert other.results.exists() is exists
    with_its_own = replace(other, state=used.results.with_name("another state"))
    serve_once(with_its_own)
    assert list(rows(other.results)) == list(rows(used.results))
    assert "another results folder" in _refusal(other)  # its mark is that of another


def test_another_inbox_is_refused(used: Settings) -> None:
    other = replace(used, inbox=used.inbox.with_name("other"))
    put(other.inbox / "a.dcm", dicom(2))
    assert "belongs to another inbox than" in _refusal(other)
    assert len(rows(used.results)) == 1


@pytest.mark.parametrize("how", ["renamed", "copied", "by another path"])
@pytest.mark.parametrize("which", ["inbox", "results"])
def test_a_folder_may_move(used: Settings, which: str, how: str) -> None:
    folder: Path = getattr(used, which)
    moved = folder.with_name("moved")
    if how == "renamed":
        folder.rename(moved)
    elif how == "copied":
        shutil.copytree(folder, moved)
    else:
        moved.symlink_to(folder, target_is_directory=True)
    settings = replace(used, inbox=moved) if which == "inbox" else replace(used, results=moved)
    put(settings.inbox / "b.dcm", dicom(2))
    serve_once(settings)
    assert len(rows(settings.results)) == 2
    serve_once(settings)


def test_what_stays_in_its_place_is_the_same(used: Settings) -> None:
    (used.results / MARK_NAME).unlink()
    (used.inbox / MARK_NAME).write_bytes(b"\xff no mark")
    put(used.inbox / "b.dcm", dicom(2))
    serve_once(used)
    assert len(rows(used.results)) == 2
    (used.state_folder / MEMORY_NAME).unlink()  # of an earlier release
    serve_once(used)
    assert (used.state_folder / MEMORY_NAME).exists()


def test_an_inbox_that_cannot_be_marked(watched: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    from cxr_edge.errors import OutputError
    from cxr_edge.files import replace_alone
    from cxr_edge.watch import belonging

    def refused(target: Path, content: bytes) -> None:
        if target.parent == watched.inbox:
            message = "read-only"
            raise OutputError(message)
        replace_alone(target, content)

    monkeypatch.setattr(belonging, "replace_alone", refused)
    watched.state_folder.mkdir(parents=True)
    held = Belonging(watched, watched.state_folder)
    held.remember("inbox")
    Belonging(watched, watched.state_folder).check()
    with pytest.raises(UsageError, match="another inbox"):
        Belonging(replace(watched, inbox=watched.inbox.parent), watched.state_folder).check()


def test_no_path_is_remembered_in_the_clear(used: Settings) -> None:
    memory = (used.state_folder / MEMORY_NAME).read_text(encoding="ascii")
    assert used.inbox.parent.name not in memory
    assert "/" not in memory


@pytest.fixture
def other_model(tmp_path: Path) -> str:
    """A model of another name."""
    return str(tiny_model(tmp_path, _named("other-model", "1.0.0")))


def _named(name: str, version: str) -> Contract:
    contract = make_contract()
    return replace(contract, identity=replace(contract.identity, name=name, version=version))


def _refused_model(settings: Settings) -> str:
    with pytest.raises(UsageError) as caught:
        serve_once(settings)
    return str(caught.value)


@pytest.mark.parametrize("lost", [None, "state", "memory"])
def test_another_model_is_refused(used: Settings, other_model: str, lost: str | None) -> None:
    if lost == "state":  # a new ledger would be made from the other model's results
        shutil.rmtree(used.state_folder)
    elif lost == "memory":
        (used.state_folder / MEMORY_NAME).unlink()
    put(used.inbox / "b.dcm", dicom(2))
    message = _refused_model(replace(used, model=other_model))
    folder = "results" if lost else "state"
    for part in (f"the {folder} folder belongs to the model test-model; this one is other-model", "--results, --state"):
        assert part in message
    assert "\n" not in message
    assert len(rows(used.results)) == 1
    elsewhere = used.results.with_name("elsewhere")
    serve_once(replace(used, model=other_model, results=elsewhere, state=used.results.with_name("another state")))
    assert {row["model"]["name"] for row in rows(elsewhere).values()} == {"other-model"}
    serve_once(used)
    assert len(rows(used.results)) == 2


def test_a_new_version_of_the_model_goes_on(used: Settings, tmp_path: Path) -> None:
    put(used.inbox / "b.dcm", dicom(2))
    serve_once(replace(used, model=str(tiny_model(tmp_path, _named("test-model", "2.0.0")))))
    assert sorted(row["model"]["version"] for row in rows(used.results).values()) == ["1.0.0", "2.0.0"]


def test_a_memory_of_an_earlier_release_is_completed(used: Settings, other_model: str) -> None:
    for file in (used.state_folder / MEMORY_NAME, used.results / MARK_NAME):
        known = json.loads(file.read_bytes())
        assert known.pop("model") == "test-model"
        file.write_text(json.dumps(known))
    serve_once(replace(used, model=other_model))
    assert json.loads((used.state_folder / MEMORY_NAME).read_bytes())["model"] == "other-model"
    assert "belongs to the model other-model; this one is test-model" in _refused_model(used)
