"""`cxr-edge bench`: figures that follow from what was measured, and nothing measured that does not work."""

import io
import json
import math
import re
from collections.abc import Iterable
from dataclasses import fields, is_dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
from conftest import REPOSITORY
from contracts import make_contract
from tiny_models import tiny_model

from cxr_edge.bench import Plan, Report, bench, report_to_html, report_to_json, report_to_png, report_to_text
from cxr_edge.bench import memory as memory_module
from cxr_edge.bench.chart import Label, Rectangle, charts
from cxr_edge.bench.labelled import agreement
from cxr_edge.bench.memory import peak_memory
from cxr_edge.bench.percentiles import percentiles
from cxr_edge.cli import bench as command
from cxr_edge.cli.app import run
from cxr_edge.contract import Contract
from cxr_edge.labelled import LabelledImage
from cxr_edge.modelfile import read_model
from cxr_edge.phantom import phantom_dicom

STAGES = ("read", "decode", "preprocess", "inference", "total")


def _quantized(contract: Contract) -> Contract:
    """A float contract that says it is INT8."""
    quantization = replace(contract.quantization, scheme="int8-u8s8-qdq", ranges="minmax", images=1)
    return replace(contract, quantization=quantization)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that says it is INT8; beside it its float form; the graph is the same."""
    folder = tmp_path_factory.mktemp("pair")
    other = tiny_model(folder, make_contract())
    other.rename(folder / "model-float.onnx")
    return tiny_model(folder, _quantized(make_contract())).rename(folder / "model.onnx")


@pytest.fixture
def phantom(tmp_path: Path) -> str:
    path = tmp_path / "phantom.dcm"
    path.write_bytes(phantom_dicom(rows=256, columns=224))
    return str(path)


def _image(path: Path, score: float) -> Path:
    """A flat image that the tiny network gives about this score."""
    from PIL import Image

    level = round(127.5 + 10 * math.log(score / (1 - score)))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((224, 224), level, np.uint8)).save(path, "PNG")
    return path


def _report(pair: Path, path: str, **changes: Any) -> Report:
    plan = Plan(
        model=read_model(pair), paths=(path,), description="a test", provider="cpu", threads=(1,), rounds=3, batch=2
    )
    return bench(replace(plan, **changes))


def test_percentiles_as_stated() -> None:
    found = percentiles([float(value) for value in range(1, 101)])
    assert (found.measurements, found.p50) == (100, 50.5)
    assert found.p95 == pytest.approx(95.05)  # type 7: 1 + 0.95 * 99
    assert found.p99 == pytest.approx(99.01)


@pytest.mark.parametrize(("count", "p95", "p99"), [(19, False, False), (20, True, False), (99, True, False)])
def test_too_few_measurements_give_no_tail(count: int, p95: bool, p99: bool) -> None:  # noqa: FBT001
    found = percentiles([1.0] * count)
    assert (found.p95 is not None, found.p99 is not None) == (p95, p99)


def test_peak_memory_is_never_less_than_what_was_in_use() -> None:
    before, source = peak_memory()
    block = np.ones(before + 64 * 2**20, np.uint8)  # more than ever before
    after, _ = peak_memory()
    assert after > before
    assert after >= block.nbytes
    assert source in ("VmHWM", "ru_maxrss", "PeakWorkingSetSize")


def test_peak_memory_without_proc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("resource", reason="Windows has no resource module")
    wanted, _ = peak_memory()
    monkeypatch.setattr(memory_module, "STATUS", tmp_path / "absent")
    found, source = peak_memory()
    assert source == "ru_maxrss"
    assert found >= wanted * 0.9  # the same order: the unit is right


def test_every_candidate_is_measured(pair: Path, phantom: str) -> None:
    report = _report(pair, phantom, compare_float=True, threads=(1, 2))
    assert [(one.scheme, one.threads) for one in report.figures] == [
        ("int8-u8s8-qdq", 1),
        ("int8-u8s8-qdq", 2),
        ("none", 1),
        ("none", 2),
    ]
    for one in report.figures:
        assert one.execution_provider == "CPUExecutionProvider"
        assert [rate.batch for rate in one.inference] == [1, 2]
        assert all(rate.images_per_second > 0 for rate in one.inference)
        assert one.session_creation_ms > 0
        stages = [getattr(one.latency_ms, stage) for stage in STAGES]
        assert [stage.measurements for stage in stages] == [3] * 5
        assert stages[4].p50 > max(stage.p50 for stage in stages[:4])  # the total holds each of them
    assert report.memory.peak_bytes_at_end >= report.memory.peak_bytes
    assert any("3 measurements are too few" in note for note in report.notes)


def test_defaults_are_enough_for_p99(pair: Path, phantom: str) -> None:
    (one,) = _report(pair, phantom, rounds=None).figures
    assert one.latency_ms.total.measurements == 100
    assert one.latency_ms.total.p99 is not None


def test_agreement_counts_flips_by_direction() -> None:
    reference, asked = np.array([0.4, 0.6, 0.5, 0.1]), np.array([0.5, 0.4, 0.7, 0.2])
    found = agreement(asked, reference, 0.5)
    assert (found.same, found.positive_to_negative, found.negative_to_positive) == (2, 1, 1)
    assert found.score_difference_max == pytest.approx(0.2)


def test_three_labels_have_two_accuracies(tmp_path: Path, phantom: str) -> None:
    three = make_contract(labels=("NORMAL", "BACTERIAL", "VIRAL"), positive_labels=("BACTERIAL", "VIRAL"))
    tiny_model(tmp_path, three).rename(tmp_path / "model-float.onnx")
    tiny_model(tmp_path, _quantized(three)).rename(tmp_path / "model.onnx")
    images = (("n.png", 0.05, "NORMAL"), ("b.png", 0.95, "BACTERIAL"), ("v.png", 0.95, "VIRAL"))
    labelled = tuple(LabelledImage(str(_image(tmp_path / name, score)), label, None) for name, score, label in images)
    report = _report(tmp_path / "model.onnx", phantom, labelled=labelled, compare_float=True)
    assert report.labelled is not None
    for one in report.labelled.accuracy:  # both positive images look alike to the tiny network
        assert one.accuracy is not None
        assert one.accuracy_over_all_labels is not None
        assert one.accuracy.estimate == 1
        assert one.accuracy_over_all_labels.estimate == pytest.approx(2 / 3)
    assert report.labelled.agreement is not None
    assert report.labelled.agreement.same_label == 3
    for shown in (report_to_text(report), report_to_html(report).decode()):
        for words in ("accuracy (positive/negative)", "accuracy over all labels", "; same label: 3"):
            assert words in shown


def test_command(pair: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "set"
    for index, score in enumerate((0.1, 0.2, 0.7)):
        _image(root / "NORMAL" / f"n{index}.png", score)
    _image(root / "PNEUMONIA" / "p.png", 0.9)
    (root / "PNEUMONIA" / "page.dcm").write_bytes(b"<html>")
    file, page = tmp_path / "b.json", tmp_path / "b.html"
    arguments = ["bench", "--model", str(pair), "--rounds", "2", "--threads", "1", "--batch", "2"]
    arguments += ["--compare", "float", "--labelled", str(root), "--json", str(file), "--plot", str(page)]
    assert run(arguments) == 3  # one labelled file is no image
    captured, raw = capsys.readouterr(), json.loads(file.read_bytes())
    assert "synthetic phantom" in captured.out
    assert "Not a medical device." in captured.out
    assert "page.dcm: unknown_format" in captured.err
    assert "too few for p95" in captured.err
    assert raw["images"]["description"].startswith("synthetic phantom")
    assert raw["labelled"]["images"] == 4
    first, second = raw["labelled"]["accuracy"]
    assert first["accuracy"]["estimate"] == second["accuracy"]["estimate"] == 0.75
    assert first["accuracy_over_all_labels"] is None
    assert "accuracy over all labels" not in captured.out
    assert raw["labelled"]["agreement"]["same"] == 4
    assert run(arguments) == 6  # both exist
    assert run([*arguments, "--overwrite"]) == 3


def test_rejected_files_are_left_out_and_counted(
    pair: Path, phantom: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "page.dcm").write_bytes(b"<html>")
    common = ["--model", str(pair), "--rounds", "1", "--threads", "1", "--batch", "2", "--json", "-"]
    assert run(["bench", phantom, str(tmp_path / "page.dcm"), str(tmp_path / "absent"), *common]) == 3
    captured = capsys.readouterr()
    raw = json.loads(captured.out)
    assert raw["images"]["measured"] == 1
    assert [one["reason"] for one in raw["images"]["excluded"]] == ["unknown_format", "not_found"]
    assert captured.err.count("left out ") == 2
    assert run(["bench", str(tmp_path / "absent"), *common]) == 4
    assert "none of the 1 images" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--threads", "0"], 2, "need numbers from 1"),
        (["--threads", "two"], 2, "need numbers from 1"),
        (["--plot", "b.pdf"], 2, "need .html or .png"),
        (["--plot", "b.html", "--json", "b.html"], 2, "the same file"),
        (["-"], 2, "standard input"),
        (["--json", "no/such/folder/b.json"], 6, "its folder does not exist"),
        (["--provider", "cuda"], 5, "CUDAExecutionProvider"),
        (["--labelled", "absent"], 2, "absent"),
    ],
)
def test_what_cannot_be(
    arguments: list[str], code: int, words: str, pair: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["bench", "--model", str(pair), "--rounds", "1", *arguments]) == code
    assert words in capsys.readouterr().err


def test_what_was_measured_is_not_lost_with_one_output(
    pair: Path, phantom: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "speed.html"
    common = ["bench", phantom, "--model", str(pair), "--rounds", "1", "--threads", "1", "--batch", "2"]
    assert run([*common, "--json", str(tmp_path / f"{'j' * 300}.json"), "--plot", str(page)]) == 6
    captured = capsys.readouterr()
    assert "inference" in captured.out
    assert captured.err.count("cannot write") == 1
    assert page.read_bytes().startswith(b"<!doctype html>")


def test_float_model_is_asked_for_and_missing(pair: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    alone = tmp_path / "model.onnx"
    alone.write_bytes(pair.read_bytes())
    assert run(["bench", "--model", str(alone), "--compare", "float"]) == 5
    assert "cxr-edge-export convert --float makes it" in capsys.readouterr().err
    itself = pair.with_name("model-float.onnx")
    assert run(["bench", "--model", str(itself), "--compare", "float", "--rounds", "1", "--threads", "1"]) == 2
    assert "this one is float32 itself" in capsys.readouterr().err


def test_another_model_is_not_taken_for_the_float_form(
    pair: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    contract = make_contract()
    other = replace(contract, identity=replace(contract.identity, source_model_sha256="0" * 64))
    tiny_model(tmp_path, other).rename(tmp_path / "model-float.onnx")
    (tmp_path / "model.onnx").write_bytes(pair.read_bytes())
    arguments = ["--compare", "float", "--rounds", "1", "--threads", "1"]
    assert run(["bench", "--model", str(tmp_path / "model.onnx"), *arguments]) == 5
    assert "is not the float form" in capsys.readouterr().err


def test_interrupt(pair: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(items: Iterable[object], what: str, _total: int) -> Iterable[object]:
        if what == "throughput":
            raise KeyboardInterrupt
        return items

    monkeypatch.setattr(command, "with_progress", interrupted)
    arguments = ["--rounds", "1", "--threads", "1", "--json", str(tmp_path / "b.json")]
    assert run(["bench", "--model", str(pair), *arguments]) == 130
    assert list(tmp_path.iterdir()) == []


class _Page(HTMLParser):
    """Tags in balance, nothing fetched, nothing run."""

    void = frozenset({"meta", "br", "rect", "line"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "img", "link", "iframe")
        assert not [name for name, _ in attrs if name in ("src", "href") or name.startswith("on")]
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.void:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_page_holds_everything_and_runs_nothing(pair: Path, phantom: str) -> None:
    report = _report(pair, phantom, compare_float=True, description="<script>alert(1)</script>")
    page = report_to_html(report).decode()
    parser = _Page()
    parser.feed(page)
    text = " ".join(parser.texts)
    assert parser.open == []
    assert report.statement in text
    assert report.figures[0].model.sha256 in text
    assert page.count("<svg") == 2


def test_charts_are_to_scale(pair: Path, phantom: str) -> None:
    report = _report(pair, phantom, compare_float=True)
    latency, rates = charts(report)
    bars = [shape for shape in latency.shapes if isinstance(shape, Rectangle)]
    values = [getattr(one.latency_ms, stage).p50 for stage in STAGES for one in report.figures]
    assert len(bars) == len(values) == 10
    for bar, value in zip(bars, values, strict=True):
        assert bar.width / bars[-1].width == pytest.approx(value / values[-1])
    assert {bar.style for bar in bars} == {"first", "second"}
    for drawing in (latency, rates):
        assert drawing.width <= 400  # a wider one would be too small to read on a phone
        for shape in drawing.shapes:
            assert 0 <= shape.x <= drawing.width
            assert 0 <= shape.y <= drawing.height
            if isinstance(shape, Rectangle):
                assert shape.x + shape.width <= drawing.width
    assert any(isinstance(shape, Label) and "INT8" in shape.text for shape in latency.shapes)


@pytest.mark.parametrize(("rounds", "names"), [(1, "p50"), (20, "p50 / p95"), (100, "p50 / p95 / p99")])
def test_the_chart_names_what_it_shows(pair: Path, phantom: str, rounds: int, names: str) -> None:
    latency, _ = charts(_report(pair, phantom, rounds=rounds))
    assert latency.title.endswith(f": {names} in ms")
    bars = [shape for shape in latency.shapes if isinstance(shape, Label) and shape.anchor == "end"]
    assert {shape.text.count("/") for shape in bars} == {names.count("/")}


def test_png_is_drawn(pair: Path, phantom: str) -> None:
    from PIL import Image

    image = Image.open(io.BytesIO(report_to_png(_report(pair, phantom))))
    colours = {colour for _, colour in image.convert("RGB").getcolors(1 << 24) or ()}
    assert image.format == "PNG"
    assert (0x0B, 0x5C, 0xAD) in colours  # bars


def test_text_names_what_too_few_rounds_cannot_tell(pair: Path, phantom: str) -> None:
    lines = report_to_text(_report(pair, phantom)).splitlines()
    (total,) = [line for line in lines if re.search(r"\btotal\b", line)]
    assert total.split()[-2:] == ["-", "-"]


def _field_names(kind: Any) -> Iterable[str]:
    for inner in (kind, *get_args(kind)):
        if is_dataclass(inner):
            hints = get_type_hints(inner)
            for field in fields(inner):
                yield field.name
                yield from _field_names(hints[field.name])
        elif inner is not kind:
            yield from _field_names(inner)


def test_every_field_is_documented(pair: Path, phantom: str) -> None:
    text = (REPOSITORY / "docs" / "reference" / "bench.md").read_text(encoding="utf-8")
    missing = sorted({name for name in _field_names(Report) if f"`{name}`" not in text})
    assert missing == []
    assert json.loads(report_to_json(_report(pair, phantom)))["report_version"] == 1
