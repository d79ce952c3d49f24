"""Which decoder reads which transfer syntax, and whether this installation holds it."""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Final

RLE: Final = "1.2.840.10008.1.2.5"
JPEG_DCT: Final = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")
LOSSY: Final = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 81, 91, 203))

# Transfer syntax UID (PS3.6 A-1) -> the codec of imagecodecs that is the fastest of those that are exact
CODECS: Final[dict[str, str]] = {
    **dict.fromkeys(JPEG_DCT, "jpeg8"),
    **dict.fromkeys((f"1.2.840.10008.1.2.4.{n}" for n in (57, 70)), "jpeg8"),
    **dict.fromkeys((f"1.2.840.10008.1.2.4.{n}" for n in (80, 81)), "jpegls"),
    # imagecodecs' htj2k (OpenJPH) is twice as fast, but not safe: a broken header killed the process, and errors are
    # printed while the rows not decoded come back as an image, which `benchmarks/decoders.py` shows
    **dict.fromkeys((f"1.2.840.10008.1.2.4.{n}" for n in (90, 91, 201, 202, 203)), "jpeg2k"),
    RLE: "dicomrle",
}
NATIVE: Final[dict[str, str]] = {
    "1.2.840.10008.1.2": "pydicom",
    "1.2.840.10008.1.2.1": "pydicom",
    "1.2.840.10008.1.2.1.99": "imagecodecs deflate, pydicom",
    "1.2.840.10008.1.2.2": "pydicom",
}


def can_decode(uid: str) -> bool:
    """Return whether this installation holds the decoder of a transfer syntax."""
    if uid in NATIVE:
        return True
    if uid not in CODECS or find_spec("imagecodecs") is None:
        return False
    import imagecodecs

    return bool(getattr(getattr(imagecodecs, CODECS[uid].upper(), None), "available", False))


def available_codecs() -> Mapping[str, str]:
    """Return transfer syntax name -> decoder, for every transfer syntax that this installation can read."""
    from pydicom.uid import UID

    compressed = {uid: f"imagecodecs {name}" for uid, name in CODECS.items() if can_decode(uid)}
    return {UID(uid).name: decoder for uid, decoder in {**NATIVE, **compressed}.items()}
