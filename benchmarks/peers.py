"""The same network in other runtimes, alternating in one run: how fast, how near to the peak, and how right.

    python benchmarks/peers.py --keras MODEL.keras [--data FOLDER] [--threads 2] [--rounds 30] [--json]

Each peer lives in a process of its own (their thread pools and OpenMP libraries disturb each other) and computes only
when it is its turn: one untimed run, then three timed ones; in each round all take their turn, in changing order. Timed
is tensor to probabilities; making the tensor is not. Percent of peak: the multiply-accumulates of `work.py` against the
best INT8 matrix product of `peak.py` on this machine, for the float peers too, so that the column compares.

Every peer also classifies some validation images: its largest difference from Keras and the decisions at 0.5 that
differ, so that a fast wrong peer is seen. INT8 peers quantize with images of the training split.

Peers are installed by `requirements-peers.txt`, best in an environment of its own; a missing one is skipped, aloud.
FOLDER is `$CXR_EDGE_DATA`, else ../shared/data beside the repository; the float ONNX file is `model-float.onnx` beside
the released model (`cxr-edge-export convert --float`).
"""

import argparse
import contextlib
import multiprocessing
import os
import statistics
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import numpy as np
from load import describe_load
from machine import print_table, write_result
from numpy.typing import NDArray
from peer_runners import BUILDERS, Setting
from work import resnet50_gmac

import cxr_edge
from cxr_edge.preprocess import preprocess

REPOSITORY = Path(__file__).resolve().parent.parent
OURS: Final = "this package, INT8"
REFERENCE: Final = "Keras predict"
LIBRARIES: Final = ("tensorflow", "keras", "openvino", "nncf", "torch", "onnx")
TIMED: Final = 3  # runs of one turn
CALIBRATION, CHECKED = 64, 128  # images
BATCHES: Final = (1, 8)
READY_SECONDS: Final = 900.0
Gray = NDArray[np.uint8]


def main() -> None:
    """Start the peers one after the other, let them take turns, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keras", type=Path, required=True)
    default = os.environ.get("CXR_EDGE_DATA", REPOSITORY.parent / "shared" / "data")
    parser.add_argument("--data", type=Path, default=Path(default))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--only", help="part of the names of the peers wanted")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    from peak import int8_peak_gmacs

    calibration, checked, positive = _images(options.data)
    float_file = REPOSITORY / "models" / "resnet50-binary" / "model-float.onnx"
    setting = Setting(options.keras, float_file, calibration, options.threads)
    load = describe_load()
    peers = _start(setting, options.only or "")
    scores = {name: np.asarray(_ask(pipe, ("score", checked))) for name, pipe in peers.items()}
    peak = int8_peak_gmacs(options.threads)
    times = _alternate(peers, checked[:1], options.rounds)
    peak = max(peak, int8_peak_gmacs(options.threads))
    at_peak = peak / resnet50_gmac(checked.shape[1])
    rows = [_row(name, times[name], at_peak, times.get(OURS), scores, positive) for name in peers]
    print_table([{key: value for key, value in row.items() if not key.startswith("_")} for row in rows])
    print(f"INT8 peak {peak:.0f} GMAC/s; {options.threads} threads; load before: {load}")
    if options.json:
        figures = {name: {str(size): statistics.median(found) for size, found in times[name].items()} for name in peers}
        write_result(
            "peers",
            {
                "threads": options.threads,
                "rounds": options.rounds,
                "peak_gmacs": peak,
                "load": load,
                "versions": _versions(),
                "median_ms_of_a_batch": figures,
                "table": rows,
            },
        )
    for pipe in peers.values():
        pipe.send(None)


def _start(setting: Setting, only: str) -> dict[str, Connection]:
    """Those that can be had, ready and idle."""
    context = multiprocessing.get_context("spawn")
    peers: dict[str, Connection] = {}
    for name in BUILDERS:
        if only.lower() not in name.lower() and name not in (OURS, REFERENCE):
            continue
        pipe, its_end = context.Pipe()
        context.Process(target=_serve, args=(its_end, name, setting), daemon=True).start()
        its_end.close()
        why = _ask(pipe, None) if pipe.poll(READY_SECONDS) else "not ready in time"
        if why:
            print(f"skipped {name}: {why}", flush=True)
        else:
            peers[name] = pipe
    return peers


def _serve(pipe: Connection, name: str, setting: Setting) -> None:
    """A peer's process: build it, then do as told until told None."""
    with _silent():
        try:
            peer = BUILDERS[name](setting)
        except Exception as error:  # noqa: BLE001 - whatever is missing or broken skips this peer, aloud
            pipe.send(f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}")
            return
        pipe.send("")
        while (order := pipe.recv()) is not None:
            kind, gray = order
            if kind == "score":
                pipe.send([float(peer.run(peer.prepare(image[np.newaxis]))[0, 1]) for image in gray])
                continue
            tensor, times = peer.prepare(gray), []
            for _ in range(1 + TIMED):
                started = time.perf_counter()
                peer.run(tensor)
                times.append((time.perf_counter() - started) * 1e3)
            pipe.send(times[1:])


@contextlib.contextmanager
def _silent() -> Any:  # noqa: ANN401 - an iterator of None
    """Nothing of what these libraries print; also what their C++ prints."""
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(nowhere.fileno(), stream.fileno())
        yield


def _ask(pipe: Connection, order: object) -> Any:  # noqa: ANN401 - what the order asks for
    if order is not None:
        pipe.send(order)
    try:
        return pipe.recv()
    except EOFError:
        return "its process died"


def _alternate(peers: dict[str, Connection], image: Gray, rounds: int) -> dict[str, dict[int, list[float]]]:
    """Milliseconds of each timed run, by peer and batch size."""
    times: dict[str, dict[int, list[float]]] = {name: {size: [] for size in BATCHES} for name in peers}
    names = list(peers)
    for number in range(rounds):
        turned = names[number % len(names) :] + names[: number % len(names)]
        for size in BATCHES:
            batch = np.repeat(image, size, axis=0)
            for name in turned:
                time.sleep(0.02)  # the last one's threads stop spinning
                times[name][size] += _ask(peers[name], ("time", batch))
    return times


def _row(
    name: str,
    times: dict[int, list[float]],
    at_peak: float,
    ours: dict[int, list[float]] | None,
    scores: dict[str, NDArray[np.float64]],
    positive: NDArray[np.bool_],
) -> dict[str, Any]:
    """One line of the table; `at_peak`: images a second, were all arithmetic done at the peak."""
    medians = {size: statistics.median(found) for size, found in times.items()}
    row = {"peer": name}
    for size, spent in medians.items():
        row[f"ms an image, batch {size}"] = f"{spent / size:.2f}"
        if ours is not None:
            row[f"x ours, batch {size}"] = f"{spent / statistics.median(ours[size]):.2f}"
    row["% of INT8 peak"] = f"{1e3 / medians[1] / at_peak:.0%}"
    found = scores[name]
    row["accuracy"] = f"{((found >= 0.5) == positive).mean():.3f}"
    if REFERENCE in scores:
        wanted = scores[REFERENCE]
        row["largest difference from Keras"] = f"{np.abs(found - wanted).max():.4f}"
        row["flips at 0.5"] = f"{int(((found >= 0.5) != (wanted >= 0.5)).sum())} of {len(found)}"
    return row


def _images(data: Path) -> tuple[Gray, Gray, NDArray[np.bool_]]:
    """Calibration images of the training split; validation images, half of them positive, and which."""
    listing = data.parent / "models" / "validation.txt"
    if not listing.is_file():
        sys.exit("this benchmark needs the real radiographs and their validation list: set CXR_EDGE_DATA")
    listed = [data / line for line in listing.read_text(encoding="utf-8").split("\n") if line]
    checked = [
        path for label in ("NORMAL", "PNEUMONIA") for path in [p for p in listed if label in p.parts][: CHECKED // 2]
    ]
    kept_back = set(listed)
    calibration = [
        path
        for label in ("NORMAL", "PNEUMONIA")
        for path in [p for p in sorted((data / "kermany224" / "train" / label).iterdir()) if p not in kept_back][
            :: 1000 // CALIBRATION
        ][: CALIBRATION // 2]
    ]
    positive = np.array(["PNEUMONIA" in path.parts for path in checked])
    return _gray(calibration), _gray(checked), positive


def _gray(paths: list[Path]) -> Gray:
    from PIL import Image

    member = cxr_edge.load(provider="cpu").contract.members[0]
    pixels = (np.asarray(Image.open(path).convert("L")) for path in paths)
    return np.stack([preprocess(gray, member)[:, :, 0] for gray in pixels])


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in LIBRARIES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version("tensorflow-cpu" if name == "tensorflow" else name)
    return found


if __name__ == "__main__":
    main()
