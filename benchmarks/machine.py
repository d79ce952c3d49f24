"""What every benchmark shares: a description of the machine, a table, a JSON file."""

import json
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from cxr_edge._version import __version__
from cxr_edge.modelfile import DEFAULT_MODEL, read_model
from cxr_edge.processors import available_threads, cpu_flags, cpu_name

RESULTS = Path(__file__).resolve().parent / "results"


def describe_machine() -> dict[str, Any]:
    """The machine, the libraries and the default model, without anything that names their owner."""
    return {
        "cpu": cpu_name(),
        "cpu_flags": list(cpu_flags()),
        "threads": available_threads(),
        "system": platform.system(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "onnxruntime": onnxruntime.__version__,
        "cxr_edge": __version__,
        DEFAULT_MODEL: read_model().sha256,
        "date": datetime.now(UTC).date().isoformat(),
    }


def has_vnni() -> bool:
    """Whether the CPU multiplies 8-bit integers without saturating 16-bit sums."""
    return bool({"avx512_vnni", "avx_vnni"} & set(cpu_flags()))


def print_table(rows: Sequence[Mapping[str, object]]) -> None:
    """Print rows of equal keys, aligned."""
    columns = list(rows[0])
    cells = [columns, *[[str(row[column]) for column in columns] for row in rows]]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    for line in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def write_result(name: str, result: Mapping[str, Any]) -> None:
    """Write benchmarks/results/NAME.json with the machine's description."""
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps({"machine": describe_machine(), **result}, indent=2) + "\n"
    (RESULTS / f"{name}.json").write_text(text, encoding="utf-8")
