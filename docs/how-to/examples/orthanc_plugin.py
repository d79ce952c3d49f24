"""Orthanc plugin: classifies each image that Orthanc stores; the row becomes metadata of it. Not a medical device.

The classifier is loaded once, in a process of its own: Orthanc brings older codec libraries, over whose functions those
of imagecodecs stumble when both live in one process. Orthanc's log of changes is the queue, so nothing is lost when it
stops: the number of the last change dealt with is kept in Orthanc's database, as a global property.
Settings: `"CxrEdge": {"Python": "/opt/cxr-edge/bin/python", "Model": "resnet50-binary"}`.
"""

import json
import struct
import subprocess
import threading
from pathlib import Path
from typing import Any

import orthanc  # exists inside Orthanc only

SETTINGS = json.loads(orthanc.GetConfiguration()).get("CxrEdge", {})
METADATA = PROPERTY = 4242  # Orthanc leaves the numbers from 1024 on to its users
COMMAND = [SETTINGS.get("Python", "python3"), str(Path(__file__).with_name("orthanc_worker.py"))]
COMMAND += [SETTINGS["Model"]] if SETTINGS.get("Model") else []
MODALITIES = ("CR", "DX")  # a CT of a thousand slices need not be decoded to be refused
RETRY_SECONDS = 30.0
wake, stopping = threading.Event(), threading.Event()


class Classifier:
    """The process that classifies; started when needed, and again when an image has killed it."""

    process: "subprocess.Popen[bytes] | None" = None

    def classify(self, dicom: bytes) -> bytes:
        """The JSON row of a DICOM file. Raises BrokenPipeError when the process died over it."""
        if self.process is None or self.process.poll() is not None:
            self.start()
        try:
            self.process.stdin.write(struct.pack(">Q", len(dicom)) + dicom)
            self.process.stdin.flush()
            row = self.process.stdout.readline()
        except OSError:
            row = b""
        if not row.endswith(b"\n"):
            self.stop()
            raise BrokenPipeError
        return row

    def start(self) -> None:
        """Start and wait until the model is loaded."""
        self.stop()
        self.process = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603 - settings
        if not (hello := self.process.stdout.readline()):
            message = "the classifier does not start; what it said is on Orthanc's standard error"
            raise RuntimeError(message)
        orthanc.LogWarning(f"cxr-edge: {hello.decode().strip()}")

    def stop(self) -> None:
        """End the process, by ending its input."""
        if self.process:
            self.process.communicate()
            self.process = None


classifier = Classifier()


def on_stored_instance(_dicom: object, _instance_id: str) -> None:
    """Called while the sender waits, so it only rings the bell."""
    wake.set()


def work() -> None:
    """Follow the log of changes until Orthanc stops; what fails is logged and tried again."""
    while not stopping.is_set():
        wake.clear()
        try:
            follow_changes()
        except Exception as error:  # noqa: BLE001 - nobody would notice a dead worker
            orthanc.LogError(f"cxr-edge: {type(error).__name__}: {error}; trying again in {RETRY_SECONDS:g} s")
            stopping.wait(RETRY_SECONDS)
        else:
            wake.wait(RETRY_SECONDS)
    classifier.stop()


def follow_changes() -> None:
    """Deal with all changes after the last one that was dealt with."""
    known = orthanc.GetGlobalProperty(PROPERTY, "")
    if not known:  # the very first start: the images of years are not classified unasked
        known = str(get("/changes?last")["Last"])
        orthanc.SetGlobalProperty(PROPERTY, known)
    page = {"Last": int(known), "Done": False}
    while not page["Done"]:
        page = get(f"/changes?since={page['Last']}&limit=100")
        for change in page["Changes"]:
            if stopping.is_set():
                return
            if change["ChangeType"] == "NewInstance":
                attach_row(change["ID"])
            orthanc.SetGlobalProperty(PROPERTY, str(change["Seq"]))


def attach_row(instance_id: str) -> None:
    """Classify one instance; its row becomes metadata."""
    try:
        modality = get(f"/instances/{instance_id}/series")["MainDicomTags"].get("Modality")
        if modality and modality not in MODALITIES:
            return
        row = classifier.classify(orthanc.GetDicomForInstance(instance_id))
        orthanc.RestApiPut(f"/instances/{instance_id}/metadata/{METADATA}", row)
    except BrokenPipeError:
        orthanc.LogError(f"cxr-edge: the classifier died over instance {instance_id}, which gets no row")
    except orthanc.OrthancException as error:
        if error.args[0] not in (orthanc.ErrorCode.UNKNOWN_RESOURCE, orthanc.ErrorCode.INEXISTENT_ITEM):
            raise  # these two: deleted in the meantime


def get(uri: str) -> Any:  # noqa: ANN401 - JSON
    """Ask Orthanc's REST API."""
    return json.loads(orthanc.RestApiGet(uri))


def on_change(change_type: int, _level: int, _resource_id: str) -> None:
    """Start and stop with Orthanc."""
    if change_type == orthanc.ChangeType.ORTHANC_STARTED:
        worker.start()
    elif change_type == orthanc.ChangeType.ORTHANC_STOPPED:
        stopping.set()
        wake.set()
        worker.join()  # finishes the image in hand


worker = threading.Thread(target=work, daemon=True)
orthanc.RegisterOnChangeCallback(on_change)
orthanc.RegisterOnStoredInstanceCallback(on_stored_instance)
