"""Kill the watch service at random moments while files arrive; at the end nothing is lost, and nothing is there twice.

    python benchmarks/watch_kill.py [--files 2000] [--kills 200] [--seed 1] [--data FOLDER] [--keep FOLDER] [--json]

Files arrive in several folders: written at once, copied slowly, copied into reserved space, renamed from temporary
names, moved in, anew under an old name, completed after they were reported as incomplete, and again under other names,
whether the service lives or not; good images, truncated, mutated and hostile files, and files that are no images. Real
radiographs from FOLDER ($CXR_EDGE_DATA, else ../shared/data; `--data none` for none) and others made in code.

Meanwhile a `cxr-edge watch` process is started and killed (SIGKILL, it alone), over and over: in the moment of its
start, in the midst of work, while it writes a file, anywhere. After each kill:

    results      that stood there once still do, not written again; new ones are whole
    daily CSV    no half line, none lost, none twice
    processes    its decoding processes end by themselves, within 10 s

After the last kill it runs in peace, ends by SIGTERM with exit code 0, and runs once more, which changes nothing. Then:
one result for each content that ever arrived whole, which says what `cxr-edge classify` says, and one line in a daily
CSV; every rejected content one rejection; nothing of a file that was still being copied; the ledger agrees, and so do
the studies; every input is as it was, or moved as asked; no temporary file is left anywhere. What `end_of_content` says
is cut must be rejected as truncated, whether a decoder can read it or not.

All of it twice, first with files left where they are, then with `--after` moving done files on their own volume and
rejected ones to another one (/dev/shm), each with half of files and kills. Exit status 1 where anything is not so.
Linux only.
"""

import argparse
import contextlib
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from load import describe_load
from machine import print_table, write_result
from watch_checks import Row, Verdict, classify_all
from watch_content import Contents
from watch_feed import Feeder
from watch_killer import Killer, last_words
from watch_witness import Witness
from watched import QUICK, Scene, processes, stop

REPOSITORY: Final = Path(__file__).resolve().parent.parent
INCOMPLETE_AFTER_S: Final = 10
OPTIONS: Final = (*QUICK, "--incomplete-after", str(INCOMPLETE_AFTER_S), "--study-timeout", "2")
PROGRESS_S: Final = 180.0  # without any: the last run has lost something
_FILES_AND_WORK: Final = """
SELECT (SELECT count(*) FROM files), (SELECT count(*) FROM files WHERE state = 'incomplete'),
    (SELECT count(*) FROM files WHERE state IN ('seen', 'claimed')) + (SELECT count(*) FROM studies WHERE dirty > 0)
"""


@dataclass(frozen=True, slots=True)
class Ended:
    """A service that was killed, and ended in peace.

    Attributes:
        feeder: what arrived.
        expected: SHA-256 of each content -> what `cxr-edge classify` says of it.
        said: what happened, for the table.
        problems: one line for each thing that is not as it must be.
    """

    feeder: Feeder
    expected: Mapping[str, Row]
    said: dict[str, Any]
    problems: list[str]


def main() -> int:
    """Run both, print, and 1 where something is not as it must be."""
    options = _options()
    load, mark = describe_load(), f"kill-{os.urandom(6).hex()}"
    runs: dict[str, Ended] = {}
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="cxr-edge-") as name, _elsewhere() as other:
        root = options.keep or Path(name)
        for moves in (False, True):
            kind = "moved" if moves else "left"
            where = (root / kind / "done", Path(other) / kind / "rejected") if moves else (None, None)
            scene = Scene(root / kind, OPTIONS, *where)
            files, kills = options.files // 2, options.kills // 2
            runs[kind] = run(scene, files=files, kills=kills, seed=options.seed + moves, data=options.data, mark=mark)
    problems = [f"{kind}: {problem}" for kind, ended in runs.items() for problem in ended.problems]
    names = dict.fromkeys(name for ended in runs.values() for name in ended.said)
    print_table([{"": name, **{kind: ended.said.get(name, 0) for kind, ended in runs.items()}} for name in names])
    print(*(problems[:50] or ["nothing lost, nothing twice, nothing half written"]), sep="\n")
    seconds, loads = time.monotonic() - began, f"{load} before, {describe_load()} after"
    print(f"seed {options.seed}: {len(problems)} problems, {seconds:.0f} s; load: {loads}")
    if options.json:
        wanted = {"files": options.files, "kills": options.kills, "seed": options.seed}
        said = {kind: ended.said for kind, ended in runs.items()}
        found = {"seconds": round(seconds), "load": loads, "runs": said, "problems": problems}
        write_result("watch_kill", {**wanted, **found})
    return int(bool(problems))


def _options() -> argparse.Namespace:
    if not Path("/proc/self/environ").is_file():
        sys.exit("this benchmark finds processes in /proc, which this system does not have")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    default = os.environ.get("CXR_EDGE_DATA", REPOSITORY.parent / "shared" / "data")
    parser.add_argument("--data", type=Path, default=Path(default))
    parser.add_argument("--keep", type=Path, help="a new folder, for all that was made")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.files < 2 or options.kills < 2:
        parser.error("--files and --kills: at least 2, half of them for each run")
    return options


def _elsewhere() -> tempfile.TemporaryDirectory[str]:
    memory = Path("/dev/shm")  # noqa: S108 - a volume that needs no right to mount
    return tempfile.TemporaryDirectory(prefix="cxr-edge-", dir=memory if os.access(memory, os.W_OK) else None)


def run(scene: Scene, *, files: int, kills: int, seed: int, data: Path, mark: str) -> Ended:
    """Feed and kill one service, let it finish in peace, and judge."""
    rng = random.Random(f"kill:{seed}")  # noqa: S311 - a seed makes every run repeatable
    mark = f"{mark}-{seed}-"
    killer, witness = Killer(scene, rng), Witness(scene)

    def is_decided(content: str, relative: str) -> bool:
        is_owed = scene.done is not None and relative and (scene.inbox / relative).exists()
        return (scene.outbox / f"{content}.json").exists() and not is_owed

    with Feeder(scene.inbox, is_decided, Contents(seed, data), seed) as feeder:
        for number in range(kills):
            feeder.allow(files * (number + 1) // kills)
            killer.start_and_kill(f"{mark}{number}.")
            witness.look(f"after kill {number}")
            feeder.is_done()  # raises what went wrong with it
            if rng.random() < 0.5:
                killer.wait_for_orphans(f"{mark}{number}.")
                time.sleep(rng.uniform(0, 0.5))  # files arrive, and nobody is there
        _end_in_peace(scene, feeder, mark, killer)
        ways = dict(feeder.ways)
    witness.look("at the end")
    _run_once_more(scene, mark, killer)
    witness.look("after one more run")
    expected = classify_all(scene.root / "classified", feeder.contents)
    verdict = Verdict(scene, feeder, expected)
    if left := processes(mark):
        killer.problems.append(f"{len(left)} processes were left")
    said = {**verdict.counts(), **killer.said(), **{f"arrived {way}": ways[way] for way in sorted(ways)}}
    return Ended(feeder, expected, said, [*killer.problems, *witness.problems, *verdict.problems()])


def _end_in_peace(scene: Scene, feeder: Feeder, mark: str, killer: Killer) -> None:
    """The last run: until nothing is left to do but to bring the CSV up to date, then SIGTERM."""
    service = scene.start(f"{mark}last.")
    try:
        results, since = -1, time.monotonic()
        while service.poll() is None and not (feeder.is_done() and _is_settled(scene, feeder)):
            if (now := sum(1 for _ in scene.outbox.iterdir())) != results:
                results, since = now, time.monotonic()
            if time.monotonic() - since > PROGRESS_S:
                killer.problems.append(f"the last run did nothing for {PROGRESS_S:g} s; its health: {scene.health()}")
                break
            time.sleep(0.2)
    finally:
        code = stop(service)
    if code != 0:
        killer.problems.append(f"the last run ended with {code}, not 0: {last_words(scene)}")
    killer.wait_for_orphans(mark)


def _is_settled(scene: Scene, feeder: Feeder) -> bool:
    """Whether every content has its result, and every file its place in ledger and folders."""
    if not all((scene.outbox / f"{content}.json").exists() for content in feeder.contents):
        return False
    with contextlib.closing(sqlite3.connect(f"file:{scene.state}/ledger.sqlite?mode=ro", uri=True)) as ledger:
        files, incomplete, undone = ledger.execute(_FILES_AND_WORK).fetchone()
    is_moved = scene.done is None or len(feeder.in_the_inbox()) == incomplete
    return undone == 0 and files == len({file.relative for file in feeder.delivered}) and is_moved


def _run_once_more(scene: Scene, mark: str, killer: Killer) -> None:
    """A run over what is done already writes nothing."""
    before = _listing(scene.outbox)
    service = scene.start(f"{mark}again.", "--once")
    try:
        code = service.wait(PROGRESS_S)
    except subprocess.TimeoutExpired:
        service.kill()
        code = service.wait()
    if code != 0 or _listing(scene.outbox) != before:
        killer.problems.append(f"one more run ended with {code}, and changed {_listing(scene.outbox) ^ before}")
    killer.wait_for_orphans(mark)


def _listing(folder: Path) -> set[tuple[str, int, int]]:
    files = (path for path in folder.iterdir() if not path.name.startswith("."))
    return {(path.name, path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


if __name__ == "__main__":
    sys.exit(main())
