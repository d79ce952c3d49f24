"""A study is summed up once it is quiet, as `cxr-edge classify` sums it up, and again when a late image comes."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from contracts import make_prediction
from volumes import fill, small_volume

from cxr_edge.errors import Reason
from cxr_edge.results import StudyCollector, to_row
from cxr_edge.results.studies import may_decide
from cxr_edge.types import Gate, Prediction, Rejection, Source, Tags
from cxr_edge.watch.outbox import Outbox, OutboxFault, OutboxUnavailable
from cxr_edge.watch.studies import write_study

SCHEMA = json.loads(files("cxr_edge.results").joinpath("result.schema.json").read_text(encoding="utf-8"))
KEY = bytes(range(16))
NAME = "study-000102030405060708090a0b0c0d0e0f.json"
UID = "1.2.840.1"


def _source(letter: str) -> Source:
    return Source(path=f"{letter}.dcm", sop_instance_uid=f"{UID}.1", study_instance_uid=UID, content_sha256=letter * 64)


def _image(letter: str, score: float, view: str | None = "PA", status: Any = "ok") -> Prediction:
    return make_prediction(
        source=_source(letter),
        score=score,
        positive=score >= 0.5,
        tags=Tags(view_position=view),
        gate=Gate(status),
    )


def _rejection(letter: str) -> Rejection:
    return Rejection(source=_source(letter), reason=Reason.TRUNCATED, message="cut short")


def _write(folder: Path, *results: Prediction | Rejection, identifiers: bool = True) -> list[tuple[str, bool]]:
    images = []
    for result in results:
        Outbox(folder).write_result(to_row(result, identifiers=identifiers))
        assert result.source.content_sha256 is not None
        images.append((result.source.content_sha256, may_decide(result)))
    return images


def _summary(folder: Path) -> dict[str, Any]:
    row: dict[str, Any] = json.loads((folder / NAME).read_bytes())
    jsonschema.Draft202012Validator(SCHEMA).validate(row)
    return row


STUDIES = {
    "highest frontal": (_image("a", 0.2), _image("b", 0.7), _image("c", 0.9, view="LL"), _rejection("d")),
    "first of equals": (_image("a", 0.7), _image("b", 0.7)),
    "refused by the gate": (_image("a", 0.9, status="refused"), _image("b", 0.1)),
    "view not stated": (_image("a", 0.2), _image("b", 0.6, view=None)),
    "none that may decide": (_image("a", 0.9, view="LL"), _rejection("b")),
}


@pytest.mark.parametrize("results", STUDIES.values(), ids=STUDIES)
@pytest.mark.parametrize("identifiers", [True, False])
def test_it_is_the_row_of_classify(
    tmp_path: Path, results: tuple[Prediction | Rejection, ...], *, identifiers: bool
) -> None:
    collector = StudyCollector(identifiers=identifiers)
    for result in results:
        collector.add(result)
    images = _write(tmp_path, *results, identifiers=identifiers)
    assert write_study(Outbox(tmp_path), KEY, images, identifiers=identifiers) is True
    assert [_summary(tmp_path)] == collector.rows()


def test_of_equal_images_the_first_decides(tmp_path: Path) -> None:
    write_study(Outbox(tmp_path), KEY, _write(tmp_path, *STUDIES["first of equals"]))
    assert _summary(tmp_path)["deciding_image"]["path"] == "a.dcm"


def test_identifiers_of_earlier_results_stay_out(tmp_path: Path) -> None:
    images = _write(tmp_path, _image("a", 0.2), _image("b", 0.7))
    write_study(Outbox(tmp_path), KEY, images, identifiers=False)
    assert UID not in (tmp_path / NAME).read_text()
    assert ".dcm" not in (tmp_path / NAME).read_text()
    assert _summary(tmp_path)["deciding_image"]["content_sha256"] == "b" * 64


def test_a_late_image_changes_it_and_the_same_images_do_not(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    images = _write(tmp_path, _image("a", 0.2), _image("b", 0.3))
    write_study(outbox, KEY, images)
    before = (tmp_path / NAME).stat()
    assert _summary(tmp_path)["positive"] is False
    write_study(outbox, KEY, images)
    assert (tmp_path / NAME).stat().st_ino == before.st_ino
    write_study(outbox, KEY, images + _write(tmp_path, _image("c", 0.8)))
    late = _summary(tmp_path)
    assert (late["images"], late["positive"], late["deciding_image"]["path"]) == (3, True, "c.dcm")


def test_one_image_is_no_study(tmp_path: Path) -> None:
    images = _write(tmp_path, _image("a", 0.2))
    assert write_study(Outbox(tmp_path), KEY, images) is False
    assert not (tmp_path / NAME).exists()


def test_a_result_that_is_gone_or_damaged_does_not_count(tmp_path: Path) -> None:
    images = _write(tmp_path, _image("a", 0.9), _image("b", 0.2), _image("c", 0.3), _image("d", 0.8))
    (tmp_path / f"{'a' * 64}.json").unlink()
    (tmp_path / f"{'d' * 64}.json").write_bytes(b"{")
    assert write_study(Outbox(tmp_path), KEY, images) is True
    assert (_summary(tmp_path)["images"], _summary(tmp_path)["deciding_image"]["path"]) == (2, "c.dcm")


def test_what_the_ledger_says_of_a_rejected_image_makes_it_decide_nothing(tmp_path: Path) -> None:
    _write(tmp_path, _rejection("a"), _image("b", 0.2))
    assert write_study(Outbox(tmp_path), KEY, [("a" * 64, True), ("b" * 64, True)]) is True
    assert _summary(tmp_path)["deciding_image"]["path"] == "b.dcm"


def test_a_folder_that_is_away_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    images = _write(folder, _image("a", 0.2), _image("b", 0.3))
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(OutboxUnavailable) as caught:
        write_study(Outbox(folder), KEY, images)
    assert caught.value.kind is OutboxFault.AWAY


def test_full_disk_leaves_the_last_whole_summary(tmp_path: Path) -> None:
    with small_volume(tmp_path / "out") as folder:
        outbox = Outbox(folder)
        images = _write(folder, _image("a", 0.2), _image("b", 0.3), _image("c", 0.9))
        write_study(outbox, KEY, images[:2])
        filler = fill(folder)
        with pytest.raises(OutboxUnavailable) as caught:
            write_study(outbox, KEY, images)
        assert caught.value.kind is OutboxFault.FULL
        assert _summary(folder)["images"] == 2
        filler.unlink()
        write_study(outbox, KEY, images)
        assert _summary(folder)["images"] == 3
