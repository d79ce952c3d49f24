"""A DICOM storage SCP that classifies what it is sent: one JSON line for each image. Not a medical device.

    python storage_scp.py FOLDER [--host 127.0.0.1] [--port 11112] [--ae-title CXR_EDGE] [--allow AE_TITLE]...

FOLDER holds `incoming` (being received), `inbox` (the sender was told success), `done` (the row is written) and
`rows.jsonl`. The sender never waits for the network. What stands in `inbox` is classified at the next start.
"""

import argparse
import contextlib
import hashlib
import json
import logging
import os
import queue
import shutil
import signal
import tempfile
import threading
import time
import warnings
from pathlib import Path

from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, _config, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at run time

import cxr_edge
from cxr_edge.results import to_row

SUCCESS, OUT_OF_RESOURCES = 0x0000, 0xA700  # PS3.4 B.2.3
LEAST_FREE = 1 << 30  # bytes; below, images are refused rather than half kept
log = logging.getLogger("storage_scp")


class Store:
    """The files between reception and result, and the queue of those that wait."""

    def __init__(self, folder: Path) -> None:
        """Make the folders, drop what was received in part, and queue what an earlier run left."""
        self.folder, self.incoming, self.inbox, self.done = (folder / n for n in ("", "incoming", "inbox", "done"))
        for place in (self.folder, self.incoming, self.inbox, self.done):
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
        for leftover in self.incoming.iterdir():
            leftover.unlink()
        self.waiting: queue.SimpleQueue[Path] = queue.SimpleQueue()
        for path in sorted(self.inbox.glob("*.dcm")):
            self.waiting.put(path)
        self.stopping = threading.Event()

    def receive(self, event: evt.Event) -> int:
        """Handle C-STORE: the file is on the disk before success is answered."""
        try:
            if shutil.disk_usage(self.folder).free < LEAST_FREE:
                log.error("refused an image: the disk is nearly full")
                return OUT_OF_RESOURCES
            with event.dataset_path.open("rb") as received:
                name = hashlib.file_digest(received, "sha256").hexdigest() + ".dcm"  # never named after a tag
                if (self.done / name).exists():
                    return SUCCESS  # a sender's retry: the row stands already
                received.seek(0)
                with tempfile.NamedTemporaryFile(dir=self.incoming, delete=False) as copy:
                    shutil.copyfileobj(received, copy)
                    copy.flush()
                    os.fsync(copy.fileno())
            Path(copy.name).replace(self.inbox / name)
            sync_folder(self.inbox)
        except OSError as error:
            log.error("refused an image: %s", error.strerror)  # noqa: TRY400 - no traceback: it would add file names
            return OUT_OF_RESOURCES
        self.waiting.put(self.inbox / name)
        return SUCCESS

    def classify(self, classifier: cxr_edge.Classifier) -> None:
        """Work until told to stop; an image leaves the inbox only when its row is on the disk."""
        with (self.folder / "rows.jsonl").open("ab+") as rows:
            if rows.seek(0, os.SEEK_END) and (rows.seek(-1, os.SEEK_END), rows.read())[1] != b"\n":
                rows.write(b"\n")  # a power cut tore the last row; its image is still in the inbox
            while not self.stopping.is_set():
                with contextlib.suppress(queue.Empty):
                    path = self.waiting.get(timeout=0.5)
                    if not path.exists():  # sent twice while it waited
                        continue
                    (result,) = classifier.classify_many([path])  # unlike classify, a bad image is a Rejection
                    row = to_row(result)
                    rows.write(json.dumps(row, allow_nan=False).encode() + b"\n")
                    rows.flush()
                    os.fsync(rows.fileno())
                    path.replace(self.done / path.name)
                    log.info("%s: %s", path.stem[:12], row["status"])


def sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut; Windows has no such call and needs none."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def main() -> int:
    """Serve until SIGTERM or Ctrl+C; 1 if the rows cannot be written any more."""
    parser = argparse.ArgumentParser(description="Storage SCP that classifies chest radiographs.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=11112, help="0: any free port, see the log")
    parser.add_argument("--ae-title", default="CXR_EDGE")
    parser.add_argument("--allow", action="append", default=[], help="calling AE title; may be repeated; default: any")
    parser.add_argument("--model", help="a model's name or .onnx file; default: the released model")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    hush_patient_data()
    store, classifier = Store(options.folder), cxr_edge.load(options.model)
    for notice in classifier.notices:
        log.warning(notice.message)
    tempfile.tempdir = str(store.incoming)  # where pynetdicom puts what it receives: the same disk, cleared at start
    _config.STORE_RECV_CHUNKED_DATASET = True  # to the disk in pieces: memory stays bounded
    ae = AE(ae_title=options.ae_title)
    ae.require_calling_aet = options.allow
    ae.add_supported_context(Verification)
    for context in AllStoragePresentationContexts:
        ae.add_supported_context(str(context.abstract_syntax), ALL_TRANSFER_SYNTAXES)
    worker = threading.Thread(target=store.classify, args=(classifier,), name="classify")
    worker.start()
    try:
        handlers = [(evt.EVT_C_STORE, store.receive)]
        server = ae.start_server((options.host, options.port), block=False, evt_handlers=handlers)
        log.info("listening on %s port %d", *server.socket.getsockname()[:2])
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        while worker.is_alive():
            time.sleep(0.5)
    except KeyboardInterrupt:
        log.info("stopping")
    finally:
        ae.shutdown()
        healthy = worker.is_alive()
        store.stopping.set()
        worker.join()  # finishes the image in hand; the others stay in the inbox
    return 0 if healthy else 1


def hush_patient_data() -> None:
    """Keep identifiers and element values, which warnings quote, out of every log."""
    _config.LOG_REQUEST_IDENTIFIERS = False
    _config.LOG_RESPONSE_IDENTIFIERS = False
    _config.LOG_HANDLER_LEVEL = "none"
    logging.getLogger("pynetdicom").setLevel(logging.WARNING)
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore")


if __name__ == "__main__":
    raise SystemExit(main())
