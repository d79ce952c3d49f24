"""What training measured, evaluated again and side by side."""

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

pytest.importorskip("tensorflow", reason="needs the workbench: pip install ./export")

from training_runs import METRICS, Watching, begun, recipe_file

from cxr_edge.errors import UsageError
from cxr_edge.labelled import patient_of, read_csv, set_sha256
from cxr_edge_export import cli
from cxr_edge_export.training.metrics_file import Metrics


def test_evaluate_reports_what_training_measured(finished: tuple[Path, Metrics, Watching], data: Path) -> None:
    from cxr_edge_export.training.judge import JudgeRequest, judge

    run, found, _ = finished
    report = judge(JudgeRequest(run=run, data=data, images=None, operating_point="standard"))
    assert found.test is not None
    assert report.data.images == found.test.images
    assert report.images.accuracy is not None
    assert report.images.accuracy.estimate == pytest.approx(found.test.accuracy)
    assert report.images.auc is not None
    assert report.images.auc.estimate == pytest.approx(found.test.auc)
    with pytest.raises(UsageError, match="no operating point 'best'"):
        judge(JudgeRequest(run=run, data=data, images=None, operating_point="best"))
    with pytest.raises(UsageError, match="no finished training run"):
        judge(JudgeRequest(run=data, data=data, images=None, operating_point=None))


def test_evaluate_writes_which_images_these_were(
    finished: tuple[Path, Metrics, Watching], data: Path, tmp_path: Path
) -> None:
    """The runtime, given the file, evaluates the very same ones."""
    run, listed, report = finished[0], tmp_path / "deep" / "test.csv", tmp_path / "report.json"
    listed.parent.mkdir()
    arguments = ["evaluate", str(run), "--data", str(data), "--csv", str(listed), "--json", str(report)]
    assert cli.run(arguments) == 0
    assert cli.run(arguments) == 6  # nothing is overwritten unasked
    images = read_csv(listed, ("NORMAL", "PNEUMONIA"))
    names = (run / "test.txt").read_text(encoding="utf-8").splitlines()
    assert [Path(image.path).resolve() for image in images] == [(data / name).resolve() for name in names]
    assert [image.label for image in images] == [name.partition("/")[0] for name in names]
    digests = (hashlib.sha256(Path(image.path).read_bytes()).hexdigest() for image in images)
    assert set_sha256(digests) == json.loads(report.read_bytes())["data"]["sha256"]
    assert {image.patient for image in images} == {patient_of(Path(name).name) for name in names}


def test_evaluate_knows_no_patients_where_nothing_tells_them(
    finished: tuple[Path, Metrics, Watching], data: Path, tmp_path: Path
) -> None:
    from cxr_edge_export.training.judge import JudgeRequest, judge

    for label in ("NORMAL", "PNEUMONIA"):
        (tmp_path / label).mkdir()
        for number, file in enumerate(sorted((data / label).iterdir())[:4]):
            shutil.copyfile(file, tmp_path / label / f"{label}{number}{file.suffix}")
    report = judge(JudgeRequest(run=finished[0], data=data, images=tmp_path, operating_point=None))
    assert report.patients is None
    undisturbed = judge(JudgeRequest(run=finished[0], data=data, images=None, operating_point=None))
    assert undisturbed.patients is not None
    assert not any("trained on" in warning for warning in undisturbed.warnings)
    seen = judge(JudgeRequest(run=finished[0], data=data, images=data, operating_point=None))
    assert any("judged images are of patients that the run" in warning for warning in seen.warnings)


def test_compare_puts_runs_side_by_side(
    finished: tuple[Path, Metrics, Watching], tmp_path: Path, converted: Path, workbench: Any
) -> None:
    from cxr_edge_export.training.compare import compare, means, to_table

    run, found, _ = finished
    copy = tmp_path / "with-int8"
    shutil.copytree(run, copy)
    shutil.copyfile(converted, copy / "model.onnx")
    with pytest.raises(UsageError, match="not made from the network beside it"):
        compare([run, copy])
    shutil.copyfile(workbench.model, copy / "model.keras")
    rows = compare([run, copy])
    assert found.test is not None
    assert rows[0].accuracy == rows[1].accuracy == found.test.accuracy
    assert rows[0].confusion == found.test.confusion
    for number, label in enumerate(("NORMAL", "PNEUMONIA")):
        row = found.test.confusion[number]
        assert rows[0].recall[label] == pytest.approx(row[number] / sum(row))
    assert rows[0].trainable_parameters == found.trainable_parameters
    assert rows[0].int8_mb is None
    assert rows[1].int8_mb == pytest.approx(converted.stat().st_size / 1e6)
    assert (rows[1].int8_ms or 0) > 0
    assert [line["run"] for line in to_table(rows)] == ["run", "with-int8"]
    assert means(rows[:1]) is None
    assert means([rows[0], dataclasses.replace(rows[1], recipe_sha256="another")]) is None
    assert means([rows[0], dataclasses.replace(rows[1], weights="imagenet")]) is None
    assert means([rows[0], dataclasses.replace(rows[1], on="validation")]) is None
    changed = dataclasses.replace(rows[1], accuracy=rows[0].accuracy - 0.2, auc=None)
    said = means([rows[0], changed])
    assert said is not None
    assert f"accuracy {rows[0].accuracy - 0.1:.3f} (sd 0.141)" in said  # 0.2 / sqrt(2)
    assert "AUC" not in said
    (judged,) = compare([run], "validation")
    assert (judged.on, judged.accuracy) == ("validation", found.validation.accuracy)
    with pytest.raises(UsageError, match="no finished training run"):
        compare([tmp_path])


def test_evaluate_says_where_thresholds_were_chosen_on_the_same_images(
    finished: tuple[Path, Metrics, Watching], data: Path
) -> None:
    from cxr_edge_export.training.judge import JudgeRequest, judge

    listed = finished[0] / "validation.txt"
    count = len(listed.read_text(encoding="utf-8").splitlines())
    report = judge(JudgeRequest(run=finished[0], data=data, images=listed, operating_point=None))
    words = f"{count} of the {count} judged images are of patients that the run validated on: thresholds are chosen"
    assert any(warning.startswith(words) for warning in report.warnings)
    own = judge(JudgeRequest(run=finished[0], data=data, images=None, operating_point=None))
    assert not any("validated on" in warning for warning in own.warnings)


def test_compare_says_where_the_classes_are_others(tmp_path: Path) -> None:
    from cxr_edge_export.training.compare import compare, unlike

    recipe_file(tmp_path)
    begun(tmp_path)
    (tmp_path / "metrics.json").write_bytes(msgspec.json.encode(METRICS))
    (row,) = compare([tmp_path])
    others = dict.fromkeys(("PNEUMONIA", "NORMAL"))
    assert unlike([row, dataclasses.replace(row, precision=others, positive_labels=("NORMAL",))]) == []
    three = dataclasses.replace(row, name="three", precision=dict.fromkeys(("A", "B", "C")), positive_labels=("B", "C"))
    (said,) = unlike([row, three])
    assert said.endswith(f"so their figures cannot be compared: {row.name}: NORMAL, PNEUMONIA; three: A, B, C")
    (said,) = unlike([three, dataclasses.replace(three, name="other", positive_labels=("C",))])
    assert said == "AUC is that of different labels: three: B and C; other: C"
    assert unlike([three, dataclasses.replace(three, positive_labels=("C", "B"))]) == []


def test_evaluate_writes_no_two_files_of_one_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both = ["--json", str(tmp_path / "report"), "--report", str(tmp_path / "." / "report")]
    assert cli.run(["evaluate", str(tmp_path), "--data", str(tmp_path), *both]) == 2
    assert "name the same file twice" in capsys.readouterr().err
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize("confusion", [((10, 0, 0), (0, 10, 0), (0, 0, 0)), ((10,), (0, 10))])
def test_compare_takes_no_matrix_of_other_labels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], confusion: tuple[tuple[int, ...], ...]
) -> None:
    recipe_file(tmp_path)
    begun(tmp_path)
    wrong = msgspec.structs.replace(METRICS.validation, confusion=confusion)
    metrics = msgspec.structs.replace(METRICS, validation=wrong)
    (tmp_path / "metrics.json").write_bytes(msgspec.json.encode(metrics))
    assert cli.run(["compare", str(tmp_path)]) == 2
    assert "is not one of 2 labels" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"{\xff}", b'{"x":' + b"[" * 100_000, b"[]", b"{}"])
def test_damaged_figures_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes) -> None:
    recipe_file(tmp_path)
    begun(tmp_path)
    (tmp_path / "metrics.json").write_bytes(content)
    assert cli.run(["compare", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_recipe_that_was_changed_in_its_run_names_no_classes(
    tmp_path: Path, data: Path, finished: tuple[Path, Metrics, Watching], capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished[0], run)
    text = (run / "recipe.toml").read_text(encoding="utf-8")
    swapped = text.replace('"NORMAL", "PNEUMONIA"', '"PNEUMONIA", "NORMAL"')
    assert swapped != text
    (run / "recipe.toml").write_text(swapped, encoding="utf-8")
    for command in (["compare", str(run)], ["evaluate", str(run), "--data", str(data)]):
        assert cli.run(command) == 2
        assert "is not the one that the run was begun with" in capsys.readouterr().err


def test_evaluate_takes_no_other_images_of_the_same_names(
    tmp_path: Path, data: Path, finished: tuple[Path, Metrics, Watching], capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "data"
    shutil.copytree(data, other)
    assert cli.run(["evaluate", str(finished[0]), "--data", str(other)]) == 0  # the same ones elsewhere
    name = (finished[0] / "test.txt").read_text(encoding="utf-8").splitlines()[0]
    (other / name).write_bytes((other / name).read_bytes() + b" ")
    capsys.readouterr()
    assert cli.run(["evaluate", str(finished[0]), "--data", str(other)]) == 2
    assert "the test images in" in capsys.readouterr().err


def test_compare_says_where_the_figures_are_of_other_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tested = msgspec.structs.replace(METRICS.validation, sha256="a" * 64)
    runs = {"tested": msgspec.structs.replace(METRICS, test=tested), "untested": METRICS}
    for name, found in runs.items():
        (tmp_path / name).mkdir()
        recipe_file(tmp_path / name)
        begun(tmp_path / name)
        (tmp_path / name / "metrics.json").write_bytes(msgspec.json.encode(found))
    one, other, stored = str(tmp_path / "tested"), str(tmp_path / "untested"), tmp_path / "compared.json"
    assert cli.run(["compare", one]) == 0
    assert capsys.readouterr().err == ""
    assert cli.run(["compare", one, f"{one}/"]) == 2
    assert "a run is given twice" in capsys.readouterr().err
    assert cli.run(["compare", one, other, "--on", "test"]) == 2
    assert "untested has no test images" in capsys.readouterr().err
    assert cli.run(["compare", one, other, "--on", "validation"]) == 0
    assert "mean of 2 runs of tiny: accuracy 1.000 (sd 0.000)" in capsys.readouterr().out
    assert cli.run(["compare", one, other, "--json", str(stored)]) == 0
    said = capsys.readouterr()
    assert "note: the figures are of 2 different sets of images" in said.err
    assert [row["set_sha256"] for row in msgspec.json.decode(stored.read_bytes())] == ["a" * 64, "0" * 64]
    assert ["  aaaaaaaa  " in line for line in said.out.splitlines()] == [False, True, False]
    assert "  00000000  " in said.out
