"""Rows as a table, JSON, JSON lines or CSV, one row at a time."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from typing import Literal, Protocol, get_args

from cxr_edge.results.rows import Row

Format = Literal["table", "json", "jsonl", "csv"]
FORMATS: tuple[Format, ...] = get_args(Format)

CSV_COLUMNS = (
    "kind", "path", "sop_instance_uid", "study_instance_uid", "content_sha256", "status", "label", "score", "positive",
    "operating_point", "threshold", "sensitivity", "specificity", "gate", "gate_reasons", "warnings", "rendering",
    "pixel_intensity_relationship", "model", "model_version", "model_sha256", "execution_provider", "read_ms",
    "decode_ms", "preprocess_ms", "inference_ms", "total_ms", "reason_code", "reason_message", "images", "rejected",
    "deciding_image", "probabilities", "label_index",
)  # fmt: skip
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


class RowWriter(Protocol):
    """Takes rows as they come; `close` ends the document."""

    def write(self, row: Row) -> None:
        """Add one row."""

    def close(self) -> None:
        """End the document."""


def open_writer(kind: Format, emit: Callable[[str], object]) -> RowWriter:
    """A writer of that format.

    Args:
        kind: `table` keeps its rows until it is closed; the others pass every row on at once.
        emit: takes text, ends of lines included.
    """
    if kind == "table":
        from cxr_edge.results.table import TableWriter

        return TableWriter(emit)
    writers: dict[str, Callable[[Callable[[str], object]], RowWriter]] = {
        "json": _JsonWriter,
        "jsonl": _JsonLinesWriter,
        "csv": _CsvWriter,
    }
    return writers[kind](emit)


class _JsonLinesWriter:
    def __init__(self, emit: Callable[[str], object]) -> None:
        self._emit = emit

    def write(self, row: Row) -> None:
        self._emit(json.dumps(row, allow_nan=False) + "\n")

    def close(self) -> None:
        """JSON lines need no end."""


class _JsonWriter:
    def __init__(self, emit: Callable[[str], object]) -> None:
        self._emit = emit
        self._before = "[\n"

    def write(self, row: Row) -> None:
        self._emit(self._before + json.dumps(row, allow_nan=False))
        self._before = ",\n"

    def close(self) -> None:
        self._emit("[]\n" if self._before == "[\n" else "\n]\n")


class _CsvWriter:
    """RFC 4180, comma, with a header."""

    def __init__(self, emit: Callable[[str], object]) -> None:
        self._emit = emit
        self._emit(csv_header())

    def write(self, row: Row) -> None:
        self._emit(csv_record(row))

    def close(self) -> None:
        """CSV needs no end."""


def csv_header() -> str:
    """The first record of a CSV file of rows, with its end of line."""
    return _record(CSV_COLUMNS)


def csv_record(row: Row) -> str:
    """One row as a CSV record; text that a spreadsheet would run as a formula gets an apostrophe."""
    flat = flatten(row)
    return _record([_cell(flat.get(column)) for column in CSV_COLUMNS])


def _record(cells: Sequence[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\r\n").writerow(cells)
    return buffer.getvalue()


def flatten(row: Row) -> dict[str, object]:
    """A row as one level of CSV columns."""
    source, point, gate = row["source"], row.get("operating_point"), row.get("gate")
    model, reason, deciding = row.get("model"), row.get("reason"), row.get("deciding_image")
    flat = {key: row.get(key) for key in CSV_COLUMNS if not isinstance(row.get(key), dict | list)}
    flat |= source
    if point:
        flat |= {"operating_point": point["name"], "threshold": point["threshold"]}
        flat |= {name: point[name]["estimate"] for name in ("sensitivity", "specificity")}
    if gate:
        flat |= {"gate": gate["status"], "gate_reasons": _codes(gate["reasons"])}
    if model:
        flat |= {"model": model["name"], "model_version": model["version"], "model_sha256": model["sha256"]}
    if reason:
        flat |= {"reason_code": reason["code"], "reason_message": reason["message"]}
    if deciding:
        flat["deciding_image"] = deciding["path"] or deciding["sop_instance_uid"] or deciding["content_sha256"]
    flat |= {f"{stage}_ms": value for stage, value in row.get("latency_ms", {}).items()}
    flat["warnings"] = _codes(row.get("warnings", []))
    flat["probabilities"] = " ".join(f"{label}={value:.6f}" for label, value in row.get("probabilities", {}).items())
    return flat


def _codes(notes: list[Row]) -> str:
    return " ".join(note["code"] for note in notes)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    text = str(value)
    return "'" + text if text.startswith(_FORMULA_STARTS) else text
