"""A study is summed up once it is quiet, as `cxr-edge classify` sums it up, and again when a late image comes."""

import json
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from contracts import POINT, make_prediction
from volumes import fill, small_volume

from cxr_edge.errors import Reason
from cxr_edge.results import StudyCollector, to_row
from cxr_edge.results.studies import may_decide
from cxr_edge.types import Gate, ModelIdentity, Prediction, Rejection, Source, Tags
from cxr_edge.watch.ledger_values import Content
from cxr_edge.watch.outbox import Outbox
from cxr_edge.watch.outbox_fault import OutboxFault, OutboxUnavailable
from cxr_edge.watch.stored_row import parse_study, read_by
from cxr_edge.watch.studies import SEVERAL_MODELS, Summary, write_study

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


def _known(result: Prediction | Rejection) -> Content:
    """What the ledger has of it."""
    assert result.source.content_sha256 is not None
    content = bytes.fromhex(result.source.content_sha256)
    if isinstance(result, Rejection):
        return Content(content, "rejected", None, KEY, result.reason.value, None, decides=False, day="")
    return Content(
        content,
        "classified",
        None,
        KEY,
        None,
        result.score,
        decides=may_decide(result),
        day="",
        positive=result.positive,
        read_by=read_by(to_row(result)),
    )


def _write(folder: Path, *results: Prediction | Rejection, identifiers: bool = True) -> list[Content]:
    for result in results:
        Outbox(folder).write_result(to_row(result, identifiers=identifiers))
    return [_known(result) for result in results]


def _take(folder: Path, *letters: str) -> None:
    for letter in letters:
        (folder / f"{letter * 64}.json").unlink()


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
    assert write_study(Outbox(tmp_path), KEY, images, identifiers=identifiers) is Summary.WRITTEN
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
    assert write_study(Outbox(tmp_path), KEY, images) is Summary.NOT_NEEDED
    assert not (tmp_path / NAME).exists()


def test_images_whose_results_are_gone_or_damaged_count(tmp_path: Path) -> None:
    images = _write(tmp_path, _image("a", 0.2), _image("b", 0.9), _image("c", 0.3), _rejection("d"))
    _take(tmp_path, "a", "d")
    (tmp_path / f"{'c' * 64}.json").write_bytes(b"{")
    assert write_study(Outbox(tmp_path), KEY, images) is Summary.WRITTEN
    summary = _summary(tmp_path)
    assert (summary["images"], summary["rejected"], summary["deciding_image"]["path"]) == (4, 1, "b.dcm")
    assert summary["source"]["study_instance_uid"] == UID


@pytest.mark.parametrize("identifiers", [True, False])
def test_the_last_summary_speaks_for_a_deciding_image_that_is_gone(tmp_path: Path, *, identifiers: bool) -> None:
    images = _write(tmp_path, _image("a", 0.9), _image("b", 0.2))
    write_study(Outbox(tmp_path), KEY, images)
    before = _summary(tmp_path)
    _take(tmp_path, "a", "b")
    images += _write(tmp_path, _image("c", 0.1), _rejection("d"))
    assert write_study(Outbox(tmp_path), KEY, images, identifiers=identifiers) is Summary.WRITTEN
    after = _summary(tmp_path)
    assert (after["images"], after["rejected"], after["positive"]) == (4, 1, True)
    assert (UID in (tmp_path / NAME).read_text()) is identifiers
    if identifiers:
        assert after == {**before, "images": 4, "rejected": 1}


@pytest.mark.parametrize("spoil", [None, b"", b"{}", b'{"kind": "study"}', b"[" * 100_000, "other", "rejected", "cut"])
def test_without_the_deciding_image_there_is_no_new_summary(tmp_path: Path, spoil: bytes | str | None) -> None:
    images = _write(tmp_path, _image("a", 0.1), _image("b", 0.2), _image("c", 0.9))
    write_study(Outbox(tmp_path), KEY, images[:2])
    data = (tmp_path / NAME).read_bytes()
    wrong = {
        "other": data,  # decided by another image
        "rejected": data.replace(b'"classified"', b'"rejected"'),
        "cut": data.replace(b"b" * 64, b"c" * 64)[:-50],
    }
    _take(tmp_path, "c")
    content = wrong[spoil] if isinstance(spoil, str) else spoil
    (tmp_path / NAME).unlink()
    if content is not None:
        (tmp_path / NAME).write_bytes(content)
    assert write_study(Outbox(tmp_path), KEY, images) is Summary.NOT_POSSIBLE
    assert ((tmp_path / NAME).read_bytes() if content is not None else None) == content


def test_a_ledger_that_knows_fewer_images_changes_no_summary(tmp_path: Path) -> None:
    images = _write(tmp_path, _image("a", 0.9), _image("b", 0.2), _image("c", 0.3))
    write_study(Outbox(tmp_path), KEY, images)
    assert write_study(Outbox(tmp_path), KEY, images[1:]) is Summary.NOT_POSSIBLE
    assert _summary(tmp_path)["images"] == 3


def test_where_none_decides_the_study_keeps_its_uid(tmp_path: Path) -> None:
    images = _write(tmp_path, _image("a", 0.9, view="LL"), _rejection("b"))
    write_study(Outbox(tmp_path), KEY, images)
    _take(tmp_path, "a", "b")
    assert write_study(Outbox(tmp_path), KEY, [*images, _known(_rejection("c"))]) is Summary.WRITTEN
    summary = _summary(tmp_path)
    assert (summary["images"], summary["rejected"], summary["status"]) == (3, 2, "rejected")
    assert summary["source"]["study_instance_uid"] == UID


def test_a_uid_that_the_deciding_row_withholds_comes_from_another(tmp_path: Path) -> None:
    images = _write(tmp_path, _image("a", 0.9), identifiers=False) + _write(tmp_path, _image("b", 0.2))
    write_study(Outbox(tmp_path), KEY, images)
    assert _summary(tmp_path)["source"]["study_instance_uid"] == UID


def test_a_deciding_row_that_stands_as_rejected_decides_nothing(tmp_path: Path) -> None:
    images = [_known(_image("a", 0.9)), *_write(tmp_path, _image("b", 0.2))]
    _write(tmp_path, _rejection("a"))
    assert write_study(Outbox(tmp_path), KEY, images) is Summary.NOT_POSSIBLE


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


OLD_MODEL = ModelIdentity("old", "1.0.0", "cd" * 32)


def _of_two_models() -> tuple[Prediction, Prediction]:
    """A positive of one model and a higher negative of another one."""
    old = replace(_image("a", 0.3), positive=True, model=OLD_MODEL, operating_point=replace(POINT, threshold=0.244))
    return old, _image("b", 0.4)


def _of_an_earlier_release(images: list[Content]) -> list[Content]:
    return [replace(image, positive=None, read_by=None) for image in images]


@pytest.mark.parametrize("earlier", [True, False])
def test_a_positive_decides_before_a_higher_negative_of_another_model(tmp_path: Path, *, earlier: bool) -> None:
    images = _write(tmp_path, *_of_two_models())
    if earlier:
        images = _of_an_earlier_release(images)
    assert write_study(Outbox(tmp_path), KEY, images) is Summary.WRITTEN
    summary = _summary(tmp_path)
    assert (summary["positive"], summary["deciding_image"]["path"]) == (True, "a.dcm")
    assert summary["warnings"] == [SEVERAL_MODELS]
    assert parse_study((tmp_path / NAME).read_bytes()) == summary
    late = [*images, *_write(tmp_path, _image("c", 0.45))]
    _take(tmp_path, "a", "b", "c")  # the ledger knows, or the last summary does
    assert write_study(Outbox(tmp_path), KEY, late) is Summary.WRITTEN
    assert (_summary(tmp_path)["images"], _summary(tmp_path)["positive"]) == (3, True)


def test_one_model_at_two_operating_points_is_told(tmp_path: Path) -> None:
    images = _write(
        tmp_path, _image("a", 0.2), replace(_image("b", 0.3), operating_point=replace(POINT, threshold=0.4))
    )
    write_study(Outbox(tmp_path), KEY, images)
    assert _summary(tmp_path)["warnings"] == [SEVERAL_MODELS]
    assert _summary(tmp_path)["deciding_image"]["path"] == "b.dcm"


def test_what_may_have_been_positive_is_not_called_negative(tmp_path: Path) -> None:
    images = _write(tmp_path, *_of_two_models())
    _take(tmp_path, "a")
    assert write_study(Outbox(tmp_path), KEY, _of_an_earlier_release(images)) is Summary.NOT_POSSIBLE
    images = _of_an_earlier_release(images) + _write(tmp_path, _image("c", 0.6))
    assert write_study(Outbox(tmp_path), KEY, images) is Summary.WRITTEN
    assert _summary(tmp_path)["deciding_image"]["path"] == "c.dcm"
