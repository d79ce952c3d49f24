"""Decoders of compressed frames, called directly, as `decoders.py` compares them."""

import io
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, Final

import imagecodecs
import numpy as np
from numpy.typing import NDArray

Samples = NDArray[Any]
Candidates = dict[str, Callable[[], Samples]]
RLE: Final = "1.2.840.10008.1.2.5"


def direct_decoders(uid: str, frame: bytes, samples: Samples) -> Candidates:
    """The decoders that are installed and claim one transfer syntax, each ready to decode one frame.

    Args:
        uid: of the transfer syntax.
        frame: compressed.
        samples: of the shape and dtype to come.
    """
    if uid == RLE:
        return _rle_decoders(frame, samples)
    families = {
        "50": ("jpeg8",),
        "51": ("jpeg8",),
        "57": ("jpeg8", "ljpeg", "jpegsof3"),
        "70": ("jpeg8", "ljpeg", "jpegsof3"),
        "80": ("jpegls",),
        "81": ("jpegls",),
        "90": ("jpeg2k",),
        "91": ("jpeg2k",),
    }
    names = families.get(uid.rpartition(".")[2], ("htj2k", "jpeg2k"))
    candidates: Candidates = {f"imagecodecs {n}": _bind(getattr(imagecodecs, f"{n}_decode"), frame) for n in names}
    if uid.endswith(".50"):
        candidates |= {"Pillow": lambda: _pillow(frame), "OpenCV": lambda: _opencv(frame, samples.ndim)}
    if "jpeg2k" in names and find_spec("openjpeg"):
        from openjpeg import decode as openjpeg_decode  # type: ignore[import-not-found,unused-ignore]

        candidates["pylibjpeg-openjpeg"] = _bind(openjpeg_decode, frame)
    if "jpegls" in names and find_spec("jpeg_ls"):
        from jpeg_ls import decode as jpeg_ls_decode  # type: ignore[import-not-found,unused-ignore]

        candidates["pyjpegls"] = _bind(jpeg_ls_decode, np.frombuffer(frame, np.uint8))
    return candidates


def _bind(function: Callable[[Any], Samples], argument: object) -> Callable[[], Samples]:
    return lambda: function(argument)


def _rle_decoders(frame: bytes, samples: Samples) -> Candidates:
    dtype = samples.dtype.newbyteorder("<")
    planes = (1 if samples.ndim == 2 else 3, *samples.shape[:2])

    def shaped(decoded: bytes | bytearray) -> Samples:
        found = np.frombuffer(decoded, dtype).reshape(planes)
        return found[0] if samples.ndim == 2 else found.transpose(1, 2, 0)

    candidates: Candidates = {
        "imagecodecs dicomrle": lambda: shaped(imagecodecs.dicomrle_decode(frame, dtype=dtype, out=samples.nbytes))
    }
    if find_spec("rle"):
        from rle.rle import decode_frame

        bits = 8 * samples.dtype.itemsize
        pixels = samples.shape[0] * samples.shape[1]
        candidates["pylibjpeg-rle"] = lambda: shaped(decode_frame(frame, pixels, bits, "<"))
    return candidates


def _pillow(frame: bytes) -> Samples:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(frame)))


def _opencv(frame: bytes, dimensions: int) -> Samples:
    import cv2

    flag = cv2.IMREAD_COLOR_RGB if dimensions == 3 else cv2.IMREAD_GRAYSCALE
    return np.asarray(cv2.imdecode(np.frombuffer(frame, np.uint8), flag))
