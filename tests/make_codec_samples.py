"""Write `cxr_edge/selftest/codec_samples.json`: one small DICOM file in each transfer syntax, for the self-test.

python tests/make_codec_samples.py
"""

import base64
import json
from pathlib import Path

import imagecodecs
from dicom_files import LOSSLESS_ENCODERS, NATIVE, compressed, gradient, make_dataset, to_bytes

TARGET = Path(__file__).resolve().parent.parent / "cxr_edge" / "selftest" / "codec_samples.json"
WINDOW = {"WindowCenter": 2048, "WindowWidth": 4096}


def samples() -> dict[str, str]:
    """Transfer syntax UID -> base64 of a file; all show the same 12-bit image."""
    image = gradient(24, 32)
    files = {uid: to_bytes(make_dataset(image, **WINDOW), uid) for uid in NATIVE}
    for uid, encode in LOSSLESS_ENCODERS.items():
        files[uid] = to_bytes(compressed(image, uid, encode(image), **WINDOW))
    twelve = bytes(imagecodecs.jpeg8_encode(image, level=100, bitspersample=12))
    files["1.2.840.10008.1.2.4.51"] = to_bytes(compressed(image, "1.2.840.10008.1.2.4.51", twelve, **WINDOW))
    eight = (image >> 4).astype("u1")
    baseline = bytes(imagecodecs.jpeg8_encode(eight, level=100))
    window = {"WindowCenter": 128, "WindowWidth": 256}
    files["1.2.840.10008.1.2.4.50"] = to_bytes(compressed(eight, "1.2.840.10008.1.2.4.50", baseline, 8, **window))
    return {uid: base64.b64encode(data).decode() for uid, data in sorted(files.items())}


if __name__ == "__main__":
    TARGET.write_text(json.dumps(samples(), indent=2) + "\n", encoding="utf-8")
