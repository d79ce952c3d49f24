"""The classifier behind `orthanc_plugin.py`, in a process of its own. Not a medical device.

Reads images from standard input, each as 8 bytes of length (big endian) and a DICOM file; writes a JSON line for each
to standard output, after a first line that says that the model is loaded.
"""

import json
import signal
import struct
import sys

import cxr_edge
from cxr_edge.results import to_row


def say(value: object) -> None:
    """Write one JSON line at once."""
    sys.stdout.write(json.dumps(value, allow_nan=False) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Serve until standard input ends: that Orthanc stops is its plugin's business, not a signal's."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # systemd and Ctrl+C signal the whole group
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    classifier = cxr_edge.load(sys.argv[1] if len(sys.argv) > 1 else None, isolation=cxr_edge.IsolationLimits())
    say({"model": classifier.model.name, "execution_provider": classifier.execution_provider})
    while len(head := sys.stdin.buffer.read(8)) == struct.calcsize(">Q"):
        (size,) = struct.unpack(">Q", head)
        (result,) = classifier.classify_many([sys.stdin.buffer.read(size)])  # a bad image is a Rejection here
        say(to_row(result))


if __name__ == "__main__":
    main()
