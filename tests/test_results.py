"""Rows: one schema, no identifiers when told so, nothing a spreadsheet or a terminal would run."""

import csv
import io
import json
from dataclasses import replace
from importlib.resources import files
from typing import Any

import jsonschema
import pytest
from contracts import make_prediction

from cxr_edge.errors import Reason
from cxr_edge.results import FORMATS, StudyCollector, open_writer, to_row
from cxr_edge.results.table import TableWriter
from cxr_edge.results.writers import CSV_COLUMNS
from cxr_edge.types import Gate, Note, Prediction, Rejection, Source, Tags

SCHEMA = json.loads(files("cxr_edge.results").joinpath("result.schema.json").read_text(encoding="utf-8"))
REJECTION = Rejection(source=Source(path="b.dcm"), reason=Reason.TRUNCATED, message="cut short")
REFUSED = Rejection(
    source=Source(path="c.dcm", sop_instance_uid="1.2.4", study_instance_uid="1.2"),
    reason=Reason.GATE_VIEW,
    message="lateral",
    gate=Gate("refused", (Note("gate_view", "lateral"),)),
)


def _valid(row: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(json.dumps(row)))


def _render(kind: Any, rows: list[dict[str, Any]]) -> str:
    buffer = io.StringIO()
    writer = open_writer(kind, buffer.write)
    for row in rows:
        writer.write(row)
    writer.close()
    return buffer.getvalue()


@pytest.mark.parametrize("result", [make_prediction(), REJECTION, REFUSED], ids=["prediction", "rejection", "refused"])
@pytest.mark.parametrize("identifiers", [True, False])
def test_rows_follow_the_schema(result: Prediction | Rejection, *, identifiers: bool) -> None:
    _valid(to_row(result, identifiers=identifiers))


@pytest.mark.parametrize("result", [make_prediction(), REFUSED], ids=["prediction", "refused"])
def test_no_identifiers_means_none(result: Prediction | Rejection) -> None:
    for kind in FORMATS:
        text = _render(kind, [to_row(result, identifiers=False)])
        assert not any(secret in text for secret in (".dcm", "1.2.3", "1.2.4", '"1.2"', ",1.2,"))


def _studies(*results: Prediction | Rejection, untagged: bool = False) -> list[dict[str, Any]]:
    collector = StudyCollector(untagged_as_study=untagged)
    for result in results:
        collector.add(result)
    rows = collector.rows()
    for row in rows:
        _valid(row)
    return rows


def _image(name: str, score: float, view: str | None = "AP", study: str | None = "1.2") -> Prediction:
    return make_prediction(
        source=Source(path=name, sop_instance_uid=None, study_instance_uid=study, content_sha256=name * 64),
        score=score,
        positive=score >= 0.5,
        tags=Tags(view_position=view),
    )


def test_study_is_decided_by_its_highest_frontal_image() -> None:
    (row,) = _studies(_image("a", 0.2), _image("b", 0.7), _image("c", 0.99, view="LL"), REFUSED)
    assert (row["images"], row["rejected"], row["deciding_image"]["path"]) == (4, 1, "b")
    assert row["deciding_image"]["study_instance_uid"] == "1.2"
    assert row["gate"]["status"] == "ok"
    assert row["positive"] is True
    assert "path" not in row["source"]


def test_a_single_image_is_no_study() -> None:
    assert _studies(_image("a", 0.2)) == []


def test_untagged_files_are_a_study_only_when_asked() -> None:
    images = _image("a", 0.2, study=None), _image("b", 0.7, study=None)
    assert _studies(*images) == []
    (row,) = _studies(*images, untagged=True)
    assert row["source"]["study_instance_uid"] is None
    assert row["deciding_image"]["path"] == "b"


def test_the_same_content_twice_is_one_image() -> None:
    assert _studies(_image("a", 0.2), _image("a", 0.2)) == []


def test_what_the_gate_refused_never_decides() -> None:
    knee = replace(_image("a", 0.99), gate=Gate("refused"))
    (row,) = _studies(knee, _image("b", 0.2))
    assert (row["deciding_image"]["path"], row["positive"]) == ("b", False)


def test_a_broken_image_belongs_to_its_study_but_a_missing_file_to_none() -> None:
    broken = replace(REJECTION, source=Source(path="b", study_instance_uid="1.2", content_sha256="b" * 64))
    missing = replace(REJECTION, source=Source(path="c"), reason=Reason.NOT_FOUND)
    (row,) = _studies(_image("a", 0.2), broken, missing)
    assert (row["images"], row["rejected"]) == (2, 1)
    text = replace(REJECTION, source=Source(path="d", content_sha256="d" * 64), reason=Reason.UNKNOWN_FORMAT)
    assert _studies(_image("a", 0.2, study=None), missing, text, untagged=True) == []


def test_study_without_a_frontal_image_is_rejected() -> None:
    (row,) = _studies(_image("a", 0.9, view="LL"), REFUSED)
    assert (row["status"], row["reason"]["code"]) == ("rejected", "no_image_classified")


def test_json_is_one_document_and_jsonl_one_a_line() -> None:
    rows = [to_row(make_prediction()), to_row(REJECTION)]
    assert json.loads(_render("json", rows)) == rows
    assert json.loads(_render("json", [])) == []
    assert [json.loads(line) for line in _render("jsonl", rows).splitlines()] == rows


def test_csv_has_one_record_a_row_whatever_the_text() -> None:
    nasty = replace(make_prediction(), source=Source(path='=cmd|"x",\r\n\'a', sop_instance_uid="1.2.3"))
    (study,) = _studies(_image("a", 0.2), REFUSED)
    text = _render("csv", [to_row(nasty), to_row(REFUSED), study])
    header, first, second, third = list(csv.reader(io.StringIO(text, newline="")))
    assert tuple(header) == CSV_COLUMNS
    record = dict(zip(header, first, strict=True))
    assert record["path"].startswith("'=")
    assert (record["positive"], record["threshold"], record["total_ms"]) == ("true", "0.5", "10.5")
    assert (record["probabilities"], record["label_index"]) == ("NORMAL=0.200000 PNEUMONIA=0.800000", "1")
    record = dict(zip(header, second, strict=True))
    assert (record["reason_code"], record["gate"], record["gate_reasons"]) == ("gate_view", "refused", "gate_view")
    assert record["label_index"] == ""
    record = dict(zip(header, third, strict=True))
    assert (record["kind"], record["images"], record["deciding_image"]) == ("study", "2", "a")


def test_table_shows_no_control_character() -> None:
    hostile = make_prediction(source=Source(path="a\x1b[31m\n\u202eb.dcm"))
    text = _render("table", [to_row(hostile), to_row(REJECTION), *_studies(_image("a", 0.2), REFUSED)])
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "POSITIVE" in text
    assert "truncated" in text


@pytest.mark.parametrize(
    ("found", "shown"), [(None, None), ("LIN", "LIN"), ("LOG", "LOG"), ("DISP", "DISP"), ("NOBODY^HAS", "other")]
)
def test_only_defined_terms_of_pixel_intensity_relationship_are_shown(found: str | None, shown: str | None) -> None:
    row = to_row(make_prediction(tags=Tags(modality="DX", pixel_intensity_relationship=found)))
    assert row["pixel_intensity_relationship"] == shown
    _valid(row)
    assert to_row(make_prediction(tags=None))["pixel_intensity_relationship"] is None


def test_a_label_has_its_number() -> None:
    probabilities = {"NORMAL": 0.1, "BACTERIAL": 0.3, "VIRAL": 0.6}
    viral = replace(make_prediction(), label="VIRAL", probabilities=probabilities, score=0.9)
    row = to_row(viral)
    assert row["label_index"] == 2
    _valid(row)
    other = replace(_image("b", 0.2), label="NORMAL", probabilities=probabilities)
    (study,) = _studies(replace(viral, source=_image("a", 0.9).source), other)
    assert (study["label"], study["label_index"]) == ("VIRAL", 2)


def _table(row: dict[str, Any], **options: Any) -> str:
    buffer = io.StringIO()
    writer = TableWriter(buffer.write, 400, **options)
    writer.write(row)
    writer.close()
    return buffer.getvalue()


def test_table_of_three_labels_takes_no_figure_for_that_of_the_label() -> None:
    probabilities = {"NORMAL": 0.45, "BACTERIAL": 0.3, "VIRAL": 0.25}
    row = to_row(make_prediction(label="BACTERIAL", probabilities=probabilities, score=0.55))
    text = _table(row, positive_labels=("BACTERIAL", "VIRAL"))
    assert "POSITIVE BACTERIAL (class 1, probability 0.3000; most probable single label: NORMAL 0.4500)" in text
    assert "for the positive labels together (BACTERIAL, VIRAL) against the others (NORMAL); they do not say" in text
    assert "names, not degrees" in text
    assert "for the positive labels together against the others; they do not say" in _table(row)
    narrow = {"NORMAL": 0.33, "BACTERIAL": 0.34, "VIRAL": 0.33}
    text = _table(to_row(make_prediction(label="BACTERIAL", probabilities=narrow, score=0.67)))
    assert "POSITIVE BACTERIAL (class 1, probability 0.3400)" in text
    two = _table(to_row(make_prediction()), positive_labels=("PNEUMONIA",))
    assert "class" not in two
    assert "together" not in two
