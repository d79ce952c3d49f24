"""Whether every decoder of this installation gives back the image that was put in."""

import base64
import json
from collections.abc import Iterator
from importlib import resources

import numpy as np

from cxr_edge.contract import Rendering
from cxr_edge.decode import decode
from cxr_edge.decode.codecs import NATIVE, can_decode
from cxr_edge.errors import CxrEdgeError
from cxr_edge.qualification.golden import Check

SAMPLES = "codec_samples.json"
REFERENCE = "1.2.840.10008.1.2.1"  # explicit VR little endian: no decoder takes part
LARGEST_LOSS = {"1.2.840.10008.1.2.4.50": 3, "1.2.840.10008.1.2.4.51": 2}  # gray levels; JPEG at quality 100


def check_codecs(rendering: Rendering) -> Iterator[Check]:
    """One check for each transfer syntax: a small image in it, against the same image uncompressed."""
    from pydicom.uid import UID

    text = resources.files("cxr_edge.selftest").joinpath(SAMPLES).read_text(encoding="utf-8")
    files = {uid: base64.b64decode(data) for uid, data in json.loads(text).items()}
    wanted = decode(files[REFERENCE], rendering).pixels.astype(np.int16)
    for uid, data in files.items():
        name = f"decoder of {UID(uid).name}"
        if uid not in NATIVE and not can_decode(uid):
            yield Check(name, passed=False, found="missing from this installation")
            continue
        try:
            difference = int(np.abs(decode(data, rendering).pixels - wanted).max())
        except CxrEdgeError as error:
            yield Check(name, passed=False, found=str(error))
            continue
        allowed = LARGEST_LOSS.get(uid, 0)
        found = f"largest difference {difference} gray levels, at most {allowed} allowed"
        yield Check(name, passed=difference <= allowed, found=found)
