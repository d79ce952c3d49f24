"""The 8-bit rendering of every gray file under the data folder's `dicom/` against dcmtk's: at most one level apart.

    python benchmarks/rendering.py [--data FOLDER] [--json]

dcmtk (`dcm2pnm -O`, with +Wl 1, +Wi 1 or +Wm as the road is) must be installed. FOLDER is by default $CXR_EDGE_DATA,
else ../shared/data beside the repository. Files that we refuse, colour, files with a window that PS3.3 C.11.2.1.2
forbids, and files that dcmtk cannot read are counted, and listed where there is a rendering to compare. Exit status 1
when a file differs by more than one level in pixels for which no reason was verified.
"""

import argparse
import os
import sys
import tempfile
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Final

from machine import print_table, write_result

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from dcmtk import Comparison, compare, is_installed

REPOSITORY: Final = Path(__file__).resolve().parent.parent
LISTED: Final = ("illegal window", "unread by dcmtk")


def main() -> int:
    """Compare, print, and 1 where a difference is not explained."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = os.environ.get("CXR_EDGE_DATA", REPOSITORY.parent / "shared" / "data")
    parser.add_argument("--data", type=Path, default=Path(default))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not is_installed():
        sys.exit("dcmtk is not installed: dcm2pnm, dcmj2pnm and dcml2pnm have to be on the PATH")
    files = sorted(file for file in (options.data / "dicom").rglob("*") if file.is_file())
    if not files:
        sys.exit(f"no files under {options.data / 'dicom'}")
    with tempfile.TemporaryDirectory() as folder:
        compared = {
            file.relative_to(options.data / "dicom").as_posix(): compare(file.read_bytes(), Path(folder))
            for file in files
        }
    print_table([_row(name, found) for name, found in compared.items() if found.status == "compared"])
    print()
    for name, found in compared.items():
        if found.status in LISTED:
            print(f"{found.status}: {name} ({found.transfer_syntax or 'no transfer syntax'}, {found.rendering})")
    counts = Counter(found.status for found in compared.values())
    print(", ".join(f"{status}: {count}" for status, count in counts.most_common()))
    unexplained = [name for name, found in compared.items() if found.unexplained > 1]
    exact = sum(found.status == "compared" and found.difference == 0 for found in compared.values())
    print(f"{exact} of {counts['compared']} compared files are equal; unexplained beyond one level: {unexplained or 0}")
    if options.json:
        rows = {name: asdict(found) for name, found in compared.items() if found.status != "refused"}
        write_result("rendering", {"counts": counts, "unexplained": unexplained, "files": rows})
    return int(bool(unexplained))


def _row(name: str, found: Comparison) -> dict[str, object]:
    return {
        "file": name,
        "transfer syntax": found.transfer_syntax or "none (guessed)",
        "road": found.rendering.partition("/")[2],
        "max": found.difference,
        "differ": f"{found.share:.3%}",
        "reason": found.explained,
    }


if __name__ == "__main__":
    sys.exit(main())
