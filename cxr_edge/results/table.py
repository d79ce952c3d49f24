"""Rows as a table for people at a terminal."""

import io
import shutil
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cxr_edge.decide import more_probable
from cxr_edge.results.rows import Row
from cxr_edge.types import side_is_label

MIN_WIDTH = 80  # below, rich would drop columns
DISCLAIMER = "Not a medical device."


class TableWriter:
    """Keeps its rows and draws them when it is closed."""

    def __init__(
        self, emit: Callable[[str], object], width: int | None = None, *, positive_labels: Sequence[str] = ()
    ) -> None:
        """Draw through `emit`; `width` in columns, None for the terminal's; `positive_labels` to be named, if known."""
        self._emit = emit
        self._width = width
        self._positive_labels = positive_labels
        self._rows: list[Row] = []

    def write(self, row: Row) -> None:
        """Add one row."""
        self._rows.append(row)

    def close(self) -> None:
        """Draw the table."""
        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
        table.add_column("image", overflow="fold", ratio=3)
        table.add_column("result", overflow="fold", ratio=4)
        table.add_column("P(positive)", justify="right", no_wrap=True)
        table.add_column("gate", overflow="fold", ratio=2)
        table.add_column("ms", justify="right", no_wrap=True)
        for row in self._rows:
            table.add_row(*_cells(row))
        buffer = io.StringIO()
        width = self._width or max(MIN_WIDTH, shutil.get_terminal_size().columns)
        console = Console(file=buffer, width=width, highlight=False)
        console.print(table)
        for line in _footer(self._rows, self._positive_labels):
            console.print(Text(line))
        self._emit(buffer.getvalue())


def _cells(row: Row) -> tuple[Text, ...]:
    total = row.get("latency_ms", {}).get("total")
    time = Text("" if total is None else f"{total:.0f}")
    if row["status"] == "rejected":
        reason = row["reason"]
        return _name(row), Text(f"REJECTED {reason['code']}: {reason['message']}"), Text(), _gate(row), time
    result = Text(("POSITIVE " if row["positive"] else "negative ") + row["label"])
    if _has_many(row):
        result.append(f" ({_own(row)})")
    codes = " ".join(note["code"] for note in row.get("warnings", []))
    if codes:
        result.append(f" ({codes})")
    return _name(row), result, Text(f"{row['score']:.4f}"), _gate(row), time


def _has_many(row: Row) -> bool:
    """Whether there are more than two labels: of two, neither place nor own probability says anything more."""
    return not side_is_label(row["probabilities"])


def _own(row: Row) -> str:
    """The label's number and own probability, and which single label is more probable."""
    label, probabilities = row["label"], row["probabilities"]
    said = f"class {row['label_index']}, probability {probabilities[label]:.4f}"
    best = more_probable(label, probabilities)
    return said if best is None else f"{said}; most probable single label: {best} {probabilities[best]:.4f}"


def _footer(rows: list[Row], positive_labels: Sequence[str]) -> list[str]:
    """What holds for every row: the operating point and the model."""
    classified = next((row for row in rows if row["status"] == "classified"), None)
    if classified is None:
        return ["", DISCLAIMER]
    point, model = classified["operating_point"], classified["model"]
    figures = ", ".join(
        f"{name} {point[name]['estimate']:.3f} [{point[name]['low']:.3f}, {point[name]['high']:.3f}]"
        for name in ("sensitivity", "specificity")
    )
    return [
        "",
        f"Operating point {point['name']}: positive from {point['threshold']:.3f}; {figures} on its validation data.",
        *_of_many(classified, positive_labels),
        f"Model {model['name']} {model['version']}, SHA-256 {model['sha256'][:16]}. {DISCLAIMER}",
    ]


def _of_many(row: Row, positive_labels: Sequence[str]) -> list[str]:
    """With more than two labels: what the figures above are of, and what decides."""
    if not _has_many(row):
        return []
    others = [label for label in row["probabilities"] if label not in positive_labels]
    sides = "the positive labels together against the others"
    if positive_labels:
        sides = f"the positive labels together ({', '.join(positive_labels)}) against the others ({', '.join(others)})"
    return [
        f"These figures are for {sides}; they do not say how often the label itself is right.",
        "P(positive), the score of the positive labels together, decides. Numbers of classes are names, not degrees.",
    ]


def _name(row: Row) -> Text:
    source = row["source"]
    if row["kind"] == "study":
        return Text(f"study {source['study_instance_uid'] or ''} ({row['images']} images, {row['rejected']} rejected)")
    name = source["path"] or source["sop_instance_uid"] or (source["content_sha256"] or "")[:16]
    # a file name may hold what a terminal acts on
    return Text("".join(c if c.isprintable() else ascii(c)[1:-1] for c in name))


def _gate(row: Row) -> Text:
    gate = row.get("gate")
    if not gate:
        return Text("")
    codes = " ".join(note["code"] for note in gate["reasons"])
    return Text(f"{gate['status']} {codes}".strip())
