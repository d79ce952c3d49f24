"""How fast the watch service works off a backlog, what it costs when idle, and how it bears 100,000 waiting files.

    python benchmarks/watch_throughput.py [--rounds 3] [--files 1000] [--waiting 100000] [--only PART] [--json]
    python benchmarks/watch_throughput.py --soak 30 [--json]

backlog   --files real radiographs, no two the same: `cxr-edge classify FOLDER`, `cxr-edge watch --once --no-nice` and
          `--nice` (the default), alternating, each with empty folders of its own; medians. Files per second from the
          first result to the last, and over the whole command; processor seconds of all its processes. Wanted: the
          service reaches 90 % of `classify`, from first to last result.
idle      10,000 decided files in the inbox (hard links to one image) and nothing to do: processor time of the service
          and its children within 60 s, at the default poll interval. Wanted: below 1 % of one core.
waiting   --waiting files are there when the service starts, all different (tiny DICOM files made here, rejected by
          their modality, so that what is measured is not the network): seconds to the first result, memory, seconds for
          each scan, and milliseconds for each file in every tenth of the run, which ends after --seconds if not all
          are decided by then. Wanted: the last tenth costs at most 1.25 times the first.
--soak    that many minutes with a new file every half second: see `watch_soak.py`.

Trust ratios of a machine that does nothing else. The backlog needs the real radiographs ($CXR_EDGE_DATA, else
../shared/data beside the repository). Exit status 1 where something wanted is missed. Linux only.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from itertools import count, islice, pairwise
from pathlib import Path
from typing import Any, Final

from load import describe_load
from machine import print_table, write_result
from PIL import Image
from watch_soak import soak
from watched import LogTail, Scene, cpu_seconds, environment, stop, usage

from cxr_edge.phantom import chest_phantom

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from dicom_files import gradient, make_dataset, to_bytes

REPOSITORY: Final = Path(__file__).resolve().parent.parent
PARTS: Final = ("backlog", "idle", "waiting")
EAGER: Final = ("--settle", "0", "--provider", "cpu")
WANTED_SHARE, WANTED_IDLE, WANTED_FLAT = 0.9, 0.01, 1.25
DONE_FILES, IDLE_S = 10_000, 60.0
FOLDER_FILES: Final = 1000  # in each sub-folder
DECIDED: Final = ("classified", "rejected", "duplicate")


def main() -> int:
    """Measure and print; 1 where something wanted is missed."""
    options = _options()
    load = describe_load()
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="cxr-edge-") as name:
        root = Path(name)
        if options.soak:
            result = soak(root, options.soak)
        else:
            if "backlog" in options.only:
                result["backlog"] = _backlog(root, options.data, options.files, options.rounds)
            if "idle" in options.only:
                result["idle"] = _idle(root)
            if "waiting" in options.only:
                result["waiting"] = _waiting(root, options.waiting, options.seconds)
    parts = [result] if options.soak else list(result.values())
    missed = [what for part in parts for what in part.pop("missed")]
    loads = f"{load} before, {describe_load()} after"
    print(f"load: {loads}; missed: {', '.join(missed) or 'nothing'}")
    if options.json:
        write_result("watch_soak" if options.soak else "watch_throughput", {"load": loads, **result, "missed": missed})
    return int(bool(missed))


def _options() -> argparse.Namespace:
    if not Path("/proc/self/stat").is_file():
        sys.exit("this benchmark reads processor time and memory from /proc, which this system does not have")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--waiting", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--only", choices=PARTS, action="append", help="only this part; may be given again")
    parser.add_argument("--soak", type=float, metavar="MINUTES")
    default = os.environ.get("CXR_EDGE_DATA", REPOSITORY.parent / "shared" / "data")
    parser.add_argument("--data", type=Path, default=Path(default))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    options.only = options.only or PARTS
    return options


@dataclass(frozen=True, slots=True)
class Went:
    """How one command went through a folder: files per second twice, and processor seconds."""

    first_to_last: float
    whole: float
    cpu_s: float


def _backlog(root: Path, data: Path, wanted: int, rounds: int) -> dict[str, Any]:
    files = _distinct(sorted((data / "kermany224").glob("*/*/*")), wanted)
    if len(files) < wanted:
        sys.exit(f"the backlog needs {wanted} different radiographs: set CXR_EDGE_DATA")
    inbox = root / "radiographs"
    inbox.mkdir()
    for number, file in enumerate(files):
        (inbox / f"{number:05d}.jpeg").write_bytes(file.read_bytes())
    went: dict[str, list[Went]] = {"classify": [], "watch --no-nice": [], "watch --nice": []}
    for number in range(rounds):
        for name, measured in went.items():
            where = root / f"backlog-{number}-{name.rpartition(' ')[2]}"
            measured.append(_classify(inbox, wanted) if name == "classify" else _watch(where, inbox, wanted, name[6:]))
    rows = {
        name: {key: statistics.median(getattr(one, key) for one in measured) for key in Went.__slots__}
        for name, measured in went.items()
    }
    shares = {name: row["first_to_last"] / rows["classify"]["first_to_last"] for name, row in rows.items()}
    print_table(
        [
            {
                f"{wanted} files": name,
                "files/s, first to last": f"{row['first_to_last']:.1f}",
                "of classify": f"{shares[name]:.3f}",
                "files/s, whole command": f"{row['whole']:.1f}",
                "of  classify": f"{row['whole'] / rows['classify']['whole']:.3f}",
                "CPU s": f"{row['cpu_s']:.1f}",
            }
            for name, row in rows.items()
        ]
    )
    missed = [f"{name} at {share:.2f} of classify" for name, share in shares.items() if share < WANTED_SHARE]
    all_rounds = {name: [[one.first_to_last, one.whole, one.cpu_s] for one in each] for name, each in went.items()}
    return {"files": wanted, "medians": rows, "shares": shares, "rounds": all_rounds, "missed": missed}


def _distinct(files: list[Path], wanted: int) -> list[Path]:
    """Spread over all, each content once, since the service classifies it once."""
    step = max(1, len(files) // (wanted + wanted // 10 + 1))
    found = {sha256(file.read_bytes()).digest(): file for file in files[::step]}
    return list(found.values())[:wanted]


def _classify(inbox: Path, wanted: int) -> Went:
    command = [sys.executable, "-m", "cxr_edge", "classify", str(inbox), "--format", "jsonl", "--provider", "cpu"]
    began, times = time.perf_counter(), []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment(inbox.parent), cwd=inbox.parent
    ) as process:
        for _ in process.stdout or ():
            times.append(time.perf_counter())  # noqa: PERF401 - one at a time, as they come
        cpu_s = _wait(process)
    if process.returncode not in (0, 3) or len(times) != wanted:
        message = f"classify ended with {process.returncode} after {len(times)} rows"
        raise RuntimeError(message)
    return Went((wanted - 1) / (times[-1] - times[0]), wanted / (time.perf_counter() - began), cpu_s)


def _watch(root: Path, inbox: Path, wanted: int, nice: str) -> Went:
    scene = Scene(root, (*EAGER, "--once", nice), inbox_elsewhere=inbox)
    log = LogTail(scene.log)
    began = time.perf_counter()
    process = scene.start(f"throughput-{os.urandom(6).hex()}")
    cpu_s = _wait(process)
    ended = time.perf_counter()
    times = [datetime.fromisoformat(event["ts"]).timestamp() for event in log.events() if event["event"] in DECIDED]
    if process.returncode != 0 or len(times) != wanted:
        message = f"watch ended with {process.returncode} after {len(times)} results"
        raise RuntimeError(message)
    return Went((wanted - 1) / (times[-1] - times[0]), wanted / (ended - began), cpu_s)


def _wait(process: "subprocess.Popen[bytes]") -> float:
    """Wait for the end; processor seconds of the process and of all that it has waited for."""
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return used.ru_utime + used.ru_stime


def _idle(root: Path) -> dict[str, Any]:
    scene = Scene(root / "idle", ("--provider", "cpu"))
    image = root / "image.jpeg"
    Image.fromarray(chest_phantom(300, 260)).save(image, "JPEG")
    for number in range(DONE_FILES):
        folder = scene.inbox / f"{number // FOLDER_FILES:03d}"
        folder.mkdir(exist_ok=True)
        os.link(image, folder / f"{number:06d}.jpeg")
    mark = f"idle-{os.urandom(6).hex()}"
    service = scene.start(mark)
    try:
        for health in _healths(scene, service):
            if health["ledger"].get("done") == DONE_FILES and health["state"] == "idle":
                break
        time.sleep(10)  # the CSV is written, decoding processes have come to rest
        before, began = cpu_seconds(mark), time.monotonic()
        time.sleep(IDLE_S)
        share = (cpu_seconds(mark) - before) / (time.monotonic() - began)
        scan_s = scene.health()["scan"]["seconds"]
        held = usage(mark, service.pid)
    finally:
        stop(service)
    row = {"decided files": DONE_FILES, "share of one core": share, "scan s": scan_s, "RSS MB": held.rss_mb}
    row["RSS MB of decoders"] = held.rss_of_children_mb
    print_table([{name: f"{value:.4g}" for name, value in row.items()}])
    return {**row, "missed": [f"{share:.2%} of a core when idle"] if share >= WANTED_IDLE else []}


def _waiting(root: Path, files: int, seconds: float) -> dict[str, Any]:
    scene = Scene(root / "waiting", ("--settle", "0", "--provider", "cpu", "--no-nice"))
    for number, data in enumerate(islice(_tiny(), files)):
        folder = scene.inbox / f"{number // FOLDER_FILES:03d}"
        folder.mkdir(exist_ok=True)
        (folder / f"{number:06d}.dcm").write_bytes(data)
    mark, began = f"waiting-{os.urandom(6).hex()}", time.monotonic()
    service = scene.start(mark)
    decided = 0
    scans: dict[str, float] = {}
    first_s, largest = 0.0, usage(mark, service.pid)
    try:
        while not first_s and service.poll() is None:
            time.sleep(0.02)
            if scene.log.exists() and b'"event": "rejected"' in scene.log.read_bytes()[:100_000]:
                first_s = time.monotonic() - began
        for health in _healths(scene, service):
            decided = health["counts"]["rejected"] + health["counts"]["classified"]
            scans[health["scan"]["ended"]] = health["scan"]["seconds"]
            largest = max(largest, usage(mark, service.pid), key=lambda held: held.rss_mb)
            if decided >= files or time.monotonic() - began > seconds:
                break
    finally:
        stop(service, 120)
    tenths = _tenths(sorted(scene.root.glob("watch.log*")))
    row = {"waiting files": files, "decided": decided, "first result s": first_s, "RSS MB, largest": largest.rss_mb}
    row |= {"decoders' RSS MB": largest.rss_of_children_mb, "scans": len(scans)}
    row |= {"scan s, median": statistics.median(scans.values()), "scan s, longest": max(scans.values())}
    print_table([{name: f"{value:.6g}" for name, value in row.items()}])
    print("ms for each file, by tenths of the run: " + " ".join(f"{ms:.2f}" for ms in tenths))
    ratio = tenths[-1] / tenths[0]
    missed = [f"the last tenth costs {ratio:.2f} times the first"] if ratio > WANTED_FLAT else []
    return {**row, "ms_by_tenths": tenths, "last_to_first": ratio, "missed": missed}


def _healths(scene: Scene, service: "subprocess.Popen[bytes]") -> Iterator[dict[str, Any]]:
    """Each new health.json, once it has a scan."""
    last = ""
    while service.poll() is None:
        health = scene.health()
        if health.get("updated", "") != last and health.get("scan") and health.get("pid") == service.pid:
            last = health["updated"]
            yield health
        time.sleep(0.2)
    message = f"the service ended with {service.returncode}"
    raise RuntimeError(message)


def _tenths(logs: list[Path]) -> list[float]:
    """Milliseconds for each file in every tenth of the results, by the times in the log, rotated or not."""
    events = (json.loads(line) for log in logs for line in log.read_text(encoding="ascii").splitlines())
    times = sorted(datetime.fromisoformat(event["ts"]).timestamp() for event in events if event["event"] in DECIDED)
    marks = [round(part * (len(times) - 1) / 10) for part in range(11)]
    return [1e3 * (times[end] - times[start]) / (end - start) for start, end in pairwise(marks)]


def _tiny() -> Iterator[bytes]:
    """DICOM files that differ in their SOP Instance UID; rejected by their modality, so that no network is run."""
    mark = "2.25.1" + "0" * 14
    samples = gradient(8, 8)
    template = to_bytes(make_dataset(samples, Modality="CT", SOPInstanceUID=mark, StudyInstanceUID=None))
    return (template.replace(mark.encode(), f"2.25.2{number:014d}".encode()) for number in count())


if __name__ == "__main__":
    sys.exit(main())
