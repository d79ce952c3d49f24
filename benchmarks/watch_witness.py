"""What must hold after every kill of a watch service: `watch_kill.py`."""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from watched import Scene

from cxr_edge.results.writers import CSV_COLUMNS

RESULT: Final = re.compile(r"([0-9a-f]{64})\.json")


class Witness:
    """Looks at a killed service's folders: whatever stood there once still does, and nothing is half written."""

    def __init__(self, scene: Scene) -> None:
        """See nothing yet.

        Attributes:
            problems: what must not be, one line each.
        """
        self.problems: list[str] = []
        self._scene = scene
        self._results: dict[str, tuple[int, int, int]] = {}
        self._lines: dict[str, set[str]] = {}

    def look(self, when: str) -> None:
        """Compare with the last look."""
        self.problems += [f"{when}: {problem}" for problem in (*self._compare_results(), *self._compare_lines())]

    def _compare_results(self) -> Iterator[str]:
        now: dict[str, tuple[int, int, int]] = {}
        for path in self._scene.outbox.iterdir():
            if RESULT.fullmatch(path.name):
                status = path.stat()
                now[path.name] = (status.st_ino, status.st_mtime_ns, status.st_size)
        for name in now.keys() - self._results.keys():
            if (problem := _fault_of(self._scene.outbox / name)) is not None:
                yield problem
        for name, identity in self._results.items():
            if now.get(name) != identity:
                yield f"result {name} is gone or was written again"
        self._results = now

    def _compare_lines(self) -> Iterator[str]:
        for path in sorted(self._scene.outbox.glob("results-*.csv")):
            contents, problems = read_csv(path)
            yield from problems
            if lost := self._lines.get(path.name, set()) - set(contents):
                yield f"{path.name} has lost {len(lost)} lines"
            self._lines[path.name] = set(contents)


def _fault_of(path: Path) -> str | None:
    try:
        row = json.loads(path.read_bytes())
    except ValueError:
        return f"result {path.name} is no JSON"
    return None if f"{row['source']['content_sha256']}.json" == path.name else f"result {path.name} is of another file"


def read_csv(path: Path) -> tuple[list[str], list[str]]:
    """The contents that a daily CSV has lines for, and what is wrong with it."""
    data = path.read_bytes()
    problems = [] if data.endswith(b"\n") else [f"{path.name} ends within a line"]
    try:
        header, *lines = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True))
    except (csv.Error, ValueError):
        return [], [*problems, f"{path.name} is no CSV"]
    if tuple(header) != CSV_COLUMNS or any(len(line) != len(header) for line in lines):
        problems.append(f"{path.name} has a broken line")
        lines = [line for line in lines if len(line) == len(header)]
    contents = [line[CSV_COLUMNS.index("content_sha256")] for line in lines]
    twice = [content for content, count in Counter(contents).items() if count > 1]
    return contents, [*problems, *(f"{path.name} has {content} twice" for content in twice)]
