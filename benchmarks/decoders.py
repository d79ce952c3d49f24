"""Is each transfer syntax decoded as fast as the best decoder called directly?

    python benchmarks/decoders.py [--rows 2500 --columns 2048] [--seconds 6] [--json]

One synthetic radiograph (12 bits; 8 for JPEG baseline) with detector noise is written in every transfer syntax. In each
round every candidate and the package decode it in turn; medians are compared.

    direct   the fastest candidate that is correct, called with the bytes of the frame, giving an array of samples
    ours     the value of Pixel Data -> samples: the frame is taken out, its header is checked, it is decoded
    ratio    ours / direct, wanted: at most 1.15
    parse    the file -> data set (where it is deflated, inflating is in `ours` instead)
    render   samples -> 8-bit gray: attributes, lookup table; for colour, the conversion
    file     the whole call: `decode(bytes)`

Correct is a lossless decoder that gives the original samples, and a lossy one that is at most one level away from ours;
either has to survive damaged frames, which `decoder_safety.py` tries: who does not is named below the table.
Uncompressed pixels have no decoder: `direct` is one copy of them, by numpy, and the ratio is shown, not judged.
Decoders that are not installed are left out.
"""

import argparse
import io
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import imagecodecs
import numpy as np
from decoder_safety import fault
from direct_decoders import direct_decoders
from machine import print_table, write_result
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from dicom_files import (
    LOSSLESS_ENCODERS,
    NATIVE,
    RENDERING,
    compressed,
    make_dataset,
    rle_frame,
    to_bytes,
)
from pydicom import dcmread
from pydicom.uid import UID

from cxr_edge.decode import DecodeLimits, decode
from cxr_edge.decode.codecs import RLE
from cxr_edge.decode.dataset import inflate, parse_file
from cxr_edge.decode.image_pixel import read_image_pixel
from cxr_edge.decode.pixel_data import decode_samples, read_frame, read_pixel_data
from cxr_edge.decode.sniff import FileFormat
from cxr_edge.decode.tags import Attributes
from cxr_edge.phantom import phantom_dicom

Samples = NDArray[Any]
Candidates = dict[str, Callable[[], Samples]]
Encoder = Callable[[Samples], bytes | bytearray]
WANTED: Final = 1.15
NO_DECODER: Final = "numpy copy"
IMAGECODECS: Final = "imagecodecs "
LIMITS: Final = DecodeLimits()
DEFLATED: Final = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"
JPEG: Final = "1.2.840.10008.1.2.4."


@dataclass(frozen=True)
class Case:
    """One radiograph in one transfer syntax: the file, its candidates, and what they have to give."""

    name: str
    data: bytes
    candidates: Candidates
    original: Samples | None  # None: lossy
    small_frame: bytes = b""  # for damaging


def main() -> int:
    """Measure and print; 1 where a transfer syntax is slower than wanted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2500)
    parser.add_argument("--columns", type=int, default=2048)
    parser.add_argument("--seconds", type=float, default=6.0, help="for each transfer syntax")
    parser.add_argument("--only", help="part of the name of the transfer syntaxes to measure")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    radiograph = dcmread(io.BytesIO(phantom_dicom(rows=options.rows, columns=options.columns))).pixel_array
    unsafe: dict[str, str] = {}
    rows = [_measure(case, options.seconds, unsafe) for case in _cases(radiograph, options.only or "")]
    print_table(rows)
    for name, what in unsafe.items():
        print(f"left out: {name} {what}")
    slow = [
        row["transfer syntax"] for row in rows if row["best decoder"] != NO_DECODER and float(row["ratio"]) > WANTED
    ]
    print(f"slower than {WANTED} times the best decoder called directly: {', '.join(slow) or 'none'}")
    if options.json:
        size = {"rows": options.rows, "columns": options.columns}
        write_result(
            "decoders",
            {**size, "imagecodecs": imagecodecs.__version__, "wanted": WANTED, "decoders": rows, "unsafe": unsafe},
        )
    return int(bool(slow))


def _measure(case: Case, seconds: float, unsafe: dict[str, str]) -> dict[str, str]:
    parsed = parse_file(case.data, FileFormat.DICOM, LIMITS)
    ours = _ours(case)
    samples = ours()
    correct = {name: run for name, run in case.candidates.items() if _is_correct(run(), samples, case.original)}
    for name in [name for name in correct if name.startswith(IMAGECODECS) and case.small_frame]:
        if what := fault(f"{name.removeprefix(IMAGECODECS)}_decode", case.small_frame):
            unsafe[f"{case.name}: {name} ({_milliseconds(correct.pop(name)):.0f} ms)"] = what
    if case.original is not None and not _equal(samples, case.original):
        message = f"{case.name}: our own decoding is not exact"
        raise RuntimeError(message)
    whole = {
        **correct,
        "ours": ours,
        "file": lambda: decode(case.data, RENDERING).pixels,
    }
    if parsed.transfer_syntax != DEFLATED:
        whole["parse"] = lambda: parse_file(case.data, FileFormat.DICOM, LIMITS)  # type: ignore[assignment,return-value]
    medians = _alternate(whole, seconds)
    best = min(correct, key=lambda name: medians[name])
    parse = medians.get("parse", 0.0)
    return {
        "transfer syntax": case.name,
        "MB": f"{len(case.data) / 1e6:.1f}",
        "best decoder": best,
        "direct ms": f"{medians[best]:.1f}",
        "ours ms": f"{medians['ours']:.1f}",
        "ratio": f"{medians['ours'] / medians[best]:.2f}",
        "parse ms": f"{parse:.1f}",
        "render ms": f"{max(0.0, medians['file'] - medians['ours'] - parse):.1f}",
        "file ms": f"{medians['file']:.1f}",
        "others": ", ".join(f"{name} {medians[name]:.0f}" for name in correct if name != best),
    }


def _milliseconds(run: Callable[[], Samples]) -> float:
    return _alternate({"once": run}, 0.0)["once"]


def _alternate(candidates: dict[str, Callable[[], Samples]], seconds: float) -> dict[str, float]:
    """Median milliseconds of each, in rounds that take `seconds` altogether, at least five."""
    times: dict[str, list[float]] = {name: [] for name in candidates}
    ends, rounds = time.perf_counter() + seconds, 0
    while rounds < 5 or time.perf_counter() < ends:
        for name, run in candidates.items():
            started = time.perf_counter()
            run()
            times[name].append((time.perf_counter() - started) * 1e3)
        rounds += 1
    return {name: statistics.median(values) for name, values in times.items()}


def _ours(case: Case) -> Callable[[], Samples]:
    parsed = parse_file(case.data, FileFormat.DICOM, LIMITS)
    if parsed.transfer_syntax == DEFLATED:
        deflated = _deflated(case.data)
        return lambda: np.frombuffer(inflate(deflated, LIMITS), np.uint8)
    attributes = Attributes(parsed.dataset)
    image = read_image_pixel(attributes, parsed.transfer_syntax, LIMITS)

    def run() -> Samples:
        value = read_pixel_data(attributes, image)
        return decode_samples(read_frame(bytes(value), image) if image.is_encapsulated else value, image)

    return run


def _is_correct(found: Samples, ours: Samples, original: Samples | None) -> bool:
    if original is not None:
        return _equal(found, original)
    return found.shape == ours.shape and int(np.abs(found.astype(int) - ours).max()) <= 1


def _equal(found: Samples, original: Samples) -> bool:
    return found.shape == original.shape and np.array_equal(found, original)


# -- the radiograph in every transfer syntax -------------------------------------------------------------------------


def _cases(radiograph: Samples, only: str) -> Iterable[Case]:
    for uid, make in _makers(radiograph):
        name = _name(uid)
        if only.lower() in name.lower():
            yield make(uid.partition("+")[0], name)


def _name(uid: str) -> str:
    known, _, kind = uid.partition("+")
    return UID(known).name + (f", {kind}" if kind else "")


def _makers(radiograph: Samples) -> Iterable[tuple[str, Callable[[str, str], Case]]]:
    eight = (radiograph >> 4).astype(np.uint8)
    rgb = np.stack((eight, eight // 2 + 40, 255 - eight), axis=-1)
    jpeg8 = imagecodecs.jpeg8_encode
    for uid in NATIVE:
        yield uid, partial(_native, samples=radiograph)
    for uid, encode in LOSSLESS_ENCODERS.items():
        yield uid, partial(_lossless, samples=radiograph, encode=encode)
    for bits, samples in ((8, eight), (12, radiograph)):
        extended: Encoder = partial(jpeg8, level=90, bitspersample=bits)
        yield f"{JPEG}5{bits // 12}", partial(_lossy, samples=samples, encode=extended, bits_stored=bits)
    for kind in ("444", "422"):
        subsampled: Encoder = partial(jpeg8, level=90, subsampling=kind)
        yield f"{JPEG}50+colour {kind}", partial(_lossy, samples=rgb, encode=subsampled, bits_stored=8)
    yield f"{RLE}+colour", partial(_lossless, samples=rgb, encode=rle_frame, bits_stored=8)


def _native(uid: str, name: str, samples: Samples) -> Case:
    data = to_bytes(make_dataset(samples), uid)
    if uid == DEFLATED:
        return _deflated_case(name, data)
    raw = samples.astype(">u2" if uid == BIG_ENDIAN else "<u2").tobytes()
    dtype = ">u2" if uid == BIG_ENDIAN else "<u2"
    copy = {NO_DECODER: lambda: np.frombuffer(raw, dtype).reshape(samples.shape).astype(np.uint16)}
    return Case(name, data, copy, samples)


def _deflated_case(name: str, data: bytes) -> Case:
    import zlib

    deflated = _deflated(data)
    inflated = np.frombuffer(zlib.decompress(deflated, -zlib.MAX_WBITS), np.uint8)
    size = len(inflated)
    candidates: Candidates = {
        "zlib": lambda: np.frombuffer(zlib.decompress(deflated, -zlib.MAX_WBITS), np.uint8),
        "imagecodecs deflate": lambda: np.frombuffer(
            imagecodecs.deflate_decode(deflated, raw=True, out=size), np.uint8
        ),
    }
    return Case(name, data, candidates, inflated)


def _deflated(data: bytes) -> bytes:
    """The deflated data set of a file: what follows the File Meta Information (PS3.10 7.1)."""
    group_length = int.from_bytes(data[140:144], "little")
    return data[144 + group_length :]


def _lossless(uid: str, name: str, samples: Samples, encode: Encoder, bits_stored: int = 12) -> Case:
    frame = bytes(encode(samples))
    data = to_bytes(compressed(samples, uid, frame, bits_stored))
    return Case(name, data, direct_decoders(uid, frame, samples), samples, _small_frame(uid, samples, encode))


def _lossy(uid: str, name: str, samples: Samples, encode: Encoder, bits_stored: int) -> Case:
    frame = bytes(encode(samples))
    photometric: dict[str, Any] = {"PhotometricInterpretation": "YBR_FULL_422"} if samples.ndim == 3 else {}
    data = to_bytes(compressed(samples, uid, frame, bits_stored, **photometric))
    return Case(name, data, direct_decoders(uid, frame, samples), None, _small_frame(uid, samples, encode))


def _small_frame(uid: str, samples: Samples, encode: Encoder) -> bytes:
    """A frame of 64 x 80 samples; none of RLE, whose decoders are told the size."""
    return b"" if uid == RLE else bytes(encode(np.ascontiguousarray(samples[1000:1064, 800:880])))


if __name__ == "__main__":
    sys.exit(main())
