"""`cxr-edge evaluate`: labelled images in, honest figures out."""

import json
import math
import os
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import numpy as np
import pytest
from conftest import REPOSITORY
from contracts import make_contract
from tiny_models import tiny_model

from cxr_edge.classifier import Classifier, load
from cxr_edge.cli.app import run
from cxr_edge.errors import UsageError
from cxr_edge.evaluate import (
    Case,
    Collected,
    Report,
    Setting,
    collect,
    evaluate,
    json_schema,
    overlay_of,
    parse_wish,
    report_to_html,
    report_to_json,
    report_to_text,
)
from cxr_edge.labelled import LabelledImage, class_folders, patient_of, read_csv, set_sha256
from cxr_edge.metrics import auc_interval
from cxr_edge.overlay import overlay_from_json, overlay_to_json

LABELS = ("NORMAL", "PNEUMONIA")
SETTING = Setting(description="a test", gate="strict")
HOSTILE = "<script>alert(1)</script>&\"'\u202e\n\x1b.png".replace("/", "\u2215")  # no slash in a file name


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_model(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def classifier(tiny: str) -> Classifier:
    return load(tiny)


def _image(path: Path, score: float) -> Path:
    """A flat image that the tiny network gives about this score."""
    from PIL import Image

    level = round(127.5 + 10 * math.log(score / (1 - score)))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((224, 224), level, np.uint8)).save(path, "PNG")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three of each class; one positive is missed, one file is no image, one patient has two images."""
    root = tmp_path / "set"
    for index, score in enumerate((0.1, 0.2, 0.3)):
        _image(root / "NORMAL" / f"IM-000{index}-0001.png", score)
    _image(root / "PNEUMONIA" / "person1_virus_1.png", 0.4)
    _image(root / "PNEUMONIA" / "deep" / "person1_bacteria_2.png", 0.8)
    _image(root / "PNEUMONIA" / "person2_virus_3.png", 0.9)
    (root / "PNEUMONIA" / "page.dcm").write_bytes(b"<html>")
    (root / "PNEUMONIA" / ".hidden").write_bytes(b"")
    return root


def _labelled(*images: tuple[Path, str, str | None]) -> tuple[LabelledImage, ...]:
    return tuple(LabelledImage(str(path), label, patient) for path, label, patient in images)


def _report(classifier: Classifier, images: tuple[LabelledImage, ...], setting: Setting = SETTING) -> Report:
    return evaluate(classifier, collect(classifier, images), setting)


def _checked_json(content: bytes) -> dict[str, Any]:
    raw: dict[str, Any] = json.loads(content, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    jsonschema.Draft202012Validator(json_schema()).validate(raw)
    return raw


def test_folder(folder: Path, tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page, file = tmp_path / "r.html", folder / "r.json"
    assert run(["evaluate", str(folder), "--model", tiny, "--report", str(page), "--json", str(file)]) == 3
    captured, raw = capsys.readouterr(), _checked_json(file.read_bytes())
    assert raw["data"]["images"] == 7
    assert (raw["data"]["classified"], raw["data"]["rejected"], raw["data"]["patients"]) == (6, 1, 5)
    assert raw["by_label"]["confusion"] == [[3, 0], [1, 2]]
    assert [case["path"] for case in raw["misread"]] == ["PNEUMONIA/person1_virus_1.png"]
    (rejected,) = raw["rejected"]
    assert (rejected["path"], rejected["reason"]) == ("PNEUMONIA/page.dcm", "unknown_format")
    assert raw["images"]["sensitivity"]["estimate"] == pytest.approx(2 / 3)
    assert raw["rejected_as_errors"]["sensitivity"]["estimate"] == pytest.approx(2 / 4)
    assert raw["patients"]["sensitivity"]["estimate"] == 1.0  # the patient's other image was found
    assert raw["images"]["auc"]["estimate"] == 1.0
    assert "sensitivity        66.7 %" in captured.out
    assert "page.dcm: unknown_format" in captured.out
    assert "1 of 7 images were rejected" in captured.err
    assert "passed over 1 hidden or system file(s)" in captured.err
    assert "unknown_format" in page.read_text(encoding="utf-8")


def test_csv_tells_the_same(folder: Path, tiny: str, classifier: Classifier) -> None:
    rows = ["label;path;patient", *(f"NORMAL;set/NORMAL/IM-000{i}-0001.png;n{i}" for i in range(3))]
    rows += ["PNEUMONIA;set/PNEUMONIA/person1_virus_1.png;", "PNEUMONIA;set/PNEUMONIA/person2_virus_3.png;x", ""]
    file = folder.parent / "list.csv"
    file.write_text("\r\n".join(rows), encoding="utf-8-sig", newline="")
    images = read_csv(file, LABELS)
    assert [image.patient for image in images] == ["n0", "n1", "n2", None, "x"]
    report = _report(classifier, images)
    assert report.images.counts.true_negative == 3
    assert "the patient of 1 images is not known; each counts as a patient of its own" in report.warnings
    assert run(["evaluate", str(file), "--model", tiny]) == 0
    many = tuple(replace(image, patient="NA") for image in images for _ in range(2))
    assert any(text.startswith("one patient has 10 of the 10 images") for text in _report(classifier, many).warnings)
    assert not any("one patient" in text for text in report.warnings)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("path,label\na.png,NORMAL,x\n", "line 2: 3 columns"),
        ("path,label\na.png,normal\n", "line 2: label 'normal'; the model's classes are NORMAL, PNEUMONIA"),
        ("path,label\na.png,NORMAL\n\n./a.png,NORMAL\n", "line 4: the same path as line 2"),
        ("path,label\n,NORMAL\n", "line 2: no path"),
        ("path,label,patient_id\na.png,NORMAL,1\n", "has the columns path, label, patient_id; need"),
        ("path\na.png\n", "need path, label and perhaps patient"),
        ("", "need path, label and perhaps patient"),
        ('path,label\n"a.png,NORMAL\n', "line 2"),
        ("path,label,label\na.png,NORMAL,NORMAL\n", "need path, label"),
    ],
)
def test_csv_refused(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "list.csv"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=words):
        read_csv(file, LABELS)


def test_binary_file_is_no_csv(tmp_path: Path) -> None:
    file = tmp_path / "a.dcm"
    file.write_bytes(b"\xff\xfe\x80")
    with pytest.raises(UsageError, match="neither a folder nor a CSV"):
        read_csv(file, LABELS)


def test_other_class_names_are_listed(tmp_path: Path, tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "healthy").mkdir()
    (tmp_path / "NORMAL").mkdir()
    assert run(["evaluate", str(tmp_path), "--model", tiny]) == 2
    assert "sub-folders NORMAL, healthy; need one for each class of the model: NORMAL, PNEUMONIA" in (
        capsys.readouterr().err
    )
    with pytest.raises(UsageError, match="sub-folders none"):
        class_folders(tmp_path / "NORMAL", LABELS)


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("person1949_bacteria_4880.jpeg", "person1949"),
        ("IM-0117-0001.jpeg", "IM-0117"),
        ("NORMAL2-IM-0370-0001-0002.jpeg", "NORMAL2-IM-0370"),
        ("scan0001.png", None),
    ],
)
def test_patient_of(name: str, patient: str | None) -> None:
    assert patient_of(name) == patient


def test_set_sha256_is_of_the_images_alone() -> None:
    assert set_sha256(["b", "a"]) == set_sha256(iter(["a", "b"])) != set_sha256(["a"])


@pytest.mark.parametrize("label", LABELS)
def test_one_image_of_one_class(classifier: Classifier, tmp_path: Path, label: str) -> None:
    image = _image(tmp_path / "a.png", 0.9)
    report = _report(classifier, _labelled((image, label, None)))
    raw = _checked_json(report_to_json(report))
    assert raw["images"]["auc"] is raw["roc"] is raw["patients"] is None
    assert (raw["images"]["sensitivity"] is None) == (label == "NORMAL")
    other = LABELS[label == "NORMAL"]
    assert f"no image of class {other} was classified; figures that need one are not defined" in report.warnings
    assert "not defined" in report_to_text(report)
    assert report_to_html(report).count(b"not defined") > 3


def test_all_rejected(tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for label in LABELS:
        (tmp_path / "set" / label).mkdir(parents=True)
        (tmp_path / "set" / label / "a.png").write_bytes(b"nothing of the kind")
    arguments = ["evaluate", str(tmp_path / "set"), "--model", tiny, "--json", str(tmp_path / "r.json")]
    assert run([*arguments, "--report", str(tmp_path / "r.html")]) == 4
    raw = _checked_json((tmp_path / "r.json").read_bytes())
    assert raw["images"]["accuracy"] is raw["images"]["brier_score"] is None
    assert raw["rejected_as_errors"]["sensitivity"]["estimate"] == 0
    assert "not defined" in (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "a.png: unknown_format" in capsys.readouterr().out


def test_no_image(tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "NORMAL").mkdir()
    assert run(["evaluate", str(tmp_path), "--model", tiny, "--json", str(tmp_path / "r.json")]) == 4
    assert "no image was found" in capsys.readouterr().err
    assert not (tmp_path / "r.json").exists()


def _cases(rows: list[tuple[str, str, float]], patients: list[str] | None = None) -> tuple[Case, ...]:
    """Cases from (true label, given label, score)."""
    return tuple(
        Case(
            path=f"{place}.png",
            content_sha256=f"{place}",
            patient=None if patients is None else patients[place],
            label=label,
            given=given,
            score=score,
            gate="ok",
        )
        for place, (label, given, score) in enumerate(rows)
    )


def test_intervals_by_image_draw_whole_patients(classifier: Classifier) -> None:
    rng = np.random.Generator(np.random.PCG64(5))
    truth, score = rng.random(60) < 0.5, rng.random(60)
    rows = [(LABELS[int(t)], LABELS[int(s >= 0.5)], float(s)) for t, s in zip(truth, score, strict=True)]
    groups = np.arange(60) % 20
    known = evaluate(classifier, Collected(_cases(rows, [str(group) for group in groups]), ()), SETTING)
    unknown = evaluate(classifier, Collected(_cases(rows), ()), SETTING)
    assert known.images.auc == auc_interval(truth, score, groups)
    assert unknown.images.auc == auc_interval(truth, score)
    assert known.images.auc != unknown.images.auc
    assert known.images.sensitivity == unknown.images.sensitivity


def _three(classifier: Classifier) -> Any:
    """A classifier of three labels, as far as an evaluation asks."""
    return SimpleNamespace(
        contract=make_contract(labels=("NORMAL", "BACTERIAL", "VIRAL"), positive_labels=("BACTERIAL", "VIRAL")),
        operating_point=classifier.operating_point,
        model=classifier.model,
        execution_provider=classifier.execution_provider,
    )


def test_three_labels(classifier: Classifier) -> None:
    three = _three(classifier)
    rows = [("NORMAL", "NORMAL", 0.1), ("BACTERIAL", "VIRAL", 0.9), ("VIRAL", "VIRAL", 0.95), ("VIRAL", "NORMAL", 0.2)]
    report = evaluate(three, Collected(_cases(rows), ()), SETTING)
    _checked_json(report_to_json(report))
    assert report.by_label.confusion == ((1, 0, 0), (0, 0, 1), (1, 0, 1))
    assert report.images.sensitivity is not None
    assert report.images.sensitivity.estimate == pytest.approx(2 / 3)  # one positive label for the other is no miss
    assert report.by_label.accuracy is not None
    assert report.by_label.accuracy.estimate == pytest.approx(2 / 4)
    assert report.by_label.balanced_accuracy is not None
    assert report.by_label.balanced_accuracy.estimate == pytest.approx(0.5)
    assert [case.path for case in report.misread] == ["3.png", "1.png"]  # the missed one first
    page, text = report_to_html(report).decode(), report_to_text(report)
    assert '<div class="tile">accuracy over all labels<b>' in page
    assert all(f"<th>{index} {label}</th>" in page for index, label in enumerate(report.labels))  # as in `label_index`
    for name in ("accuracy (positive or negative)", "accuracy over all labels", "balanced accuracy over all labels"):
        assert f"<span>{name}</span>" in page
    assert "over all labels, with 95 % intervals\n  accuracy           50.0" in text
    assert "balanced accuracy  50.0" in text
    assert all(f"  {label}: precision" in text for label in report.labels)
    assert "by image (4), positive or negative, with 95 % intervals" in text


def test_missed_images_come_first_then_false_alarms_then_mix_ups(classifier: Classifier) -> None:
    rows = [
        ("BACTERIAL", "VIRAL", 0.99),
        ("NORMAL", "VIRAL", 0.97),
        ("VIRAL", "NORMAL", 0.3),
        ("VIRAL", "BACTERIAL", 0.98),
        ("BACTERIAL", "NORMAL", 0.02),
        ("NORMAL", "BACTERIAL", 0.6),
        ("VIRAL", "VIRAL", 0.9),
    ]
    shares = [(0.4, 0.59), (0.0, 0.97), (0.2, 0.1), (0.9, 0.08), (0.01, 0.01), (0.5, 0.1), (0.1, 0.8)]
    cases = tuple(
        replace(case, probabilities={"NORMAL": 1 - case.score, "BACTERIAL": bacterial, "VIRAL": viral})
        for case, (bacterial, viral) in zip(_cases(rows), shares, strict=True)
    )
    report = evaluate(_three(classifier), Collected(cases, ()), SETTING)
    assert [case.path for case in report.misread] == [f"{place}.png" for place in (4, 2, 1, 5, 3, 0)]
    raw = _checked_json(report_to_json(report))
    assert raw["misread"][5]["probabilities"]["VIRAL"] == 0.59
    text = report_to_text(report)
    assert "misread images (6): missed 2, false alarms 2, another label on the right side 2\n  4.png" in text
    assert "0.png: BACTERIAL read as VIRAL, score 0.9900 (BACTERIAL 0.4000, VIRAL 0.5900)" in text
    assert "BACTERIAL 0.4000, VIRAL 0.5900" in report_to_html(report).decode()


def test_conflicts_and_repetitions_are_told(classifier: Classifier, tmp_path: Path) -> None:
    first, second = _image(tmp_path / "a.png", 0.9), _image(tmp_path / "b.png", 0.9)
    report = _report(classifier, _labelled((first, "PNEUMONIA", "one"), (second, "NORMAL", "one")))
    assert report.conflicting_patients == ("one",)
    assert "1 images repeat the bytes of another; they count twice" in report.warnings
    assert "1 images occur with the same bytes under different labels" in report.warnings
    assert report.patients is not None
    assert report.patients.counts.total == 1


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.links += [name for name, _ in attrs if name in ("src", "href", "srcset") or name.startswith("on")]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.links += [name for name, _ in attrs if name in ("src", "href") or name.startswith("on")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such file names")
def test_hostile_names_are_text(classifier: Classifier, tmp_path: Path) -> None:
    broken = os.fsdecode(b"\xff.png")  # no UTF-8
    images = _labelled(
        (_image(tmp_path / HOSTILE, 0.9), "NORMAL", "<b>who</b>"), (_image(tmp_path / broken, 0.9), "NORMAL", None)
    )
    setting = replace(SETTING, description="<img src=x onerror=alert(1)>")
    report = _report(classifier, images, setting)
    page = report_to_html(report).decode()
    reader = _Reader()
    reader.feed(page)
    assert reader.open == []
    assert reader.links == []
    assert not reader.seen & {"script", "img", "link", "iframe", "object"}
    assert "&lt;script&gt;alert(1)&lt;" in page
    assert not any(character in page for character in ("\u202e", "\x1b"))
    assert not any(c in report_to_text(report) for c in ("\u202e", "\x1b"))
    assert _checked_json(report_to_json(report))["misread"][0]["path"].endswith(".png")


def test_no_identifiers(folder: Path, tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page, folder = tmp_path / "r.html", folder.rename(tmp_path / "Somebody^Else")
    arguments = ["evaluate", str(folder), "--model", tiny, "--no-identifiers", "--json", "-", "--report", str(page)]
    assert run(arguments) == 3
    shown, html = capsys.readouterr().out, page.read_text(encoding="utf-8")
    assert not any(secret in shown + html for secret in ("person1", "IM-000", "page.dcm", "Somebody"))
    assert len(json.loads(shown)["misread"]) == 1
    assert json.loads(shown)["data"]["description"] == "name withheld"
    assert html.count("<span>withheld</span>") == 1  # the patient of the one that was misread
    assert "not known" not in html


def test_a_description_asked_for_stands_without_identifiers(folder: Path, tiny: str, tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    words = ["--no-identifiers", "--description", "emergency department"]
    assert run(["evaluate", str(folder), "--model", tiny, "--json", str(file), *words]) == 3
    assert json.loads(file.read_bytes())["data"]["description"] == "emergency department"


def test_each_card_counts_the_rejected_images_of_its_class(classifier: Classifier, folder: Path) -> None:
    (folder / "NORMAL" / "a.png").write_bytes(b"no image")
    (folder / "NORMAL" / "b.png").write_bytes(b"no image")
    paths = [path for path in sorted(folder.rglob("*.*")) if path.is_file() and not path.name.startswith(".")]
    images = _labelled(*((path, path.relative_to(folder).parts[0], None) for path in paths))
    page = report_to_html(_report(classifier, images)).decode()
    for words in ("2 of 3 positive; 1 rejected", "3 of 3 negative; 2 rejected", "5 of 6 images; 3 rejected"):
        assert words in page


def test_what_was_measured_is_not_lost_with_one_output(
    folder: Path, tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, overlay = tmp_path / f"{'r' * 300}.html", tmp_path / "site.json"
    outputs = ["--report", str(page), "--json", str(tmp_path / "r.json"), "--overlay", str(overlay)]
    assert run(["evaluate", str(folder), "--model", tiny, *outputs, "--choose-threshold", "sensitivity>=0.98"]) == 6
    captured = capsys.readouterr()
    assert "sensitivity        66.7 %" in captured.out
    assert captured.err.count("cannot write") == 1
    assert _checked_json((tmp_path / "r.json").read_bytes())["data"]["images"] == 7
    assert overlay_from_json(overlay.read_bytes()).operating_point.name == "site-sensitivity-0.98"


def test_outputs_are_never_replaced_unasked(folder: Path, tiny: str, tmp_path: Path) -> None:
    page = tmp_path / "r.html"
    page.write_bytes(b"mine")
    arguments = ["evaluate", str(folder), "--model", tiny, "--report", str(page)]
    assert run(arguments) == 6
    assert page.read_bytes() == b"mine"
    assert run([*arguments, "--overwrite", "--json", str(page)]) == 2  # one file for two outputs
    assert page.read_bytes() == b"mine"
    assert run([*arguments, "--overwrite"]) == 3
    assert page.read_bytes().startswith(b"<!doctype html>")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_proposal_becomes_an_overlay(
    folder: Path, tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "site.json"
    arguments = ["evaluate", str(folder), "--model", tiny, "--overlay", str(file)]
    assert run(arguments) == 2
    assert run([*arguments, "--choose-threshold", "sensitivity>=0.98"]) == 3
    captured = capsys.readouterr()
    overlay = overlay_from_json(file.read_bytes())
    assert overlay.operating_point.name == "site-sensitivity-0.98"
    assert 0.3 < overlay.operating_point.threshold < 0.4
    assert overlay.operating_point.sensitivity.estimate == 1.0
    assert (overlay.images.positives, overlay.images.negatives, overlay.images.rejected) == (3, 3, 1)
    assert "small sample: 3 positive images" in captured.err
    assert "small sample: the interval of the specificity is wider than 0.1" in captured.err
    assert "proposed operating point site-sensitivity-0.98" in captured.out


def test_nothing_is_proposed_on_one_class(tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _image(tmp_path / "set" / "NORMAL" / "a.png", 0.3)
    overlay, page = tmp_path / "o.json", tmp_path / "r.html"
    arguments = ["evaluate", str(tmp_path / "set"), "--model", tiny, "--overlay", str(overlay), "--report", str(page)]
    assert run([*arguments, "--choose-threshold", "specificity>=0.9"]) == 2
    assert "no operating point can be proposed: the images are all of one class" in capsys.readouterr().err
    assert page.exists()
    assert not overlay.exists()


@pytest.mark.parametrize("text", ["sensitivity>0.9", "accuracy>=0.9", "sensitivity>=0", "sensitivity>=1.1", "", "0.9"])
def test_wishes_refused(text: str) -> None:
    with pytest.raises(UsageError, match="cannot choose a threshold by"):
        parse_wish(text)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("sensitivity>=0.98", "site-sensitivity-0.98"),
        (" specificity >= .9 ", "site-specificity-0.9"),
        ("sensitivity≥1.0", "site-sensitivity-1"),
    ],
)
def test_wishes(text: str, name: str) -> None:
    assert parse_wish(text).name == name


def test_a_large_sample_raises_no_doubt_about_its_size(classifier: Classifier, tmp_path: Path) -> None:
    low, high = _image(tmp_path / "l.png", 0.1), _image(tmp_path / "h.png", 0.9)
    images = _labelled(*[(low, "NORMAL", None), (high, "PNEUMONIA", None)] * 60)
    report = _report(classifier, images, replace(SETTING, wish=parse_wish("sensitivity>=0.9")))
    assert report.proposal is not None
    assert not any("small sample" in text for text in (*report.warnings, *report.proposal.warnings))
    assert overlay_from_json(overlay_to_json(overlay_of(report))) == overlay_of(report)


def test_real_images_agree_with_scikit_learn(data_folder: Path, tmp_path: Path) -> None:
    """The 532 validation images, folders linked; every figure from scikit-learn on the same scores."""
    sklearn = pytest.importorskip("sklearn.metrics", reason="needs scikit-learn, of the test extra")
    listing = data_folder.parent / "models" / "validation.txt"
    model = REPOSITORY / "models" / "resnet50-binary" / "model.onnx"
    if not listing.is_file() or not model.is_file():
        pytest.skip("needs validation.txt beside the real radiographs, and the released model")
    for line in listing.read_text(encoding="utf-8").split():
        target = tmp_path / Path(line).parent.name / Path(line).name
        target.parent.mkdir(exist_ok=True)
        target.symlink_to(data_folder / line)
    images = tuple(
        LabelledImage(str(path), label, patient_of(path.name))
        for label, folder in class_folders(tmp_path, LABELS).items()
        for path in sorted(Path(folder).iterdir())
    )
    assert len(images) == 532
    with load(model, gate="warn") as classifier:
        collected = collect(classifier, images)
        report = evaluate(classifier, collected, replace(SETTING, gate="warn"))
    truth = np.array([case.label == "PNEUMONIA" for case in collected.cases])
    score = np.array([case.score for case in collected.cases])
    decided, figures = score >= classifier.operating_point.threshold, report.images
    assert len(collected.cases) == 532
    assert [list(row) for row in report.by_label.confusion] == sklearn.confusion_matrix(truth, decided).tolist()
    expected = {
        "sensitivity": sklearn.recall_score(truth, decided),
        "specificity": sklearn.recall_score(~truth, ~decided),
        "positive_predictive_value": sklearn.precision_score(truth, decided),
        "accuracy": sklearn.accuracy_score(truth, decided),
        "balanced_accuracy": sklearn.balanced_accuracy_score(truth, decided),
        "auc": sklearn.roc_auc_score(truth, score),
        "average_precision": sklearn.average_precision_score(truth, score),
        "brier_score": sklearn.brier_score_loss(truth, score),
    }
    for name, value in expected.items():
        assert getattr(figures, name).estimate == pytest.approx(value), name
        assert getattr(figures, name).low < value < getattr(figures, name).high, name
    by_class = sklearn.precision_recall_fscore_support(truth, decided)
    for part, precision, recall, f1, support in zip(report.by_label.classes, *by_class, strict=True):
        assert part.precision is not None
        assert part.recall is not None
        found = (part.precision.estimate, part.recall.estimate, part.f1, part.support)
        assert found == pytest.approx((precision, recall, f1, support))
    assert report.data.patients == len({image.patient for image in images})
    assert len(report.misread) == (truth != decided).sum()
