"""What becomes of every file under the data folder's `dicom/`: outcome, gate, warnings, seconds, peak memory.

    python benchmarks/hostile.py [--data FOLDER] [--folder malformed] [--json]

Each file is classified in a process of its own, through `cxr_edge.load().classify_many`, the gate strict. `s` is that
call without the start of the process and the loading of the model; the peak is the whole process's, by the kernel's own
record (VmHWM; elsewhere than on Linux it is not measured). FOLDER is by default $CXR_EDGE_DATA, else ../shared/data.
Exit status 1 where an expectation is broken:

    chest      all classified; the one with a false MONOCHROME1 carries a polarity warning
    nonchest   all rejected, or flagged by the gate
    malformed  what docs/reference/reason-codes.md says, each within 2 s and 700 MB
    odd        a prediction or a rejection, never for an `internal` reason
"""

import argparse
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from machine import print_table, write_result

REPOSITORY: Final = Path(__file__).resolve().parent.parent
FOLDERS: Final = ("chest", "nonchest", "malformed", "odd")
REASON_CODES: Final = REPOSITORY / "docs" / "reference" / "reason-codes.md"
MOST_SECONDS, MOST_MB = 2.0, 700.0
CHILD: Final = """
import json, pathlib, sys, time
import cxr_edge
from cxr_edge.results import to_row
classifier = cxr_edge.load()
began = time.perf_counter()
row = to_row(next(iter(classifier.classify_many([pathlib.Path(sys.argv[1])]))), identifiers=False)
row["seconds"] = time.perf_counter() - began
status = pathlib.Path("/proc/self/status")
row["peak_mb"] = int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024 if status.is_file() else None
print(json.dumps(row))
"""
Row = dict[str, Any]


def main() -> int:
    """Classify, print, and 1 where an expectation is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = os.environ.get("CXR_EDGE_DATA", REPOSITORY.parent / "shared" / "data")
    parser.add_argument("--data", type=Path, default=Path(default))
    parser.add_argument("--folder", choices=FOLDERS, action="append", help="only this one; may be given again")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = list(_classify_all(options.data / "dicom", options.folder or FOLDERS))
    if not rows:
        sys.exit(f"no files under {options.data / 'dicom'}")
    print_table([_shown(row) for row in rows])
    broken = list(_broken(rows, _documented()))
    for folder in options.folder or FOLDERS:
        of_folder = [row for row in rows if row["folder"] == folder]
        outcomes = Counter(row["outcome"] for row in of_folder).most_common()
        print(f"{folder}: {len(of_folder)} files: {', '.join(f'{name} {count}' for name, count in outcomes)}")
    print(*(broken or ["every expectation holds"]), sep="\n")
    if options.json:
        write_result("hostile", {"files": rows, "broken": broken})
    return int(bool(broken))


def _classify_all(root: Path, folders: tuple[str, ...] | list[str]) -> Iterator[Row]:
    for folder in folders:
        for file in sorted(file for file in (root / folder).rglob("*") if file.is_file()):
            yield {"folder": folder, "file": file.relative_to(root).as_posix(), **_classify(file)}
            if sys.stderr.isatty():
                print(".", end="", file=sys.stderr, flush=True)


def _classify(file: Path) -> Row:
    try:
        command = [sys.executable, "-c", CHILD, str(file)]
        ran = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:
        return {"outcome": "HANG", "gate": "", "codes": [], "warnings": [], "seconds": 120.0, "peak_mb": None}
    if ran.returncode:
        last = (ran.stderr.strip() or "no message").splitlines()[-1].partition(":")[0]
        return {"outcome": f"CRASH {last}", "gate": "", "codes": [], "warnings": [], "seconds": 0.0, "peak_mb": None}
    row = json.loads(ran.stdout)
    return {
        "outcome": row["label"] if row["status"] == "classified" else row["reason"]["code"],
        "classified": row["status"] == "classified",
        "gate": (row["gate"] or {}).get("status", ""),
        "codes": [note["code"] for note in (row["gate"] or {}).get("reasons", [])],
        "warnings": [note["code"] for note in row.get("warnings", [])],
        "seconds": round(row["seconds"], 3),
        "peak_mb": row["peak_mb"] and round(row["peak_mb"]),
    }


def _shown(row: Row) -> dict[str, object]:
    return {
        "file": row["file"],
        "outcome": row["outcome"],
        "gate": row["gate"],
        "gate's reasons": " ".join(row["codes"]),
        "warnings": " ".join(row["warnings"]),
        "s": f"{row['seconds']:.2f}",
        "peak MB": row["peak_mb"] or "not measured",
    }


def _documented() -> dict[str, tuple[str, str]]:
    """File of dicom/malformed -> (reason code or `classified`, warning or nothing), from the reference."""
    text = REASON_CODES.read_text(encoding="utf-8")
    lines = re.findall(r"^\| `([^`]+)` \|[^|]*\| (classified|`\w+`)(?:, warning `(\w+)`)? \|$", text, re.MULTILINE)
    return {name: (outcome.strip("`"), warning) for name, outcome, warning in lines}


def _broken(rows: list[Row], documented: dict[str, tuple[str, str]]) -> Iterator[str]:
    for row in rows:
        name, seen = Path(row["file"]).name, {*row["codes"], *row["warnings"]}
        classified = row.get("classified", False)
        if row["outcome"].split()[0] in ("CRASH", "HANG", "internal"):
            yield f"{row['file']}: {row['outcome']}"
        elif row["folder"] == "chest" and not classified:
            yield f"{row['file']}: {row['outcome']}; expected to be classified"
        elif row["folder"] == "chest" and "FAKE_mono1" in name and not any("polarity" in code for code in seen):
            yield f"{row['file']}: no polarity warning"
        elif row["folder"] == "nonchest" and classified and row["gate"] not in ("warn", "refused"):
            yield f"{row['file']}: neither rejected nor flagged"
        elif row["folder"] == "malformed":
            yield from _broken_promises(row, documented.get(name, ("nothing", "")), seen)


def _broken_promises(row: Row, promised: tuple[str, str], seen: set[str]) -> Iterator[str]:
    outcome = "classified" if row["classified"] else row["outcome"]
    if outcome != promised[0]:
        yield f"{row['file']}: {outcome}; the reference says {promised[0]}"
    if promised[1] and promised[1] not in seen:
        yield f"{row['file']}: no warning {promised[1]}"
    if row["seconds"] >= MOST_SECONDS or (row["peak_mb"] or 0) >= MOST_MB:
        yield f"{row['file']}: {row['seconds']:.1f} s, {row['peak_mb']} MB; at most {MOST_SECONDS} s, {MOST_MB} MB"


if __name__ == "__main__":
    sys.exit(main())
