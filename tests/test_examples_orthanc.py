"""The how-to's Orthanc plugin: in a real Orthanc where there is one, and against a fake of its module."""

import contextlib
import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import types
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from dicom_files import LOSSLESS_ENCODERS, compressed, make_file, to_bytes
from example_processes import EXAMPLES, JPEG_LOSSLESS, PATIENCE, chest, environment, model_to_run, wait_for

from cxr_edge.phantom import phantom_dicom

ORTHANC = shutil.which("Orthanc", path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"]))
ORTHANC_PYTHON = Path("/usr/share/orthanc/plugins/libOrthancPython.so")
Row = dict[str, Any]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Orthanc:
    """A real Orthanc with the plugin, on loopback."""

    def __init__(self, folder: Path, model: str | None) -> None:
        """Start it and wait until it answers."""
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
        """GET, or POST with a body; None where that fails."""
        url = f"http://127.0.0.1:{self.port}{path}"
        with contextlib.suppress(OSError), urllib.request.urlopen(url, body, timeout=PATIENCE) as answer:
            return bytes(answer.read())
        return None

    def store(self, content: bytes) -> str:
        """Store a file; Orthanc's name for the instance."""
        return str(json.loads(self.ask("/instances", content) or b"{}")["ID"])

    def row(self, instance: str) -> Row:
        """The row of an instance, once it is there."""
        found = wait_for(lambda: self.ask(f"/instances/{instance}/metadata/cxr-edge"), "a row as metadata")
        return dict(json.loads(found))

    def stop(self) -> None:
        """Send SIGTERM; Orthanc must end well."""
        self.process.terminate()
        assert self.process.wait(PATIENCE) == 0, self.log.read_text()


@pytest.mark.skipif(ORTHANC is None or not ORTHANC_PYTHON.exists(), reason="needs Orthanc with its Python plugin")
def test_real_orthanc(tmp_path: Path) -> None:
    model = model_to_run()
    names: dict[str, Any] = {
        "PatientID": "nobody",
        "SeriesInstanceUID": "2.25.5",
    }  # Orthanc stores nothing without these
    lossless = compressed(chest(), JPEG_LOSSLESS, LOSSLESS_ENCODERS[JPEG_LOSSLESS](chest()), **names)
    (tmp_path / "db").mkdir()
    orthanc = Orthanc(tmp_path, model)
    try:
        first = orthanc.store(phantom_dicom())
        hip = orthanc.store(
            make_file(SOPInstanceUID="2.25.1", PatientID="hip", SeriesInstanceUID="2.25.2", BodyPartExamined="HIP")
        )
        ct = orthanc.store(
            make_file(SOPInstanceUID="2.25.3", PatientID="ct", SeriesInstanceUID="2.25.4", Modality="CT")
        )
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
        assert not re.findall(r"cxr-edge: the classifier died.*|cxr-edge:.* trying again.*", orthanc.log.read_text())
    finally:
        orthanc.process.kill()
        orthanc.process.wait()


class FakeOrthanc:
    """As much of Orthanc as the plugin uses; an instance without content is one that was deleted in the meantime."""

    def __init__(self, instances: dict[str, bytes]) -> None:
        """Begin with nothing dealt with."""
        self.instances = instances
        self.properties = {4242: "0"}
        self.metadata: dict[str, bytes] = {}
        self.errors: list[str] = []

    def module(self) -> types.ModuleType:
        """The module `orthanc`."""
        module = types.ModuleType("orthanc")
        self.exception = type("OrthancException", (Exception,), {})
        members = {
            "OrthancException": self.exception,
            "ErrorCode": types.SimpleNamespace(UNKNOWN_RESOURCE=17, INEXISTENT_ITEM=7),
            "GetConfiguration": lambda: "{}",
            "GetGlobalProperty": self.properties.get,
            "SetGlobalProperty": self.properties.__setitem__,
            "GetDicomForInstance": self.dicom,
            "RestApiGet": self.get,
            "RestApiPut": lambda uri, row: self.metadata.__setitem__(uri.split("/")[2], row),
            "RegisterOnChangeCallback": lambda _: None,
            "RegisterOnStoredInstanceCallback": lambda _: None,
            "LogWarning": lambda _: None,
            "LogError": self.errors.append,
        }
        vars(module).update(members)
        return module

    def dicom(self, instance: str) -> bytes:
        """The file of an instance."""
        if not self.instances[instance]:
            raise self.exception(17, "Unknown resource")
        return self.instances[instance]

    def get(self, uri: str) -> str:
        """The series of an instance, or a page of two changes."""
        if uri.startswith("/instances"):
            return '{"MainDicomTags": {"Modality": "DX"}}'
        since = int(re.findall(r"since=(\d+)", uri)[0])
        changes = [{"ChangeType": "NewInstance", "ID": name, "Seq": n} for n, name in enumerate(self.instances, 1)]
        page = changes[since : since + 2]
        return json.dumps({"Changes": page, "Done": since + 2 >= len(changes), "Last": since + len(page)})


def load_plugin(monkeypatch: pytest.MonkeyPatch, fake: FakeOrthanc) -> Any:
    monkeypatch.setitem(sys.modules, "orthanc", fake.module())
    spec = importlib.util.spec_from_file_location("orthanc_plugin", EXAMPLES / "orthanc_plugin.py")
    assert spec
    assert spec.loader
    plugin = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(plugin)
    return plugin


def test_plugin_when_an_image_kills_the_classifier(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = FakeOrthanc({"a": b"good", "gone": b"", "killer": b"kill", "b": b"good"})
    plugin = load_plugin(monkeypatch, fake)
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
    plugin.classifier.stop()
