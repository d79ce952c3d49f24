"""Latency of one image, INT8 against ONNX fp32 and Keras predict, alternating in one run; and percent of the peak.

    python benchmarks/speed.py [--threads 2] [--rounds 40] [--keras MODEL.keras] [--json]

Needs the workbench (`pip install ./export`) for Keras and `models/resnet50-binary/model-float.onnx` (made by
`cxr-edge-export convert ... --float`); what is missing is said and left out.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from machine import has_vnni, print_table, write_result
from peak import int8_peak_gmacs
from work import resnet50_gmac

import cxr_edge
from cxr_edge.engine import Engine
from cxr_edge.modelfile import read_model
from cxr_edge.phantom import chest_phantom

MODELS = Path(__file__).resolve().parent.parent / "models" / "resnet50-binary"
WANTED = {"ONNX fp32": 3.0, "Keras predict": 7.0}


def main() -> None:
    """Measure, print the table, say what was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--keras", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    side = cxr_edge.load(provider="cpu").contract.members[0].input.height
    gray = chest_phantom(side, side)
    image = np.repeat(gray[np.newaxis, :, :, np.newaxis], 3, axis=3)
    candidates = _candidates(options.threads, options.keras, image)
    peak = int8_peak_gmacs(options.threads)
    times = _alternate(candidates, options.rounds)
    peak = max(peak, int8_peak_gmacs(options.threads))
    medians = {name: statistics.median(values) for name, values in times.items()}
    int8 = medians["INT8"]
    print_table(
        [
            {"": name, "ms (median)": f"{ms:.2f}", "x INT8": f"{ms / int8:.2f}", "wanted": WANTED.get(name, "")}
            for name, ms in medians.items()
        ]
    )
    share = resnet50_gmac(side) / (int8 / 1e3) / peak
    verdict = "wanted: 70 %" if has_vnni() else "no VNNI on this CPU: reported only"
    print(f"INT8 peak {peak:.0f} GMAC/s; the INT8 model reaches {share:.1%} of it ({verdict})")
    if options.json:
        figures = {"median_ms": medians, "peak_gmacs": peak, "share_of_peak": share, "threads": options.threads}
        write_result("speed", figures)


def _candidates(
    threads: int, keras_file: Path | None, image: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]"
) -> dict[str, Callable[[], object]]:
    candidates: dict[str, Callable[[], object]] = {"INT8": _onnx(read_model().content, threads, image)}
    float_file = MODELS / "model-float.onnx"
    if float_file.is_file():
        candidates["ONNX fp32"] = _onnx(float_file.read_bytes(), threads, image)
    else:
        print(f"skipped ONNX fp32: {float_file.name} was not made")
    if keras_file is None:
        print("skipped Keras predict: no --keras MODEL.keras given")
    else:
        candidates["Keras predict"] = _keras(keras_file, threads, image)
    return candidates


def _onnx(model: bytes, threads: int, image: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]") -> Callable[[], object]:
    engine = Engine(model, provider="cpu", threads=threads)  # as the runtime runs it
    return lambda: engine.run({"image": image}, ("probabilities",))


def _keras(file: Path, threads: int, image: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]") -> Callable[[], object]:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    model = keras.saving.load_model(file, compile=False, safe_mode=True)
    tensor = image.astype(np.float32) - np.array([103.939, 116.779, 123.68], np.float32)
    return lambda: model.predict(tensor, verbose=0)


def _alternate(candidates: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    for run in candidates.values():
        run()
        run()
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, run in candidates.items():
            started = time.perf_counter()
            run()
            times[name].append((time.perf_counter() - started) * 1e3)
    return times


if __name__ == "__main__":
    main()
