"""The command line: rows, exit codes, one clear line for whatever goes wrong."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tiny_models import tiny_model

from cxr_edge.cli.app import run
from cxr_edge.phantom import chest_phantom, phantom_dicom


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_model(tmp_path_factory.mktemp("model")))


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    """Two images of one study, one JPEG, one file that is none."""
    from PIL import Image

    folder = tmp_path / "in box ñ"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.dcm").write_bytes(phantom_dicom())
    (folder / "b.jpeg.txt").write_bytes(phantom_dicom(opacity=1.0))
    Image.fromarray(chest_phantom(300, 250)).save(folder / "deep" / "c", "JPEG")
    (folder / "deep" / "d.dcm").write_bytes(b"<html>")
    (folder / ".hidden").write_bytes(b"")
    (folder / "Thumbs.db").write_bytes(b"")
    return folder


def _rows(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_rows_in_order_and_exit_code_3(inbox: Path, tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["classify", str(inbox), "--recursive", "--model", tiny]) == 3
    captured = capsys.readouterr()
    rows = [json.loads(line) for line in captured.out.splitlines()]
    assert [(row["kind"], row["status"]) for row in rows[:4]] == [
        ("image", "classified"),
        ("image", "classified"),
        ("image", "classified"),
        ("image", "rejected"),
    ]
    assert rows[0]["source"]["path"] == str(inbox / "a.dcm")
    assert rows[3]["reason"]["code"] == "unknown_format"
    assert "passed over 2 hidden or system file(s)" in captured.err
    assert "running on the CPU" in captured.err


def test_study_rows(tmp_path: Path, tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    import pydicom

    study = pydicom.dcmread(io.BytesIO(phantom_dicom()))
    study.save_as(tmp_path / "1.dcm")
    study.SOPInstanceUID += ".1"
    study.file_meta.MediaStorageSOPInstanceUID = study.SOPInstanceUID
    study.save_as(tmp_path / "2.dcm")
    assert run(["classify", str(tmp_path), "--model", tiny]) == 0
    *images, row = _rows(capsys)
    assert len(images) == 2
    assert (row["kind"], row["images"], row["rejected"]) == ("study", 2, 0)
    assert row["source"] == {"study_instance_uid": str(study.StudyInstanceUID)}
    assert row["score"] == max(image["score"] for image in images)


def test_untagged_files_become_a_study_on_request(
    tmp_path: Path, tiny: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    for seed, name in enumerate("ab"):
        Image.fromarray(chest_phantom(200, 200, seed=seed)).save(tmp_path / f"{name}.png")
    run(["classify", str(tmp_path), "--model", tiny])
    assert {row["kind"] for row in _rows(capsys)} == {"image"}
    run(["classify", str(tmp_path), "--model", tiny, "--study"])
    assert _rows(capsys)[-1]["kind"] == "study"


@pytest.mark.parametrize("kind", ["table", "json", "jsonl", "csv"])
def test_formats(inbox: Path, tiny: str, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    run(["classify", str(inbox / "a.dcm"), "--model", tiny, "--format", kind])
    text = capsys.readouterr().out
    if kind == "json":
        assert len(json.loads(text)) == 1
    elif kind == "csv":
        assert [row["status"] for row in csv.DictReader(io.StringIO(text))] == ["classified"]
    elif kind == "table":
        assert "Not a medical device" in text
    else:
        assert json.loads(text)["status"] == "classified"


@pytest.mark.parametrize(("name", "kind"), [("a.csv", "csv"), ("a.json", "json"), ("a.jsonl", "jsonl"), ("a", "jsonl")])
def test_output_is_whole_and_not_overwritten(
    inbox: Path, tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, kind: str
) -> None:
    target = tmp_path / name
    arguments = ["classify", str(inbox / "a.dcm"), "--model", tiny, "--output", str(target)]
    assert run(arguments) == 0
    assert capsys.readouterr().out == ""
    first = target.read_text(encoding="utf-8")
    assert first.startswith({"csv": "kind,", "json": "[\n", "jsonl": "{"}[kind])
    assert run(arguments) == 6
    assert "--overwrite" in capsys.readouterr().err
    assert target.read_text(encoding="utf-8") == first
    assert run([*arguments, "--overwrite"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {inbox.name, name}


def test_exit_codes(inbox: Path, tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = str(inbox / "b.jpeg.txt"), str(inbox / "deep" / "d.dcm")
    model = ["--model", tiny]
    assert run(["classify", good, *model]) == 0
    assert run(["classify"]) == 2
    assert run(["classify", good, "--nonsense"]) == 2
    assert run(["classify", "-", "-", *model]) == 2
    assert run(["classify", good, *model, "--operating-point", "best"]) == 2
    assert run(["classify", good, *model, "--output", str(tmp_path / "rows.xlsx")]) == 2
    assert run(["classify", good, bad, *model]) == 3
    assert run(["classify", bad, *model]) == 4
    assert run(["classify", str(tmp_path / "missing"), *model]) == 4
    assert run(["classify", good, "--model", "no-such-model"]) == 5
    assert run(["classify", good, *model, "--provider", "tensorrt"]) == 5
    assert run(["classify", good, *model, "-o", str(tmp_path / "missing" / "a")]) == 6
    errors = capsys.readouterr().err.splitlines()
    assert all(line.startswith("cxr-edge: ") for line in errors), errors


def test_fail_on_positive(inbox: Path, tiny: str) -> None:
    from PIL import Image

    positive, bad = str(inbox / "bright.png"), str(inbox / "deep" / "d.dcm")
    Image.new("L", (224, 224), 160).save(positive)
    screening = ["--model", tiny, "--fail-on", "positive", "--operating-point", "screening"]
    assert run(["classify", positive, *screening]) == 10
    assert run(["classify", positive, bad, *screening]) == 3
    assert run(["classify", bad, *screening]) == 4


def test_outputs_of_the_call_are_no_inputs(inbox: Path, tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["classify", str(inbox), "-r", "--model", tiny, "-o", str(inbox / "r.csv"), "--heatmap"]
    arguments += [str(inbox / "maps"), "--overwrite"]
    assert run(arguments) == run(arguments) == 3
    assert "passed over 4 output(s) of this very call" in capsys.readouterr().err
    with (inbox / "r.csv").open(encoding="utf-8", newline="") as stream:
        assert [row["kind"] for row in csv.DictReader(stream)] == ["image"] * 4 + ["study"]


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="needs permissions that bind")
def test_an_unreadable_folder_is_a_rejection(inbox: Path, tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    (inbox / "deep").chmod(0)
    assert run(["classify", str(inbox), "-r", "--model", tiny]) == 3
    assert [row.get("reason", {}).get("code") for row in _rows(capsys)] == [None, None, "unreadable", None]


def test_a_folder_that_vanishes_is_a_rejection(
    inbox: Path, tiny: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir

    def refuse(path: str) -> Any:
        if path.endswith("deep"):
            raise PermissionError
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert run(["classify", str(inbox), "-r", "--model", tiny]) == 3
    assert [row.get("reason", {}).get("code") for row in _rows(capsys)] == [None, None, "unreadable", None]


def test_paths_that_are_none(tiny: str, inbox: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["classify", "", "x" * 300, str(inbox / "a.dcm"), "--model", tiny]) == 3
    assert [row["status"] for row in _rows(capsys)] == ["rejected", "rejected", "classified"]


def test_a_heat_map_in_the_way_loses_no_row(
    inbox: Path, tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["classify", str(inbox / "a.dcm"), "--model", tiny, "--heatmap", str(tmp_path / "maps")])
    (png,) = (tmp_path / "maps").iterdir()
    png.write_bytes(b"another")
    capsys.readouterr()
    assert run(["classify", str(inbox), "-r", "--model", tiny, "--heatmap", str(tmp_path / "maps")]) == 6
    assert [row["kind"] for row in _rows(capsys)] == ["image"] * 4 + ["study"]
    assert png.read_bytes() == b"another"
    assert len(list((tmp_path / "maps").iterdir())) == 3


@pytest.mark.skipif(sys.platform == "win32", reason="a shell that closes descriptors")
@pytest.mark.parametrize(("closed", "code"), [("<&-", 4), (">&-", 6), ("2>&-", 0)])
def test_closed_streams(inbox: Path, tiny: str, closed: str, code: int) -> None:
    image = "-" if closed == "<&-" else f"'{inbox / 'a.dcm'}'"
    command = f"'{sys.executable}' -m cxr_edge classify {image} --model '{tiny}' {closed}"
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, check=False)
    assert (done.returncode, b"Traceback" in done.stderr) == (code, False), done.stderr


def test_an_empty_folder_classifies_nothing(tmp_path: Path, tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["classify", str(tmp_path), "--model", tiny]) == 4
    assert "no image was found" in capsys.readouterr().err


def test_no_identifiers(inbox: Path, tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(["classify", str(inbox), "-r", "--model", tiny, "--no-identifiers"])
    captured = capsys.readouterr()
    assert str(inbox) not in captured.out + captured.err
    assert "2.25." not in captured.out
    assert all(json.loads(line)["source"].get("path") is None for line in captured.out.splitlines())


def test_heat_maps(inbox: Path, tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    folder = tmp_path / "maps" / "deep"
    arguments = ["classify", str(inbox / "a.dcm"), "--model", tiny, "--heatmap", str(folder)]
    assert run(arguments) == 0
    (row,) = _rows(capsys)
    (png,) = folder.iterdir()
    assert png.name == row["source"]["content_sha256"] + ".png"
    with Image.open(png) as image:
        assert (image.mode, image.size, image.info) == ("RGB", (840, 1024), {})
    assert run(arguments) == 0  # the very same picture again is no conflict
    png.write_bytes(b"something else")
    assert run(arguments) == 6
    assert png.read_bytes() == b"something else"
    assert run([*arguments, "--overwrite"]) == 0
    assert png.read_bytes() != b"something else"


def test_demo_info_doctor(tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["demo", "--model", tiny]) == 0
    text = capsys.readouterr().out
    assert "phantom" in text
    assert "Not a medical device" in text
    kept = tmp_path / "phantom.dcm"
    assert run(["demo", "--model", tiny, "--keep", str(kept)]) == 0
    assert kept.read_bytes() == phantom_dicom()
    assert run(["demo", "--model", tiny, "--keep", str(kept)]) == 6
    capsys.readouterr()
    assert run(["info", "--model", tiny]) == 0
    assert "pillow-bilinear, horizontal-first, squash" in capsys.readouterr().out
    assert run(["info", "--model", tiny, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["contract"]["labels"] == ["NORMAL", "PNEUMONIA"]
    assert run(["doctor", "--json"]) == 0
    assert "RLE Lossless" in json.loads(capsys.readouterr().out)["codecs"]


def test_doctor_exits_5_on_a_clash(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from cxr_edge import doctor

    monkeypatch.setattr(doctor, "clashing_builds", lambda: "two builds")
    assert run(["doctor"]) == 5
    assert "two builds" in capsys.readouterr().err


def _start(arguments: list[str], **options: Any) -> "subprocess.Popen[bytes]":
    # a parent that ignores SIGINT, such as nohup, would hand that down
    options |= {} if sys.platform == "win32" else {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    return subprocess.Popen(
        [sys.executable, "-m", "cxr_edge", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options
    )


def test_standard_input(tiny: str) -> None:
    process = _start(["classify", "-", "--model", tiny], stdin=subprocess.PIPE)
    out, err = process.communicate(phantom_dicom(), timeout=60)
    assert process.returncode == 0, err
    assert json.loads(out)["source"]["path"] == "-"


def test_a_name_that_is_no_unicode(tmp_path: Path, tiny: str) -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux lets file names be any bytes")
    name = os.fsencode(tmp_path) + b"/\xff\x1b[31m.dcm"
    Path(os.fsdecode(name)).write_bytes(phantom_dicom())
    for kind in ("jsonl", "table", "csv"):
        process = _start(["classify", str(tmp_path), "--model", tiny, "--format", kind])
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert b"\x1b" not in out + err if kind != "csv" else b"PNEUMONIA" in out or b"NORMAL" in out
        out.decode("utf-8")


def test_a_narrow_console_encoding(inbox: Path, tiny: str) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252:strict", "PYTHONUTF8": "0"}
    (inbox / "胸部.dcm").write_bytes(phantom_dicom())
    process = _start(["classify", str(inbox / "胸部.dcm"), "--model", tiny, "--format", "csv"], env=environment)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert b"\\u80f8\\u90e8" in out


def test_a_reader_that_goes_away(inbox: Path, tiny: str) -> None:
    process = _start(["classify", *[str(inbox / "a.dcm")] * 40, "--model", tiny])
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert b"Traceback" not in process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 141


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)])
def test_interrupted_leaves_no_half_output(inbox: Path, tiny: str, tmp_path: Path, number: int) -> None:
    target = tmp_path / "rows.jsonl"
    arguments = ["classify", *[str(inbox / "a.dcm")] * 3000, "--model", tiny, "--output", str(target)]
    process = _start(arguments)
    deadline = time.monotonic() + 30
    while not list(tmp_path.glob("*.part")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.decode().splitlines()[-1] == "cxr-edge: interrupted"
    assert [path for path in tmp_path.iterdir() if path.is_file()] == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_line_and_exit_code_6(inbox: Path, tiny: str) -> None:
    with Path("/dev/full").open("wb") as full:
        process = subprocess.run(
            [sys.executable, "-m", "cxr_edge", "classify", str(inbox / "a.dcm"), "--model", tiny],
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert process.returncode == 6
    assert b"Traceback" not in process.stderr
    assert b"cannot write" in process.stderr


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("cxr-edge ")
    assert run(["--help"]) == 0
    assert "130 interrupted" in " ".join(capsys.readouterr().out.split())
    assert run([]) == 2
    assert "Commands" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [["in", "--pdf", "--language", "es"], ["in", "-o", "--overwrite"], ["in", "--heatmap", "--gate=off"]],
)
def test_an_option_is_no_value_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    (tmp_path / "in").mkdir()
    monkeypatch.chdir(tmp_path)
    assert run(["classify", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{arguments[1].replace('-o', '--output')} has no value: {arguments[2]} is an option" in line
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
