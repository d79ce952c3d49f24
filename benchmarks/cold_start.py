"""From starting a process to its first result, part by part, against a bare onnxruntime.

    python benchmarks/cold_start.py [--rounds 15] [--json]

Each candidate is a new process on one synthetic radiograph; files come from a warm cache. Medians of milliseconds:

    parts      one after the other: interpreter, imports, model read and hashed, session, self-test (replayed in an
               empty state folder, or found recorded), first image prepared, first inference
    library    `cxr_edge.load()` and one `classify`, which overlap what can be: their whole time
    command    `cxr-edge classify FILE`
    bare       a Python that imports numpy and onnxruntime, creates a session and runs it once
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from load import describe_load
from machine import print_table, write_result

from cxr_edge.modelfile import packaged_models
from cxr_edge.phantom import phantom_dicom

PARTS: Final = """
import json, sys, time
marks = [("start", int(sys.argv[1])), ("interpreter", time.time_ns())]
mark = lambda name: marks.append((name, time.time_ns()))
import cxr_edge.classifier as c
mark("imports: this package, numpy")
from cxr_edge.engine import Engine, onnxruntime_module
onnxruntime_module()
mark("imports: onnxruntime")
file = c.read_model()
mark("model read and hashed")
engine = Engine(file.content, provider="cpu")
mark("session")
opened = c.open_model(file, engine)
mark("contract")
c.qualified(opened)
mark("self-test")
prepared = c.Preparer(opened.contract, "strict").prepare(sys.argv[2])
mark("first image prepared")
opened.network.answer(prepared.tensors, features=True)
mark("first inference")
print(json.dumps([(name, (end - begin) / 1e6) for (_, begin), (name, end) in zip(marks, marks[1:])]))
"""
LIBRARY: Final = "import sys, cxr_edge; cxr_edge.load(provider='cpu').classify(sys.argv[2])"
BARE: Final = (
    "import sys, numpy, onnxruntime as o; s = o.InferenceSession(sys.argv[2], providers=['CPUExecutionProvider']);"
    "i = s.get_inputs()[0]; s.run(None, {i.name: numpy.zeros((1, *i.shape[1:]), numpy.uint8)})"
)
COMMAND: Final = "import sys; sys.argv[1:] = ['classify', sys.argv[2]]; from cxr_edge.cli import main; main()"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    load = describe_load()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        image = folder / "phantom.dcm"
        image.write_bytes(phantom_dicom())
        whole, parts = _alternate(folder, image, options.rounds)
    medians = {name: statistics.median(times) for name, times in whole.items()}
    bare = medians["bare onnxruntime"]
    print_table(
        [{"whole process": name, "ms": f"{ms:.0f}", "x bare": f"{ms / bare:.2f}"} for name, ms in medians.items()]
    )
    print()
    by_part = {state: _medians(runs) for state, runs in parts.items()}
    names = list(by_part["recorded"])
    print_table(
        [
            {"part": n, **{f"ms, self-test {state}": f"{found[n]:.1f}" for state, found in by_part.items()}}
            for n in names
        ]
    )
    print(f"load before: {load}")
    if options.json:
        write_result("cold_start", {"load": load, "median_ms": medians, "parts_ms": by_part})


def _alternate(
    folder: Path, image: Path, rounds: int
) -> tuple[dict[str, list[float]], dict[str, list[Mapping[str, float]]]]:
    model = str(packaged_models()["resnet50-binary"])
    kept, emptied = folder / "kept", folder / "emptied"
    wholes = {
        "bare onnxruntime": (BARE, model, kept),
        "library, self-test recorded": (LIBRARY, str(image), kept),
        "library, self-test replayed": (LIBRARY, str(image), emptied),
        "command, self-test recorded": (COMMAND, str(image), kept),
    }
    whole: dict[str, list[float]] = {name: [] for name in wholes}
    parts: dict[str, list[Mapping[str, float]]] = {"recorded": [], "replayed": []}
    for number in range(rounds + 1):
        for name, (code, argument, state) in wholes.items():
            spent, _ = _run(code, argument, state, emptied)
            if number:  # the first round fills caches and the kept state
                whole[name].append(spent)
        for name, state in (("recorded", kept), ("replayed", emptied)):
            _, said = _run(PARTS, str(image), state, emptied)
            if number:
                parts[name].append(dict(json.loads(said)))
    return whole, parts


def _run(code: str, argument: str, state: Path, emptied: Path) -> tuple[float, str]:
    """Milliseconds of the process, and what it printed."""
    for record in emptied.glob("selftest/*"):
        record.unlink()
    environment = {**os.environ, "CXR_EDGE_STATE": str(state)}
    started = time.time_ns()
    command = [sys.executable, "-c", code, str(started), argument]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    return (time.time_ns() - started) / 1e6, said


def _medians(runs: list[Mapping[str, float]]) -> dict[str, float]:
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


if __name__ == "__main__":
    main()
