"""Decoders of compressed pixel data: imagecodecs as a plugin of pydicom.

The `Decoder` objects are our own: pydicom's global ones, which `Dataset.pixel_array` of a caller uses, stay untouched.
This module is itself the plugin module that pydicom asks for: `DECODER_DEPENDENCIES`, `is_available`, `decode_frame`.
"""

import threading
from collections.abc import Callable, Mapping
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from pydicom.pixels.decoders.base import Decoder, DecodeRunner

_LABEL: Final = "cxr-edge"
_LOCK: Final = threading.Lock()  # `add_plugin` is not thread-safe
RLE: Final = "1.2.840.10008.1.2.5"
_JPEG: Final = "imagecodecs jpeg8"
_JPEG_LS: Final = "imagecodecs jpegls"
_JPEG_2000: Final = "imagecodecs jpeg2k"
# imagecodecs' htj2k (OpenJPH) is twice as fast, but returns unwritten memory as an image when a codestream is broken
_HTJ2K: Final = "imagecodecs jpeg2k"

# Transfer syntax UID (PS3.6 A-1) -> the fastest decoder that is exact
_DECODER_NAMES: Final[dict[str, str]] = {
    "1.2.840.10008.1.2.4.50": _JPEG,
    "1.2.840.10008.1.2.4.51": _JPEG,
    "1.2.840.10008.1.2.4.57": _JPEG,
    "1.2.840.10008.1.2.4.70": _JPEG,
    "1.2.840.10008.1.2.4.80": _JPEG_LS,
    "1.2.840.10008.1.2.4.81": _JPEG_LS,
    "1.2.840.10008.1.2.4.90": _JPEG_2000,
    "1.2.840.10008.1.2.4.91": _JPEG_2000,
    "1.2.840.10008.1.2.4.201": _HTJ2K,
    "1.2.840.10008.1.2.4.202": _HTJ2K,
    "1.2.840.10008.1.2.4.203": _HTJ2K,
    RLE: "imagecodecs dicomrle",
}
NATIVE: Final[dict[str, str]] = {
    "1.2.840.10008.1.2": "pydicom",
    "1.2.840.10008.1.2.1": "pydicom",
    "1.2.840.10008.1.2.1.99": "zlib, pydicom",
    "1.2.840.10008.1.2.2": "pydicom",
}
LOSSY: Final = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 81, 91, 203))

# pydicom's plugin protocol: what to install where `is_available` says no
DECODER_DEPENDENCIES: Final = dict.fromkeys(_DECODER_NAMES, ("imagecodecs>=2026.1",))


def is_available(uid: str) -> bool:
    """Return whether this installation holds the decoder of a transfer syntax."""
    if uid not in _DECODER_NAMES or find_spec("imagecodecs") is None:
        return False
    import imagecodecs

    codec = getattr(imagecodecs, _DECODER_NAMES[uid].split()[1].upper(), None)
    return bool(getattr(codec, "available", False))


def decode_frame(frame: bytes, runner: "DecodeRunner") -> "bytes | bytearray | memoryview":
    """Decode one frame for pydicom and tell its runner what the samples look like."""
    uid = str(runner.transfer_syntax)
    if uid == RLE:
        return _decode_rle(frame, runner)
    samples = _imagecodecs_function(uid)(frame)
    if not samples.flags.c_contiguous:
        samples = samples.copy(order="C")
    if samples.size != runner.frame_length(unit="pixels"):
        message = f"decoded to {samples.size} samples"
        raise ValueError(message)
    runner.set_option("bits_allocated", 8 * samples.dtype.itemsize)
    runner.set_option("planar_configuration", 0)
    if runner.photometric_interpretation in ("YBR_ICT", "YBR_RCT"):
        runner.set_option("photometric_interpretation", "RGB")  # JPEG 2000 decoders undo the component transform
    return samples.data.cast("B")


def _decode_rle(frame: bytes, runner: "DecodeRunner") -> bytes | bytearray:
    """Decode PS3.5 annex G. The output is bounded by what Rows x Columns need."""
    import imagecodecs

    needed = int(runner.frame_length(unit="bytes"))
    decoded: bytes | bytearray = imagecodecs.dicomrle_decode(frame, dtype=f"<u{runner.bits_allocated // 8}", out=needed)
    if len(decoded) != needed:
        message = f"decoded to {len(decoded)} bytes"
        raise ValueError(message)
    runner.set_option("planar_configuration", 1)
    return decoded


def _imagecodecs_function(uid: str) -> "Callable[[bytes], NDArray[np.generic]]":
    import imagecodecs

    name = _DECODER_NAMES[uid].split()[1]
    function: Callable[[bytes], NDArray[np.generic]] = getattr(imagecodecs, f"{name}_decode")
    return function


@cache
def _make_decoder(uid: str) -> "Decoder":
    from pydicom.pixels.decoders.base import Decoder
    from pydicom.uid import UID

    decoder = Decoder(UID(uid))
    if uid in _DECODER_NAMES:
        decoder.add_plugin(_LABEL, (__name__, decode_frame.__name__))
    if uid in ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"):
        decoder.add_plugin("pillow", ("pydicom.pixels.decoders.pillow", "_decode_frame"))
    return decoder


def get_decoder(uid: str) -> "Decoder | None":
    """Return pydicom's decoder of a transfer syntax with our plugins; None where nothing here can decode it."""
    if uid not in _DECODER_NAMES and uid not in NATIVE:
        return None
    with _LOCK:
        decoder = _make_decoder(uid)
    return decoder if decoder.is_available else None


def plugin_for(uid: str, samples_per_pixel: int) -> str:
    """Return the plugin to use: pydicom's own knows how colour JPEG says which colour space it is in."""
    if uid not in _DECODER_NAMES:
        return ""
    if samples_per_pixel > 1 and uid in ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"):
        return "pillow"
    return _LABEL


def available_codecs() -> Mapping[str, str]:
    """Return transfer syntax name -> decoder, for every transfer syntax that this installation can read."""
    from pydicom.uid import UID

    readable = {**NATIVE, **{uid: name for uid, name in _DECODER_NAMES.items() if is_available(uid)}}
    return {UID(uid).name: decoder for uid, decoder in readable.items()}
