"""A DICOM storage SCP that classifies what it is sent: one JSON line for each image. Not a medical device.

FOLDER holds `incoming` (being received), `inbox` (the sender was told success), `done` (the row is on the disk) and
`rows.jsonl`. The sender never waits for the network; what still stands in `inbox` is classified at the next start.
"""

import argparse
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

import cxr_edge
from cxr_edge.results import to_row

VERIFICATION = "1.2.840.10008.1.1"  # C-ECHO
SUCCESS, OUT_OF_RESOURCES = 0x0000, 0xA700  # PS3.4 B.2.3
log = logging.getLogger("storage_scp")


class Store:
    """The files between reception and result."""

    def __init__(self, folder: Path) -> None:
        """Make the folders, drop what was received in part, queue what an earlier run left."""
        self.rows = folder / "rows.jsonl"
        self.incoming, self.inbox, self.done = (folder / name for name in ("incoming", "inbox", "done"))
        for place in (folder, self.incoming, self.inbox, self.done):
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
        for leftover in self.incoming.iterdir():
            leftover.unlink()
        self.stopping = threading.Event()
        self.waiting: queue.SimpleQueue[Path] = queue.SimpleQueue()
        for path in sorted(self.inbox.iterdir()):
            self.waiting.put(path)

    def receive(self, event: evt.Event) -> int:
        """Answer a C-STORE: success only when the whole file is on the disk."""
        try:
            with event.dataset_path.open("rb") as received:
                name = hashlib.file_digest(received, "sha256").hexdigest() + ".dcm"  # UIDs repeat, and tags may lie
                if (self.done / name).exists():
                    return SUCCESS  # sent again; its row stands already
                received.seek(0)
                with tempfile.NamedTemporaryFile(dir=self.incoming, delete=False) as copy:
                    shutil.copyfileobj(received, copy)
                    copy.flush()
                    os.fsync(copy.fileno())
            Path(copy.name).replace(self.inbox / name)
            sync_folder(self.inbox)
        except Exception as error:  # noqa: BLE001 - whatever it is, the sender must keep the image
            reason = getattr(error, "strerror", None) or type(error).__name__
            log.error("an image was not stored: %s", reason)  # noqa: TRY400 - a traceback may quote tags
            return OUT_OF_RESOURCES
        self.waiting.put(self.inbox / name)
        return SUCCESS

    def classify(self, classifier: cxr_edge.Classifier) -> None:
        """Work until told to stop. An image leaves the inbox when its row is on the disk, so none is ever lost."""
        with self.rows.open("ab+") as rows:
            if rows.tell():
                rows.seek(-1, os.SEEK_END)
                rows.write(b"" if rows.read() == b"\n" else b"\n")  # a power cut tore the last row
            while not self.stopping.is_set():
                try:
                    path = self.waiting.get(timeout=0.5)
                except queue.Empty:
                    continue
                if not path.exists():  # sent twice while it waited
                    continue
                (result,) = classifier.classify_many([path])  # a bad image is a Rejection here, not an exception
                row = to_row(result)
                rows.write(json.dumps(row, allow_nan=False).encode() + b"\n")
                rows.flush()
                os.fsync(rows.fileno())
                path.replace(self.done / path.name)
                log.info("%s %s", row["status"], path.stem)


def sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut; Windows has no such call and needs none."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def keep_patients_out_of_logs() -> None:
    """No identifiers, and none of the UIDs and element values that the libraries' warnings quote."""
    _config.LOG_REQUEST_IDENTIFIERS = _config.LOG_RESPONSE_IDENTIFIERS = False
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore")


def main() -> int:
    """Serve until SIGTERM or Ctrl+C; 1 when rows cannot be written any more."""
    parser = argparse.ArgumentParser(description="Storage SCP that classifies chest radiographs.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=11112, help="0: any free one, see the log")
    parser.add_argument("--ae-title", default="CXR_EDGE")
    parser.add_argument("--allow", action="append", default=[], help="calling AE title, repeatable; default: all")
    parser.add_argument("--model", help="name or .onnx file; default: resnet50-binary")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    keep_patients_out_of_logs()
    store = Store(options.folder)
    classifier = cxr_edge.load(options.model, isolation=cxr_edge.IsolationLimits())  # a decoder's crash costs one image
    tempfile.tempdir = str(store.incoming)  # where pynetdicom writes what it receives
    _config.STORE_RECV_CHUNKED_DATASET = True  # to the disk in pieces, whatever the size
    ae = AE(ae_title=options.ae_title)
    ae.require_calling_aet = options.allow
    ae.add_supported_context(VERIFICATION)
    for context in AllStoragePresentationContexts:
        ae.add_supported_context(str(context.abstract_syntax), ALL_TRANSFER_SYNTAXES)
    worker = threading.Thread(target=store.classify, args=(classifier,))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        handlers = [(evt.EVT_C_STORE, store.receive)]
        server = ae.start_server((options.host, options.port), block=False, evt_handlers=handlers)
        log.info("listening on port %d", server.server_address[1])
        worker.start()
        while worker.is_alive():
            time.sleep(0.5)
    except KeyboardInterrupt:
        log.info("stopping; %d images stay in the inbox", store.waiting.qsize())
        return 0
    finally:
        ae.shutdown()
        store.stopping.set()
        if worker.ident:
            worker.join()  # finishes the image in hand
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
