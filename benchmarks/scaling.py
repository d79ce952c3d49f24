"""From 1 to 10,000 files: does the time per file or the memory grow with their number?

    python benchmarks/scaling.py [--files 10000] [--data FOLDER] [--json]

A folder of hard links (copies where links cannot be made) to the originals of FOLDER/kermany_original, round and round,
goes through `cxr-edge classify FOLDER --format jsonl`, decoding in processes of their own, and through
`Classifier.classify_many` in one process. Each writes a row per file as soon as it is classified; after 1, 10, 100,
1,000 and 10,000 rows the resident memory of the process and of its children is read from /proc, at every row. The
originals differ in size, so they come in a random order, the same each turn, and a mark stands for the last 126 files
before it: the median of their readings, and the largest, which is a matter of which large images met.

Wanted: the median before 10,000 files at most 5 % above that before 100. Linux only.
"""

import argparse
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from load import describe_load
from machine import print_table, write_result

REPOSITORY = Path(__file__).resolve().parent.parent
MARKS: Final = (1, 10, 100, 1_000, 10_000)
AROUND: Final = 126  # files before a mark whose memory counts: a turn of the originals
WANTED: Final = 0.05
COMMAND: Final = "from cxr_edge.cli import main; main()"
LIBRARY: Final = """
import os, sys, cxr_edge
classifier = cxr_edge.load(provider="cpu", gate="warn")
paths = sorted(entry.path for entry in os.scandir(sys.argv[1]))
for result in classifier.classify_many(paths):
    print(type(result).__name__, flush=True)
"""


def main() -> int:
    """Measure and print; 1 where memory grew."""
    if not Path("/proc/self/status").is_file():
        sys.exit("this benchmark reads memory from /proc, which this system does not have")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=MARKS[-1])
    default = os.environ.get("CXR_EDGE_DATA", REPOSITORY.parent / "shared" / "data")
    parser.add_argument("--data", type=Path, default=Path(default))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.files <= MARKS[2]:
        parser.error(f"--files: more than {MARKS[2]}, where growth is measured from")
    originals = sorted((options.data / "kermany_original").glob("*/*"))
    random.Random(1).shuffle(originals)  # noqa: S311 - an order, no secret
    if not originals:
        sys.exit("this benchmark needs the real radiographs: set CXR_EDGE_DATA")
    load = describe_load()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _fill(folder, originals, options.files)
        command = [sys.executable, "-c", COMMAND, "classify", name, "--format", "jsonl", "--gate", "warn"]
        runs = {
            "cxr-edge classify": _watch(command, options.files),
            "classify_many, one process": _watch([sys.executable, "-c", LIBRARY, name], options.files),
        }
    rows = [{"road": road, **row} for road, marks in runs.items() for row in marks]
    print_table(rows)
    growth = {road: float(marks[-1]["RSS MB, median"]) / _at(marks, str(MARKS[2])) - 1 for road, marks in runs.items()}
    for road, share in growth.items():
        print(f"{road}: memory from file 100 to file {options.files}: {share:+.1%} (wanted: at most {WANTED:+.0%})")
    print(f"load before: {load}")
    if options.json:
        write_result("scaling", {"files": options.files, "load": load, "marks": rows, "growth": growth})
    return int(any(share > WANTED for share in growth.values()))


def _fill(folder: Path, originals: list[Path], count: int) -> None:
    for number in range(count):
        original = originals[number % len(originals)]
        target = folder / f"{number:05d}{original.suffix}"
        try:
            os.link(original, target)
        except OSError:  # another file system
            shutil.copyfile(original, target)


def _watch(command: list[str], files: int) -> list[dict[str, str]]:
    """Rows of the table: at each mark, seconds since the start, milliseconds per file since the last, memory."""
    started = time.perf_counter()
    rows: list[dict[str, str]] = []
    recent: list[float] = []
    last_count, last_seconds = 0, 0.0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        if process.stdout is None:
            raise RuntimeError
        for count in _rows(process.stdout):
            recent = [*recent[-AROUND + 1 :], _resident_mb(process.pid)]
            if count in MARKS or count == files:
                seconds = time.perf_counter() - started
                per_file = (seconds - last_seconds) / (count - last_count) * 1e3
                last_count, last_seconds = count, seconds
                rows.append(
                    {
                        "files": str(count),
                        "seconds": f"{seconds:.2f}",
                        "ms a file since the last mark": f"{per_file:.1f}",
                        "RSS MB, median": f"{statistics.median(recent):.1f}",
                        "largest": f"{max(recent):.1f}",
                        "main process": f"{_own_mb(process.pid):.1f}",
                    }
                )
    if process.returncode not in (0, 3) or last_count != files:
        message = f"{command[-1]} ended with {process.returncode} after {last_count} of {files} files"
        raise RuntimeError(message)
    return rows


def _rows(stream: IO[bytes]) -> Iterator[int]:
    """1, 2, 3 ... as the rows of images come in; rows of studies, which come last, are none."""
    count = 0
    for line in stream:
        if b'"kind": "study"' not in line:
            count += 1
            yield count


def _resident_mb(pid: int) -> float:
    return _own_mb(pid) + sum(_own_mb(child) for child in _children(pid))


def _own_mb(pid: int) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:  # it ended between its last row and now
        return 0.0
    found = re.search(r"^VmRSS:\s+(\d+) kB$", status, flags=re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(child) for child in task.read_text(encoding="ascii").split()]
        except OSError:  # the thread ended
            continue
    return found


def _at(marks: list[dict[str, str]], files: str) -> float:
    return next(float(row["RSS MB, median"]) for row in marks if row["files"] == files)


if __name__ == "__main__":
    sys.exit(main())
