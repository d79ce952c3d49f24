"""The how-to for PACS scripts: its code blocks and its storage SCP, run as a reader would run them."""

import contextlib
import hashlib
import io
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from dicom_files import (
    LOSSLESS_ENCODERS,
    PATIENT,
    SOP_INSTANCE,
    compressed,
    gradient,
    make_dataset,
    make_file,
    to_bytes,
)
from example_processes import EXAMPLES, JPEG_LOSSLESS, PAGE, PATIENCE, chest, environment, model_to_run, wait_for

from cxr_edge.phantom import phantom_dicom

SUCCESS, OUT_OF_RESOURCES = 0x0000, 0xA700
Row = dict[str, Any]


@pytest.fixture(scope="module")
def model() -> str | None:
    return model_to_run()


# The page's own code


def blocks() -> list[str]:
    return re.findall(r"<!-- runnable -->\n```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_every_python_block_is_run() -> None:
    assert len(blocks()) == PAGE.read_text(encoding="utf-8").count("```python") >= 7


@pytest.mark.parametrize("number", range(len(blocks())))
def test_block(number: int, model: str | None, tmp_path: Path) -> None:
    (tmp_path / "radiographs").mkdir()
    (tmp_path / "study.dcm").write_bytes(phantom_dicom())
    (tmp_path / "radiographs" / "a.dcm").write_bytes(phantom_dicom(seed=1))
    (tmp_path / "radiographs" / "b.dcm").write_bytes(phantom_dicom()[:5000])
    (tmp_path / "broken.dcm").write_bytes(b"no image")
    other = f"import functools, cxr_edge\ncxr_edge.load = functools.partial(cxr_edge.load, {model!r})\n"
    script = tmp_path / "block.py"
    script.write_text((other if model else "") + blocks()[number], encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", script],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search("NORMAL|PNEUMONIA|unknown_format", done.stdout)
    if "json.dumps" in blocks()[number]:
        assert [json.loads(line)["status"] for line in done.stdout.splitlines()] == ["classified", "rejected"]


# The storage SCP


class Scp:
    """storage_scp.py as a process on a free loopback port."""

    def __init__(self, folder: Path, model: str | None, *options: str) -> None:
        """Start it and wait until it listens."""
        self.folder = folder
        self.log = folder.with_suffix(".log")
        self.log.unlink(missing_ok=True)
        command = [sys.executable, str(EXAMPLES / "storage_scp.py"), str(folder), "--port", "0", *options]
        command += ["--model", model] if model else []
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stderr=log, env=environment())
        wait_for(lambda: "listening" in self.log.read_text() or self.process.poll() is not None, "a listening SCP")
        self.port = int(re.findall(r"listening on port (\d+)", self.log.read_text())[0])

    def rows(self) -> list[Row]:
        """What stands in rows.jsonl."""
        path = self.folder / "rows.jsonl"
        return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []

    def wait_for_rows(self, count: int) -> list[Row]:
        """All rows, once there are so many."""
        return wait_for(lambda: (rows := self.rows())[count - 1 :] and rows, f"{count} rows")  # type: ignore[no-any-return]

    def idle(self) -> bool:
        """Whether nothing waits."""
        return not any((self.folder / "inbox").iterdir())

    def stop(self) -> int:
        """Send SIGTERM; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def send(self, *images: Any, calling: str = "TEST") -> list[int | None]:
        """Send data sets or paths over one association; the statuses, None where the association was refused."""
        pynetdicom = pytest.importorskip("pynetdicom")
        entity = pynetdicom.AE(ae_title=calling)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = PATIENCE
        for sop_class in ("1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.1.1"):
            for transfer_syntax in ("1.2.840.10008.1.2.1", JPEG_LOSSLESS):
                entity.add_requested_context(sop_class, transfer_syntax)
        association = entity.associate("127.0.0.1", self.port)
        if not association.is_established:
            return [None for _ in images]
        statuses = [association.send_c_store(image).get("Status") for image in images]
        association.release()
        return statuses


@pytest.fixture
def scp(tmp_path: Path, model: str | None) -> Iterator[Callable[..., Scp]]:
    pytest.importorskip("pynetdicom")
    started: list[Scp] = []

    def start(*options: str) -> Scp:
        started.append(Scp(tmp_path / "store", model, *options))
        return started[-1]

    yield start
    for server in started:
        with contextlib.suppress(ProcessLookupError):
            server.process.kill()
        server.process.wait()


def as_dataset(content: bytes) -> Any:
    import pydicom

    return pydicom.dcmread(io.BytesIO(content))


posix_signals = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM")


@posix_signals
@pytest.mark.skipif(shutil.which("storescu") is None, reason="needs dcmtk's storescu")
def test_scp_with_dcmtk(scp: Callable[..., Scp], tmp_path: Path) -> None:
    paths = [tmp_path / f"{seed}.dcm" for seed in range(3)]
    for seed, path in enumerate(paths):
        path.write_bytes(phantom_dicom(seed=seed))
    server = scp()
    done = subprocess.run(
        ["storescu", "-aec", "CXR_EDGE", "127.0.0.1", str(server.port), *paths],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    rows = server.wait_for_rows(3)
    assert {row["status"] for row in rows} == {"classified"}
    assert [row["source"]["sop_instance_uid"] for row in rows] == [
        as_dataset(p.read_bytes()).SOPInstanceUID for p in paths
    ]
    wait_for(server.idle, "an empty inbox")
    for row in rows:
        stored = server.folder / "done" / f"{row['source']['content_sha256']}.dcm"
        assert hashlib.sha256(stored.read_bytes()).hexdigest() == stored.stem
    assert list((server.folder / "incoming").iterdir()) == []
    assert server.stop() == 0


@posix_signals
def test_scp_survives_what_it_cannot_classify(scp: Callable[..., Scp], tmp_path: Path) -> None:
    server = scp()
    with socket.create_connection(("127.0.0.1", server.port)) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
    lossless = compressed(chest(), JPEG_LOSSLESS, LOSSLESS_ENCODERS[JPEG_LOSSLESS](chest()))
    images = {
        "gate_body_part": as_dataset(make_file(SOPInstanceUID="2.25.1", BodyPartExamined="HIP")),
        "no_pixel_data": as_dataset(make_file(SOPInstanceUID="2.25.2", PixelData=None)),
        "classified": as_dataset(to_bytes(lossless, JPEG_LOSSLESS)),
    }
    assert server.send(*images.values()) == [SUCCESS] * 3
    rows = server.wait_for_rows(3)
    assert [row.get("reason", {"code": row["status"]})["code"] for row in rows] == list(images)
    garbage = make_dataset(gradient(), SOPInstanceUID="2.25.3")
    path = tmp_path / "garbage.dcm"
    head = to_bytes(garbage)
    path.write_bytes(head[: head.index(b"\x08\x00\x16\x00UI")] + b"\xff" * 4000)
    assert send_file(server, path) == SUCCESS
    assert server.wait_for_rows(4)[3]["status"] == "rejected"
    assert server.send(as_dataset(phantom_dicom())) == [SUCCESS]
    assert server.wait_for_rows(5)[4]["status"] == "classified"
    assert server.stop() == 0
    log = server.log.read_text()
    assert not [secret for secret in (PATIENT, PATIENT.partition("^")[0], SOP_INSTANCE, "2.25.") if secret in log]


def send_file(server: Scp, path: Path) -> int | None:
    """Send a file's bytes as they are, whatever they are."""
    from pynetdicom import _config

    _config.STORE_SEND_CHUNKED_DATASET = True
    try:
        return server.send(path)[0]
    finally:
        _config.STORE_SEND_CHUNKED_DATASET = False


# a process of its own, since pynetdicom leaves its socket open when the peer dies
SENDER = """
import sys
from pynetdicom import AE
entity = AE()
entity.add_requested_context("1.2.840.10008.5.1.4.1.1.1.1", "1.2.840.10008.1.2.1")
association = entity.associate("127.0.0.1", int(sys.argv[1]))
print([association.send_c_store(path).Status for path in sys.argv[2:]], flush=True)
sys.stdin.read()
"""


@posix_signals
def test_scp_keeps_what_it_said_it_has(scp: Callable[..., Scp], tmp_path: Path) -> None:
    paths = [tmp_path / f"{seed}.dcm" for seed in range(6)]
    for seed, path in enumerate(paths):
        path.write_bytes(phantom_dicom(seed=seed, rows=512, columns=420))
    server = scp()
    command = [sys.executable, "-c", SENDER, str(server.port), *map(str, paths)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as sender:
        assert sender.stdout
        assert sender.stdout.readline() == b"[0, 0, 0, 0, 0, 0]\n"
        server.process.kill()  # as a power cut would: the last image at least is waiting or in hand
        server.process.wait()
    waiting = len(list((server.folder / "inbox").iterdir()))
    assert waiting, "the kill came too late to prove anything"
    (server.folder / "incoming" / "half").write_bytes(b"DICM")
    with (server.folder / "rows.jsonl").open("ab") as rows:
        rows.write(b'{"torn": ')
    server = scp()
    wait_for(server.idle, "an empty inbox")
    assert server.send(paths[0]) == [SUCCESS]  # a sender's retry
    assert server.stop() == 0
    lines = (server.folder / "rows.jsonl").read_bytes().splitlines()
    assert lines.count(b'{"torn": ') == 1
    hashes = [json.loads(line)["source"]["content_sha256"] for line in lines if line != b'{"torn": ']
    assert len(set(hashes)) == 6
    assert len(hashes) <= 7  # the image in hand may have two
    assert sorted(path.stem for path in (server.folder / "done").iterdir()) == sorted(set(hashes))
    assert list((server.folder / "incoming").iterdir()) == []


@posix_signals
def test_scp_says_no_when_it_cannot_store(scp: Callable[..., Scp]) -> None:
    server = scp("--allow", "TEST")
    image = as_dataset(phantom_dicom())
    assert server.send(image, calling="STRANGER") == [None]
    inbox = server.folder / "inbox"
    inbox.rmdir()
    assert server.send(image) == [OUT_OF_RESOURCES]
    inbox.mkdir()
    assert server.send(image) == [SUCCESS]
    assert server.wait_for_rows(1)[0]["status"] == "classified"
    assert server.stop() == 0
    assert "an image was not stored: No such file or directory" in server.log.read_text()


def test_scp_ends_when_it_cannot_write_rows(scp: Callable[..., Scp], tmp_path: Path) -> None:
    (tmp_path / "store" / "rows.jsonl").mkdir(parents=True)
    server = scp()
    assert server.process.wait(PATIENCE) == 1


@posix_signals
def test_scp_with_real_radiographs(scp: Callable[..., Scp], data_folder: Path) -> None:
    import pydicom
    from pydicom.dataset import FileMetaDataset

    paths = sorted((data_folder / "dicom" / "chest").iterdir())
    server = scp()
    pynetdicom = pytest.importorskip("pynetdicom")
    for path in paths:
        dataset = pydicom.dcmread(path, force=True)
        if "TransferSyntaxUID" not in dataset.file_meta:  # one real file has neither preamble nor file meta
            dataset.file_meta = FileMetaDataset()
            dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
        entity = pynetdicom.AE()
        entity.add_requested_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
        association = entity.associate("127.0.0.1", server.port)
        assert association.send_c_store(dataset).Status == SUCCESS
        association.release()
    assert {row["status"] for row in server.wait_for_rows(len(paths))} == {"classified"}
    assert server.stop() == 0
