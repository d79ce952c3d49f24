"""From a file to its result, against a floor: the same work by the fastest means, called directly.

    python benchmarks/end_to_end.py [--rounds 15] [--folder-rounds 5] [--data FOLDER] [--json]

One DICOM file (a synthetic radiograph with detector noise) in every transfer syntax, and one JPEG. In each round each
file is classified once (`Classifier.classify` of a path, everything included: reading, SHA-256, data set, rendering,
gate) and its floor is run once. Medians:

    floor   the fastest correct decoder called with the bytes of the frame (as `decoders.py` finds it; for uncompressed
            pixels one copy by numpy) + Pillow's resize of the 8-bit image, ready-made, in the contract's pass order +
            onnxruntime's session.run with the options of the package; neither trim nor contrast, which our side does
    total   `Prediction.latency.total_ms`; wanted: at most 1.25 times the floor, uncompressed and JPEG lossless
    other   what the package does beyond its four stages

The folder: the 126 originals of FOLDER/kermany_original four times over. In each round, one after the other, every
candidate goes through all 504:

    D       files per second of reading, Pillow's decoding, conversion to gray and resize, as many threads as CPUs
    I       tensors per second of onnxruntime alone, one image at a time, the package's options
    ideal   1 / (1/D + 1/I): both have all CPUs, one after the other
    many    files per second of `classify_many`, in this process and isolated; wanted: at least 90 % of the ideal
"""

import argparse
import io
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from decoder_safety import fault
from decoders import IMAGECODECS, Case, _cases, _is_correct, _ours
from load import describe_load
from machine import print_table, write_result
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmread

import cxr_edge
from cxr_edge.contract import Contract
from cxr_edge.isolation.limits import IsolationLimits
from cxr_edge.modelfile import read_model
from cxr_edge.phantom import chest_phantom, phantom_dicom
from cxr_edge.processors import available_threads

REPOSITORY = Path(__file__).resolve().parent.parent
WANTED: Final = 1.25
WANTED_FOR: Final = ("Explicit VR Little Endian", "JPEG Lossless")
WANTED_SHARE: Final = 0.9
FOLDER_REPEATS: Final = 4
Gray = NDArray[np.uint8]


@dataclass(frozen=True)
class Pair:
    """One file, and its floor by step."""

    name: str
    file: Path
    decode: Callable[[], Any]
    decoder: str
    resize: Callable[[], Gray]


def main() -> int:
    """Measure and print; 1 where a wanted figure is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--folder-rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=2500)
    parser.add_argument("--columns", type=int, default=2048)
    parser.add_argument("--only", default="", help="part of the name of the transfer syntaxes to measure")
    default = os.environ.get("CXR_EDGE_DATA", REPOSITORY.parent / "shared" / "data")
    parser.add_argument("--data", type=Path, default=Path(default))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    load = describe_load()
    classifier = cxr_edge.load(provider="cpu", gate="warn")
    infer = _inference()
    with tempfile.TemporaryDirectory() as folder:
        radiograph = dcmread(io.BytesIO(phantom_dicom(rows=options.rows, columns=options.columns))).pixel_array
        pairs = list(_pairs(_cases(radiograph, options.only), Path(folder), classifier.contract))
        pairs += [] if options.only else [_jpeg(options.rows, options.columns, Path(folder), classifier.contract)]
        rows = _measure(pairs, classifier, infer, options.rounds)
    print_table(rows)
    missed = [row["file"] for row in rows if row["file"].startswith(WANTED_FOR) and float(row["ratio"]) > WANTED]
    print(f"above {WANTED} times the floor, of those it is wanted for: {', '.join(missed) or 'none'}")
    flow = _folder(options.data, options.folder_rounds, classifier, infer)
    if flow:
        print_table([{name: f"{value:.3g}" for name, value in flow.items()}])
    missed += [name for name in ("many / ideal", "isolated / ideal") if flow and flow[name] < WANTED_SHARE]
    print(f"load before: {load}; missed: {', '.join(missed) or 'none'}")
    if options.json:
        size = {"rows": options.rows, "columns": options.columns, "rounds": options.rounds}
        write_result("end_to_end", {**size, "load": load, "files": rows, "folder": flow, "missed": missed})
    return int(bool(missed))


def _inference() -> Callable[[Gray], object]:
    """Runs onnxruntime alone, on the options that the package takes, one tensor [1, height, width, 3] at a time."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = available_threads(), 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(read_model().content, options, providers=["CPUExecutionProvider"])
    outputs = [output.name for output in session.get_outputs()]
    return lambda tensor: session.run(outputs, {"image": tensor})


def _tensor(gray: Gray) -> Gray:
    return np.ascontiguousarray(np.broadcast_to(gray[np.newaxis, :, :, np.newaxis], (1, *gray.shape, 3)))


def _resize(image: Image.Image, contract: Contract) -> Gray:
    """By Pillow, exact: horizontally first, whatever Pillow's own order, where the contract says so."""
    member = contract.members[0]
    size = member.input.width, member.input.height
    if member.resize.pass_order == "horizontal-first":  # noqa: S105 - the order of two passes
        image = image.resize((size[0], image.height), Image.Resampling.BILINEAR)
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR))


def _pairs(cases: Iterable[Case], folder: Path, contract: Contract) -> Iterable[Pair]:
    for number, case in enumerate(cases):
        file = folder / f"{number}.dcm"
        file.write_bytes(case.data)
        decoder, decode = _fastest(case)
        yield Pair(case.name, file, decode, decoder, _resizer(file, contract))


def _resizer(file: Path, contract: Contract) -> Callable[[], Gray]:
    """The resize of the file's ready 8-bit image, edges and contrast as they are; checked against the package's own."""
    from cxr_edge.decode import decode
    from cxr_edge.preprocess import preprocess

    pixels = decode(file.read_bytes(), contract.rendering).pixels
    image = Image.fromarray(pixels)
    member = contract.members[0]
    plain = replace(member, resize=replace(member.resize, trim=None), contrast=None)
    if not np.array_equal(_resize(image, contract), preprocess(pixels, plain)[:, :, 0]):
        message = "the floor's resize is not the contract's"
        raise RuntimeError(message)
    return lambda: _resize(image, contract)


def _fastest(case: Case) -> tuple[str, Callable[[], Any]]:
    """The fastest decoder that is correct and survives damaged frames: best of five."""
    samples = _ours(case)()
    times = {}
    for name, run in case.candidates.items():
        decoder = f"{name.removeprefix(IMAGECODECS)}_decode"
        damaged = case.small_frame and name.startswith(IMAGECODECS) and fault(decoder, case.small_frame)
        if damaged or not _is_correct(run(), samples, case.original):
            continue
        times[name] = min(_seconds(run) for _ in range(5))
    best = min(times, key=lambda name: times[name])
    return best, case.candidates[best]


def _jpeg(rows: int, columns: int, folder: Path, contract: Contract) -> Pair:
    file = folder / "image.jpeg"
    Image.fromarray(chest_phantom(rows, columns)).save(file, "JPEG", quality=90)
    content = file.read_bytes()
    return Pair("JPEG file", file, lambda: Image.open(io.BytesIO(content)).load(), "Pillow", _resizer(file, contract))


def _measure(
    pairs: list[Pair], classifier: cxr_edge.Classifier, infer: Callable[[Gray], object], rounds: int
) -> list[dict[str, str]]:
    floors: list[list[tuple[float, ...]]] = [[] for _ in pairs]
    ours: list[list[tuple[float, ...]]] = [[] for _ in pairs]
    for number in range(rounds + 1):
        for index, pair in enumerate(pairs):
            tensor = _tensor(pair.resize())
            floor = tuple(_seconds(step) * 1e3 for step in (pair.decode, pair.resize, lambda t=tensor: infer(t)))
            spent = classifier.classify(pair.file).latency
            stages = (spent.read_ms, spent.decode_ms, spent.preprocess_ms, spent.inference_ms)
            if number:  # the first round warms up
                floors[index].append((*floor, sum(floor)))
                ours[index].append((*stages, spent.total_ms - sum(stages), spent.total_ms))
    return [
        _row(pair, [statistics.median(step) for step in zip(*floors[index], strict=True)],
             [statistics.median(step) for step in zip(*ours[index], strict=True)])
        for index, pair in enumerate(pairs)
    ]  # fmt: skip


def _row(pair: Pair, floor: list[float], ours: list[float]) -> dict[str, str]:
    names = ("read", "decode", "preprocess", "inference", "other")
    return {
        "file": pair.name,
        "best decoder": pair.decoder,
        "floor: decode + resize + inference": " + ".join(f"{step:.1f}" for step in floor[:3]),
        "floor ms": f"{floor[3]:.1f}",
        **{name: f"{spent:.1f}" for name, spent in zip(names, ours, strict=False)},
        "total ms": f"{ours[5]:.1f}",
        "ratio": f"{ours[5] / floor[3]:.2f}",
    }


def _folder(
    data: Path, rounds: int, classifier: cxr_edge.Classifier, infer: Callable[[Gray], object]
) -> dict[str, float]:
    files = sorted((data / "kermany_original").glob("*/*")) * FOLDER_REPEATS
    if not files:
        print("skipped the folder: it needs the real radiographs, see CXR_EDGE_DATA")
        return {}
    contract = classifier.contract
    tensors = [_tensor(_resize(Image.open(file).convert("L"), contract)) for file in files[: len(files) // 4]] * 4
    with (
        ThreadPoolExecutor(available_threads()) as threads,
        cxr_edge.load(provider="cpu", gate="warn", isolation=IsolationLimits()) as isolated,
    ):
        candidates: dict[str, Callable[[], object]] = {
            "D": lambda: list(threads.map(lambda file: _resize(Image.open(file).convert("L"), contract), files)),
            "I": lambda: [infer(tensor) for tensor in tensors],
            "many": lambda: list(classifier.classify_many(files)),
            "isolated": lambda: list(isolated.classify_many(files)),
        }
        list(isolated.classify_many(files[:16]))  # its processes start
        times: dict[str, list[float]] = {name: [] for name in candidates}
        for _ in range(rounds):
            for name, run in candidates.items():
                times[name].append(_seconds(run))
    rates = {name: len(files) / statistics.median(found) for name, found in times.items()}
    ideal = 1 / (1 / rates["D"] + 1 / rates["I"])
    shares = {f"{name} / ideal": rates[name] / ideal for name in ("many", "isolated")}
    return {"files": float(len(files)), **rates, "ideal": ideal, **shares}


def _seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main())
