"""What must hold when a watch service has ended in peace, however often it was killed before: `watch_kill.py`."""

import contextlib
import hashlib
import json
import re
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from watch_feed import OWN, Delivered, Feeder
from watch_witness import RESULT, read_csv
from watched import Scene, environment

from cxr_edge.watch.arrival import end_of_content
from cxr_edge.watch.belonging import MARK_NAME
from cxr_edge.watch.keys import Keys
from cxr_edge.watch.lock import LOCK_NAME

Row = dict[str, Any]
STAYS_IN_OUTBOX: Final = re.compile(
    r"[0-9a-f]{64}\.json|results-\d{4}-\d\d-\d\d\.csv|study-[0-9a-f]{32}\.json|\.cxr-edge-watch\.(lock|id)"
)
STAYS_IN_STATE: Final = re.compile(
    r"salt|ledger\.sqlite|(health|inbox|belongs)\.json|folder-[0-9a-f]{16}\.json|\.cxr-edge-watch\.lock"
)
DECIDED_BY: Final = ("label", "probabilities", "score", "positive", "operating_point", "rendering", "model")
CONFLICT: Final = "sop_instance_uid_conflict"
ENDED: Final = "the service ended"  # begins the message for a file that too many runs ended over
NO_ROW = object()
_FILES: Final = "SELECT key, state, content FROM files"
_CONTENTS: Final = "SELECT content, state, in_csv FROM contents"
_STUDIES: Final = "SELECT study, count(*) FROM contents WHERE study IS NOT NULL GROUP BY study"
_CONFLICTS: Final = "SELECT min(content) FROM contents WHERE instance IS NOT NULL GROUP BY instance HAVING count(*) > 1"


def classify_all(folder: Path, contents: Mapping[str, bytes]) -> dict[str, Row]:
    """What `cxr-edge classify` says of each content, in one run: SHA-256 in hex -> row."""
    folder.mkdir()
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    rows = folder.parent / "classified.jsonl"
    command = [sys.executable, "-m", "cxr_edge", "classify", str(folder), "--output", str(rows), "--provider", "cpu"]
    ran = subprocess.run(command, check=False, capture_output=True, text=True, env=environment(folder.parent))
    if ran.returncode not in (0, 3):
        message = f"classify ended with {ran.returncode}: {ran.stderr[-500:]}"
        raise RuntimeError(message)
    found = [json.loads(line) for line in rows.read_text(encoding="utf-8").splitlines()]
    shutil.rmtree(folder)
    return {row["source"]["content_sha256"]: row for row in found if row["kind"] == "image"}


class Verdict:
    """Everything that must hold when a service has ended in peace."""

    def __init__(self, scene: Scene, feeder: Feeder, expected: Mapping[str, Row]) -> None:
        """Read results, CSV lines and ledger once."""
        self._scene, self._feeder, self._expected = scene, feeder, expected
        self._rows: dict[str, Row] = {
            match[1]: json.loads(path.read_bytes())
            for path in scene.outbox.iterdir()
            if (match := RESULT.fullmatch(path.name))
        }
        self._last = [file for file in feeder.delivered if file.is_last]
        with contextlib.closing(sqlite3.connect(f"file:{scene.state}/ledger.sqlite?immutable=1", uri=True)) as ledger:
            select = ledger.execute
            self._files = {key: (state, content) for key, state, content in select(_FILES)}
            self._known = {content.hex(): (state, in_csv) for content, state, in_csv in select(_CONTENTS)}
            self._tallies = dict(select("SELECT state, n FROM tallies").fetchall())
            self._studies = dict(select(_STUDIES).fetchall())
            self._conflicts = [content.hex() for (content,) in select(_CONFLICTS)]
            self._dirty = select("SELECT count(*) FROM studies WHERE dirty > 0").fetchone()[0]
            self._integrity = select("PRAGMA integrity_check").fetchall()
        self._keys = Keys.open(scene.state)

    def counts(self) -> dict[str, int]:
        """For the table."""
        rows = self._rows.values()
        return {
            "files delivered": len(self._feeder.delivered),
            "contents": len(self._feeder.contents),
            "classified": sum(row["status"] == "classified" for row in rows),
            "rejected": sum(row["status"] == "rejected" for row in rows),
            "files incomplete": sum(state == "incomplete" for state, _ in self._files.values()),
            "ended too many runs": sum(_is_given_up(row) for row in rows),
            "studies": sum(1 for path in self._scene.outbox.glob("study-*.json")),
        }

    def problems(self) -> list[str]:
        """One line for each thing that is not as it must be."""
        checks = (self._results, self._decisions, self._csv, self._ledger, self._study_rows, self._inputs, self._names)
        return [problem for check in checks for problem in check()]

    def _results(self) -> Iterator[str]:
        wanted, found = set(self._feeder.contents), set(self._rows)
        kinds = {file.sha256: file.kind for file in self._feeder.delivered}
        yield from (f"lost: {content}, {kinds[content]}, has no result" for content in sorted(wanted - found))
        yield from (
            f"{content} has a result, but no such file ever arrived whole" for content in sorted(found - wanted)
        )
        paths: dict[str, set[str]] = {}
        for file in self._feeder.delivered:
            paths.setdefault(file.sha256, set()).add(str(self._scene.inbox / file.relative))
        for content in wanted & found:
            if self._rows[content]["source"]["path"] not in paths[content]:
                yield f"{content} names a path that it never had"

    def _decisions(self) -> Iterator[str]:
        for content, row in self._rows.items():
            data, said = self._feeder.contents.get(content), self._expected.get(content)
            if data is None:
                continue
            if said is None:
                yield f"{content}: classify gave no row"
            elif end_of_content(data) is not None:  # classify reads what is there
                if row["status"] != "rejected" or row["reason"]["code"] != "truncated":
                    yield f"{content} is not whole, and was not rejected for it"
            elif not _is_given_up(row) and (differs := list(_differences(row, said))):
                yield f"{content} differs from what classify says in {', '.join(differs)}"
            elif _is_given_up(row) and said["status"] == "classified":
                yield f"{content} can be classified, and was given up"

    def _csv(self) -> Iterator[str]:
        lines: Counter[str] = Counter()
        for path in self._scene.outbox.glob("results-*.csv"):
            contents, problems = read_csv(path)
            lines.update(contents)
            yield from problems
        yield from (f"{content} has {count} CSV lines" for content, count in lines.items() if count > 1)
        yield from (f"{content} has no CSV line" for content in self._rows.keys() - lines.keys())
        yield from (f"{content} has a CSV line and no result" for content in lines.keys() - self._rows.keys())

    def _ledger(self) -> Iterator[str]:
        if self._integrity != [("ok",)]:
            yield f"the ledger is damaged: {self._integrity[:1]}"
        for file in self._last:
            state, content = self._state_of(file)
            row = self._rows.get(file.sha256)
            if (content or b"").hex() != file.sha256 or row is None or state not in _states_of(row):
                yield f"the ledger has {state} for a file of {file.sha256}, {file.kind}"
        for content, (state, in_csv) in self._known.items():
            if self._rows.get(content, {}).get("status") != state or not in_csv:
                yield f"the ledger has {state}, in CSV {in_csv}, for content {content}"
        yield from (f"the ledger does not know {content}" for content in self._rows.keys() - self._known.keys())
        states = Counter(state for state, _ in self._files.values())
        if {state: n for state, n in self._tallies.items() if n} != dict(states):
            yield f"the ledger's counts are {self._tallies}, and its rows {dict(states)}"
        if len(self._files) != len({file.relative for file in self._last}):
            yield f"the ledger has {len(self._files)} files; {len(self._last)} stand or stood at the end"

    def _study_rows(self) -> Iterator[str]:
        if self._dirty:
            yield f"{self._dirty} studies are not summed up"
        for study, count in self._studies.items():
            path = self._scene.outbox / f"study-{study.hex()}.json"
            if count < 2 and not path.exists():
                continue
            if not path.exists() or json.loads(path.read_bytes())["images"] != count:
                yield f"{path.name} is missing, or does not say {count} images"
        if len(list(self._scene.outbox.glob("study-*.json"))) != sum(count > 1 for count in self._studies.values()):
            yield "there are more studies summed up than there are"
        log = self._scene.log.read_text(encoding="utf-8")
        for content in self._conflicts:
            if f'"content": "{content}", "other"' not in log and f'"other": "{content}"' not in log:
                yield f"the log says nothing of another content with the SOP Instance UID of {content}"

    def _inputs(self) -> Iterator[str]:
        for relative, data in self._feeder.left_alone.items():
            path = self._scene.inbox / relative
            if not path.exists() or path.read_bytes() != data:
                yield f"{relative}, which is nobody's input, was changed"
        there = self._feeder.in_the_inbox()
        moved = {root: [path for path in root.rglob("*") if path.is_file()] for root in self._targets()}
        wanted: Counter[Path] = Counter()
        for file in self._moving_files():
            root = self._target_of(file)
            if root is None:
                path = self._scene.inbox / file.relative
                if path not in there or not _is_as_it_was(path, file):
                    yield f"{file.kind} {file.sha256}: its file is gone from the inbox, or was changed"
                there.discard(path)
            else:
                wanted[root] += 1
                if not any(path.exists() and _hash(path) == file.sha256 for path in _places(root, file)):
                    yield f"{file.kind} {file.sha256} was not moved to {root.name}, or was changed"
        yield from (f"{path} is left in the inbox" for path in sorted(there))
        for root, paths in moved.items():
            if len(paths) != wanted[root]:
                yield f"{len(paths)} files were moved to {root.name}; {wanted[root]} are wanted"

    def _state_of(self, file: Delivered) -> tuple[str, bytes | None]:
        return self._files.get(self._keys.of(file.relative), ("unknown", None))

    def _targets(self) -> Iterator[Path]:
        yield from (root for root in (self._scene.done, self._scene.rejected) if root is not None)

    def _moving_files(self) -> Iterable[Delivered]:
        """What stands at the end; and with `--after`, what was decided under a name that was used again."""
        if not list(self._targets()):
            return self._last
        return [file for file in self._feeder.delivered if file.is_last or file.kind == "good"]

    def _target_of(self, file: Delivered) -> Path | None:
        row = self._rows.get(file.sha256)
        if row is None or self._state_of(file) == ("incomplete", bytes.fromhex(file.sha256)):
            return None
        return self._scene.done if row["status"] == "classified" else self._scene.rejected

    def _names(self) -> Iterator[str]:
        """Nothing half written, nothing of the service's own that a peaceful end removes."""
        for folder, pattern in ((self._scene.outbox, STAYS_IN_OUTBOX), (self._scene.state, STAYS_IN_STATE)):
            for path in folder.rglob("*"):
                if not pattern.fullmatch(path.relative_to(folder).as_posix()):
                    yield f"{folder.name} holds {path.name}"
        for path in self._scene.inbox.rglob(f"{OWN}*"):
            if path.name not in (LOCK_NAME, MARK_NAME):
                yield f"inbox holds {path.name}"
        for root in self._targets():
            for path in root.rglob(".*"):
                yield f"{root.name} holds {path.name}"


def _differences(row: Row, said: Row) -> Iterator[str]:
    if row["status"] != said["status"]:
        yield f"status ({row['status']}, not {said['status']})"
        return
    if row["status"] == "rejected" and row["reason"]["code"] != said["reason"]["code"]:
        yield f"reason ({row['reason']['code']}, not {said['reason']['code']})"
    if row["gate"] != said["gate"]:
        yield "gate"
    yield from (name for name in DECIDED_BY if row.get(name, NO_ROW) != said.get(name, NO_ROW))
    for name in ("sop_instance_uid", "study_instance_uid"):
        if row["source"][name] != said["source"][name]:
            yield name
    warnings = [note for note in row.get("warnings", []) if note["code"] != CONFLICT]
    if warnings != said.get("warnings", []):
        yield "warnings"


def _is_given_up(row: Row) -> bool:
    return bool(row["status"] == "rejected" and row["reason"]["message"].startswith(ENDED))


def _states_of(row: Row) -> tuple[str, ...]:
    return ("done",) if row["status"] == "classified" else ("rejected", "incomplete")


def _is_as_it_was(path: Path, file: Delivered) -> bool:
    return path.stat().st_mtime_ns == file.mtime_ns and _hash(path) == file.sha256


def _places(root: Path, file: Delivered) -> Iterator[Path]:
    """Where a moved file may stand: under its name, or with its hash where that was taken."""
    path = root / file.relative
    yield path
    yield path.with_name(f"{path.stem}-{file.sha256[:12]}{path.suffix}")


def _hash(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
