"""The server under load: 50 clients at once against `cxr-edge classify` on the same files.

    python benchmarks/serve_load.py [--clients 50] [--seconds 60] [--rounds 1] [--files 126] [--json]

Each round runs `cxr-edge classify` on a folder with the files several times over, then `cxr-edge serve` with its
clients, then `classify` again; rates count from the first result to the last. Clients run on the same machine, and what
they take of its processors is told; so is processor time per image, which suffers less from what else runs. Wanted: no
status but 200 and 503, at least 85 % of the rate of `classify`, and memory that stays: in the last quarter of the time
at most 10 % more than in the second.

Trust ratios of a machine that does nothing else. Needs real radiographs ($CXR_EDGE_DATA, else ../shared/data beside the
repository). Exit status 1 where something wanted is missed. Linux only.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Final

from load import describe_load
from machine import print_table, write_result
from watched import PAGE_MB, cpu_seconds, environment

REPOSITORY: Final = Path(__file__).resolve().parent.parent
CLIENTS: Final = Path(__file__).with_name("serve_clients.py")
WANTED_SHARE, WANTED_FLAT = 0.85, 1.1
CLASSIFIED_FILES, WARM_UP = 600, 20


def main() -> int:
    """Measure and print; 1 where something wanted is missed."""
    options = _options()
    load, rounds = describe_load(), []
    with tempfile.TemporaryDirectory(prefix="cxr-edge-") as name:
        root = Path(name)
        files = sorted((options.data / "kermany_original").rglob("*.jp*g"))[: options.files]
        if not files:
            sys.exit("needs the real radiographs: set CXR_EDGE_DATA to their folder")
        folder = _many(files, root / "many")
        for _ in range(options.rounds):
            before = _classify(folder, root)
            served = _serve(files, root, options)
            rounds.append({"classify": [before, _classify(folder, root)], **served})
    loads = f"{load} before, {describe_load()} after"
    result = _sum_up(rounds)
    print_table([{"figure": name, "value": value} for name, value in result.items() if name != "rss_mb_each_second"])
    print(f"load: {loads}")
    if options.json:
        write_result("serve_load", {"clients": options.clients, "seconds": options.seconds, "load": loads, **result})
    return int(bool(result["missed"]))


def _options() -> argparse.Namespace:
    if not Path("/proc/self/stat").is_file():
        sys.exit("this benchmark reads memory from /proc, which this system does not have")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--files", type=int, default=126)
    default = os.environ.get("CXR_EDGE_DATA", REPOSITORY.parent / "shared" / "data")
    parser.add_argument("--data", type=Path, default=Path(default))
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def _many(files: list[Path], folder: Path) -> Path:
    folder.mkdir()
    for number, file in enumerate(islice(cycle(files), CLASSIFIED_FILES)):
        (folder / f"{number:04}{file.suffix}").symlink_to(file)
    return folder


def _classify(folder: Path, root: Path) -> tuple[float, float]:
    """Images per second of the command, from its first row to its last, and processor milliseconds of each."""
    command = [sys.executable, "-m", "cxr_edge", "classify", str(folder), "--format", "jsonl", "--provider", "cpu"]
    environ, rows = environment(root, "classify"), []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environ) as process:
        assert process.stdout is not None  # noqa: S101 - for the type checker
        for number, _ in enumerate(process.stdout):
            rows.append(time.monotonic())
            if number == WARM_UP:
                began = cpu_seconds("classify")
            elif number == CLASSIFIED_FILES - WARM_UP:
                used = cpu_seconds("classify") - began
    return (len(rows) - 1) / (rows[-1] - rows[0]), used / (CLASSIFIED_FILES - 2 * WARM_UP) * 1e3


def _serve(files: list[Path], root: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The server's answers to all clients, and its memory meanwhile."""
    command = [sys.executable, "-m", "cxr_edge", "serve", "--port", "0", "--provider", "cpu"]
    with (
        (root / "stderr").open("wb") as stderr,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, env=environment(root, "serve")) as server,
    ):
        assert server.stdout is not None  # noqa: S101 - for the type checker
        port = server.stdout.readline().decode().strip().rstrip("/").rpartition(":")[2]
        memory, ended = [], threading.Event()

        def watch() -> None:
            while not ended.wait(1.0):
                memory.append(round(_tree_mb(server.pid), 1))

        watcher = threading.Thread(target=watch)
        watcher.start()
        clients = [sys.executable, str(CLIENTS), port, str(options.clients), str(options.seconds), *map(str, files)]
        began = cpu_seconds("serve")
        answers = json.loads(subprocess.run(clients, stdout=subprocess.PIPE, check=True).stdout)
        milliseconds = (cpu_seconds("serve") - began) / len(answers["answers"]) * 1e3
        ended.set()
        watcher.join()
        server.send_signal(signal.SIGTERM)
        return {**answers, "rss_mb": memory, "processor_ms": milliseconds, "exit_code": server.wait(60)}


def _tree_mb(pid: int) -> float:
    """Resident memory of a process and of those that it started; shared pages count in each."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
        children = [file.read_text(encoding="ascii") for file in Path(f"/proc/{pid}/task").glob("*/children")]
    except OSError:
        return 0.0
    return pages * PAGE_MB + sum(_tree_mb(int(child)) for child in " ".join(children).split())


def _sum_up(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    answers = [answer for one in rounds for answer in one["answers"]]
    codes = Counter(int(status) for _, _, status in answers)
    served = statistics.median(_rate(one["answers"]) for one in rounds)
    classified = statistics.median(rate for one in rounds for rate, _ in one["classify"])
    processor = [
        statistics.median(one["processor_ms"] for one in rounds),
        statistics.median(milliseconds for one in rounds for _, milliseconds in one["classify"]),
    ]
    waits = [wait for _, wait, status in answers if status == 200]
    quarters = [_quarters(one["rss_mb"]) for one in rounds]
    growth = max(last / second for _, second, _, last in quarters)
    missed = [
        *(["statuses"] if set(codes) - {200, 503} else []),  # `classify` rejects none of these files
        *(["throughput"] if served < WANTED_SHARE * classified else []),
        *(["memory"] if growth > WANTED_FLAT else []),
        *(["exit code"] if any(one["exit_code"] for one in rounds) else []),
    ]
    return {
        "served_per_s": round(served, 1),
        "classified_per_s": round(classified, 1),
        "ratio": round(served / classified, 3),
        "processor_ms_per_image": {"serve": round(processor[0], 1), "classify": round(processor[1], 1)},
        "ratio_by_processor_time": round(processor[1] / processor[0], 3),
        "p50_ms": round(statistics.median(waits) * 1e3),
        "p95_ms": round(statistics.quantiles(waits, n=20)[-1] * 1e3),
        "statuses": {str(code): count for code, count in sorted(codes.items())},
        "clients_processor_share": round(
            statistics.median(one["processor_seconds"] / one["seconds"] for one in rounds), 3
        ),
        "rss_mb_by_quarter": [[round(mean) for mean in one] for one in quarters],
        "rss_growth": round(growth, 3),
        "rss_mb_each_second": [one["rss_mb"] for one in rounds],
        "missed": missed,
    }


def _rate(answers: list[tuple[float, float, int]]) -> float:
    """Answers with a result per second, from the first to the last."""
    ends = sorted(asked + wait for asked, wait, status in answers if status == 200)
    return (len(ends) - 1) / (ends[-1] - ends[0])


def _quarters(memory: list[float]) -> list[float]:
    size = max(1, len(memory) // 4)
    return [statistics.mean(memory[at * size : (at + 1) * size]) for at in range(4)]


if __name__ == "__main__":
    sys.exit(main())
