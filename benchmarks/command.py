"""The whole command on one JPEG against the floor: a bare Python that imports onnxruntime and runs the same model once.

    python benchmarks/command.py [--rounds 15] [--json]

Alternating in one run, medians; also peak memory, `import cxr_edge` and `cxr-edge --help`.
"""

import argparse
import io
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import print_table, write_result

from cxr_edge.modelfile import packaged_models
from cxr_edge.phantom import chest_phantom

BARE = (
    "import sys, numpy, onnxruntime as o; s = o.InferenceSession(sys.argv[1], providers=['CPUExecutionProvider']);"
    "i = s.get_inputs()[0]; s.run(None, {i.name: numpy.zeros((1, *i.shape[1:]), numpy.uint8)})"
)

LAUNCHER = (
    "import resource, subprocess, sys; d = subprocess.DEVNULL;"
    "subprocess.run(sys.argv[1:], stdout=d, stderr=d, check=True);"
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
)


def main() -> None:
    """Measure and print."""
    if sys.platform == "win32":
        sys.exit("this benchmark reads peak memory through the resource module, which Windows does not have")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    program = shutil.which("cxr-edge", path=str(Path(sys.executable).parent)) or "cxr-edge"
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "image.jpeg"
        image.write_bytes(_jpeg())
        model = str(packaged_models()["resnet50-binary"])
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "import cxr_edge": [sys.executable, "-c", "import cxr_edge"],
            "cxr-edge --help": [program, "--help"],
            "bare onnxruntime, one run": [sys.executable, "-c", BARE, model],
            "cxr-edge classify, one JPEG": [program, "classify", str(image), "--gate", "warn"],
        }
        measured = _alternate(commands, options.rounds, Path(folder))
    seconds = {name: statistics.median(times) for name, (times, _) in measured.items()}
    rows = [
        {"command": name, "seconds (median)": f"{seconds[name]:.3f}", "peak MB": f"{memory:.0f}"}
        for name, (_, memory) in measured.items()
    ]
    print_table(rows)
    ratio = seconds["cxr-edge classify, one JPEG"] / seconds["bare onnxruntime, one run"]
    importing = seconds["import cxr_edge"] - seconds["python -c pass"]
    print(f"whole command / bare run: {ratio:.2f} (wanted: at most 1.4)")
    print(f"import cxr_edge: {importing:.3f} s beyond the interpreter's start (wanted: below 0.15)")
    print(f"cxr-edge --help: {seconds['cxr-edge --help']:.3f} s (wanted: below 0.25)")
    print(f"peak memory of classify: {measured['cxr-edge classify, one JPEG'][1]:.0f} MB (wanted: below 200)")
    if options.json:
        peak_mb = {name: memory for name, (_, memory) in measured.items()}
        write_result("command", {"seconds": seconds, "peak_mb": peak_mb, "ratio_to_bare": ratio})


def _jpeg() -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(chest_phantom(1300, 1500)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _alternate(commands: dict[str, list[str]], rounds: int, folder: Path) -> dict[str, tuple[list[float], float]]:
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(rounds + 1):
        for name, command in commands.items():
            started = time.perf_counter()
            subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
            times[name].append(time.perf_counter() - started)
    # the first round warms the file cache
    return {name: (times[name][1:], _peak_mb(command, folder)) for name, command in commands.items()}


def _peak_mb(command: list[str], folder: Path) -> float:
    """Peak memory, through a bare Python: a child starts out with its parent's peak, and this process is large."""
    launcher = [sys.executable, "-c", LAUNCHER, *command]
    return float(subprocess.run(launcher, cwd=folder, capture_output=True, text=True, check=True).stdout) / 1024


if __name__ == "__main__":
    main()
