"""The how-to for PACS scripts: its code blocks and its examples, run as a reader would run them."""

import contextlib
import hashlib
import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import types
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY
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

from cxr_edge.modelfile import DEFAULT_MODEL, packaged_models
from cxr_edge.phantom import phantom_dicom

PAGE = REPOSITORY / "docs" / "how-to" / "pacs-scripts.md"
EXAMPLES = PAGE.parent / "examples"
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"
SUCCESS, OUT_OF_RESOURCES = 0x0000, 0xA700
PATIENCE = 90.0  # seconds; a busy machine loads a model in some
ORTHANC = shutil.which("Orthanc", path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"]))
ORTHANC_PYTHON = Path("/usr/share/orthanc/plugins/libOrthancPython.so")
Row = dict[str, Any]


@pytest.fixture(scope="module")
def model() -> str | None:
    """The model for the examples: None is the released one; `$CXR_EDGE_TEST_MODEL` names another file."""
    chosen = os.environ.get("CXR_EDGE_TEST_MODEL")
    if chosen is None and DEFAULT_MODEL not in packaged_models():
        pytest.skip("this checkout holds no released model")
    return chosen


def environment() -> dict[str, str]:
    inherited = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), *([inherited] if inherited else [])])}


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.05)
    return pytest.fail(f"in vain: {what}")


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
        self.folder = folder
        self.log = folder.with_suffix(".log")
        arguments = [str(EXAMPLES / "storage_scp.py"), str(folder), "--port", "0", *options]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *arguments, *(["--model", model] if model else [])], stderr=log, env=environment()
            )
        ready = r"listening on port (\d+)"
        start = self.log.read_text().count("listening") if self.process.poll() is None else 0
        found = wait_for(
            lambda: re.findall(ready, self.log.read_text())[start:] or self.process.poll(), "a listening SCP"
        )
        assert isinstance(found, list), self.log.read_text()
        self.port = int(found[-1])

    def rows(self) -> list[Row]:
        path = self.folder / "rows.jsonl"
        return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []

    def row_of(self, sop_instance_uid: str) -> Row:
        def find() -> Row | None:
            return next((row for row in self.rows() if row["source"]["sop_instance_uid"] == sop_instance_uid), None)

        return wait_for(find, "a row of the image sent")  # type: ignore[no-any-return]

    def wait_for_rows(self, count: int) -> list[Row]:
        return wait_for(lambda: (rows := self.rows())[count - 1 :] and rows, f"{count} rows")  # type: ignore[no-any-return]

    def idle(self) -> bool:
        return not any((self.folder / "inbox").iterdir())

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def send(self, *images: Any, calling: str = "TEST") -> list[int | None]:
        """Send data sets or paths over one association; the statuses, None where the association broke."""
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
    import io

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
    lossless = compressed(gradient(), JPEG_LOSSLESS, LOSSLESS_ENCODERS[JPEG_LOSSLESS](gradient()))
    images = {
        "gate_body_part": as_dataset(make_file(SOPInstanceUID="2.25.1", BodyPartExamined="HIP")),
        "no_pixel_data": as_dataset(make_file(SOPInstanceUID="2.25.2", PixelData=None)),
        "classified": as_dataset(to_bytes(lossless, JPEG_LOSSLESS)),
    }
    assert server.send(*images.values()) == [SUCCESS] * 3
    rows = server.wait_for_rows(3)
    assert [row.get("reason", {"code": row["status"]})["code"] for row in rows] == list(images)
    garbage = make_dataset(gradient(), SOPInstanceUID="2.25.3")
    garbage.is_implicit_VR, garbage.is_little_endian = False, True  # type: ignore[attr-defined]
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


@posix_signals
def test_scp_keeps_what_it_said_it_has(scp: Callable[..., Scp]) -> None:
    images = [as_dataset(phantom_dicom(seed=seed, rows=512, columns=420)) for seed in range(6)]
    server = scp()
    assert server.send(*images) == [SUCCESS] * 6
    server.process.kill()  # as a power cut would: some images wait, one is in hand
    server.process.wait()
    waiting = len(list((server.folder / "inbox").iterdir()))
    assert waiting, "the kill came too late to prove anything"
    (server.folder / "incoming" / "half").write_bytes(b"DICM")
    with (server.folder / "rows.jsonl").open("ab") as rows:
        rows.write(b'{"torn": ')
    server = scp()
    wait_for(server.idle, "an empty inbox")
    assert server.send(images[0]) == [SUCCESS]  # a sender's retry
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
    server.row_of(image.SOPInstanceUID)
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


# The Orthanc plugin


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Orthanc:
    """A real Orthanc with the plugin, on loopback."""

    def __init__(self, folder: Path, model: str | None) -> None:
        self.port = free_port()
        self.log = folder / "orthanc.log"
        configuration = {
            "StorageDirectory": str(folder / "db"),
            "IndexDirectory": str(folder / "db"),
            "HttpPort": self.port,
            "HttpBindAddresses": ["127.0.0.1"],
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomServerEnabled": False,
            "UserMetadata": {"cxr-edge": 4242},
            "Plugins": [str(ORTHANC_PYTHON)],
            "PythonScript": str(EXAMPLES / "orthanc_plugin.py"),
            "CxrEdge": {"Python": sys.executable, "Model": model},
        }
        (folder / "orthanc.json").write_text(json.dumps(configuration), encoding="utf-8")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [str(ORTHANC), str(folder / "orthanc.json")], stdout=log, stderr=log, env=environment()
            )
        wait_for(lambda: self.process.poll() is not None or self.ask("/system"), "Orthanc's HTTP server")
        assert self.process.poll() is None, self.log.read_text()

    def ask(self, path: str, body: bytes | None = None) -> bytes | None:
        with contextlib.suppress(OSError):
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", body, timeout=PATIENCE) as answer:
                return bytes(answer.read())
        return None

    def store(self, content: bytes) -> str:
        return str(json.loads(self.ask("/instances", content) or b"{}")["ID"])

    def row(self, instance: str) -> Row:
        found = wait_for(lambda: self.ask(f"/instances/{instance}/metadata/cxr-edge"), "a row as metadata")
        return dict(json.loads(found))

    def stop(self) -> None:
        self.process.terminate()
        assert self.process.wait(PATIENCE) == 0, self.log.read_text()


@posix_signals
@pytest.mark.skipif(ORTHANC is None or not ORTHANC_PYTHON.exists(), reason="needs Orthanc with its Python plugin")
def test_real_orthanc(model: str | None, tmp_path: Path) -> None:
    lossless = compressed(gradient(), JPEG_LOSSLESS, LOSSLESS_ENCODERS[JPEG_LOSSLESS](gradient()))
    (tmp_path / "db").mkdir()
    orthanc = Orthanc(tmp_path, model)
    try:
        first = orthanc.store(phantom_dicom())
        hip = orthanc.store(make_file(SOPInstanceUID="2.25.1", SeriesInstanceUID="2.25.2", BodyPartExamined="HIP"))
        ct = orthanc.store(make_file(SOPInstanceUID="2.25.3", SeriesInstanceUID="2.25.4", Modality="CT"))
        jpeg = orthanc.store(to_bytes(lossless, JPEG_LOSSLESS))  # crashes an Orthanc that decodes in its own process
        assert orthanc.row(first)["status"] == "classified"
        assert orthanc.row(hip)["reason"]["code"] == "gate_body_part"
        assert orthanc.row(jpeg)["status"] == "classified"
        assert orthanc.ask(f"/instances/{ct}/metadata/cxr-edge") is None
        before = orthanc.row(first)
        late = orthanc.store(phantom_dicom(seed=1))
        orthanc.stop()  # most likely before that one is classified
        orthanc = Orthanc(tmp_path, model)
        assert orthanc.row(late)["status"] == "classified"
        assert orthanc.row(first) == before
        orthanc.stop()
        assert "E1" not in re.findall(r"cxr-edge.*died|cxr-edge.*trying", orthanc.log.read_text())
    finally:
        orthanc.process.kill()
        orthanc.process.wait()


class FakeOrthanc(types.ModuleType):
    """As much of the `orthanc` module as the plugin uses."""

    class OrthancException(Exception):  # noqa: N818 - its name
        """As Orthanc's."""

    class ErrorCode:
        """As Orthanc's."""

        UNKNOWN_RESOURCE, INEXISTENT_ITEM, DATABASE = 17, 7, 11

    def __init__(self, instances: dict[str, bytes]) -> None:
        super().__init__("orthanc")
        self.instances, self.properties, self.metadata, self.errors = instances, {4242: "0"}, {}, []
        self.RegisterOnChangeCallback = self.RegisterOnStoredInstanceCallback = self.LogWarning = lambda _: None
        self.LogError = self.errors.append

    properties: dict[int, str]
    metadata: dict[str, bytes]
    errors: list[str]

    def GetConfiguration(self) -> str:
        return json.dumps({"CxrEdge": {"Python": sys.executable}})

    def GetGlobalProperty(self, number: int, default: str) -> str:
        return self.properties.get(number, default)

    def SetGlobalProperty(self, number: int, value: str) -> None:
        self.properties[number] = value

    def GetDicomForInstance(self, instance: str) -> bytes:
        if not self.instances[instance]:
            raise self.OrthancException(self.ErrorCode.UNKNOWN_RESOURCE, "Unknown resource")
        return self.instances[instance]

    def RestApiGet(self, uri: str) -> bytes:
        if uri.startswith("/instances"):
            return b'{"MainDicomTags": {"Modality": "DX"}}'
        since = int(re.findall(r"since=(\d+)", uri)[0])
        changes = [{"ChangeType": "NewInstance", "ID": name, "Seq": n + 1} for n, name in enumerate(self.instances)]
        return json.dumps(
            {"Changes": changes[since : since + 2], "Done": since + 2 >= len(changes), "Last": since + 2}
        ).encode()

    def RestApiPut(self, uri: str, content: bytes) -> None:
        self.metadata[uri.split("/")[2]] = content


def test_plugin_when_an_image_kills_the_classifier(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = FakeOrthanc({"a": b"good", "gone": b"", "killer": b"kill", "b": b"good"})
    monkeypatch.setitem(sys.modules, "orthanc", fake)
    spec = importlib.util.spec_from_file_location("orthanc_plugin", EXAMPLES / "orthanc_plugin.py")
    assert spec
    assert spec.loader
    plugin = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(plugin)
    script = tmp_path / "classifier.py"
    script.write_text(
        "import sys\nprint('{}', flush=True)\n"
        "while head := sys.stdin.buffer.read(8):\n"
        "    if sys.stdin.buffer.read(int.from_bytes(head, 'big')) == b'kill': raise SystemExit\n"
        "    print('{}', flush=True)\n"
    )
    monkeypatch.setattr(plugin, "COMMAND", [sys.executable, str(script)])
    plugin.follow_changes()
    plugin.classifier.stop()
    assert sorted(fake.metadata) == ["a", "b"]
    assert len(fake.errors) == 1
    assert "killer" in fake.errors[0]
    assert fake.properties[4242] == "4"
    fake.instances["c"] = b"good"
    monkeypatch.setattr(plugin, "COMMAND", [sys.executable, "-c", "raise SystemExit('no model')"])
    with pytest.raises(RuntimeError, match="does not start"):
        plugin.follow_changes()
    assert fake.properties[4242] == "4"  # tried again later
