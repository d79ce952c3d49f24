"""Feed the package mutated files: nothing but `CxrEdgeError` or a `Rejection` may come out, soon, in steady memory.

    python benchmarks/fuzz.py [--cases 20000] [--seed 1] [--data FOLDER] [--keep FOLDER] [--json]
    python benchmarks/fuzz.py --seed 1 --only 4711 --keep FOLDER        # one case again, its bytes kept

Each case goes through `Preparer.prepare`: read, decode, gate, preprocess; one in ten as a pydicom Dataset. The cases
run in a child process that is started again behind a crash or a hang, so that both are findings and not the end:

    exception   anything but a CxrEdgeError, or a rejection for an `internal` reason
    slow        over 5 s
    crash       the child died; `hang`: it gave no answer for 30 s and was killed
    printed     something was written to standard output or standard error; lines of libtiff, which Pillow cannot
                silence, are counted only
    memory      the child's resident memory grew by more than 32 MB between a quarter and the end of its cases

A case depends on --seed, its index and the seed files: those made in code and, where FOLDER is there, real ones; by
default $CXR_EDGE_DATA, else ../shared/data beside the repository; `--data none` for none. Exit status 1 on any finding.
"""

import argparse
import contextlib
import ctypes
import gc
import io
import json
import os
import re
import subprocess
import sys
import threading
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from queue import Empty, Queue
from typing import Any, Final

from machine import print_table, write_result
from mutations import DEFLATED, TARGETS, TEXTS, Mutator, real_files

REPOSITORY: Final = Path(__file__).resolve().parent.parent
SLOW_SECONDS: Final = 5.0
HANG_SECONDS: Final = 30.0
MOST_GROWTH_MB: Final = 32.0
MEMORY_EVERY: Final = 250
AS_DATASET: Final = 1 / 10
# libtiff begins its lines with the function that complains
LIBTIFF: Final = re.compile(
    r"(_?TIFF|JPEG|Fax[34]|ZIP|LZW|ZSTD|LZMA|PackBits|PixarLog|LogLuv|MissingRequired|EstimateStrip|tempfile\.tif)\w*: "
)
Finding = dict[str, Any]


def main() -> int:
    """Run, print, and 1 on any finding."""
    options = _options()
    if options.child:
        _child(options)
        return 0
    began = time.perf_counter()
    findings, outcomes, memory, libtiff_lines = _run(options)
    for finding in findings[:20]:
        print(f"case {finding['case']}: {finding['kind']}: {finding['what']}")
    print_table([{"outcome": name, "cases": count} for name, count in outcomes.most_common()])
    cases = sum(outcomes.values())
    print(f"{cases:,} cases of seed {options.seed} in {time.perf_counter() - began:.0f} s: {len(findings)} findings")
    print(f"resident memory: {_shown(memory)}; lines printed by libtiff: {libtiff_lines}")
    _keep(options, findings)
    if options.json:
        result = {"seed": options.seed, "cases": cases, "findings": findings, "outcomes": outcomes, "rss_mb": memory}
        result["lines_printed_by_libtiff"] = libtiff_lines
        write_result("fuzz", {**result, "real_seed_files": len(real_files(options.data))})
    return int(bool(findings))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--only", type=int, help="index of the only case to run")
    default = os.environ.get("CXR_EDGE_DATA", REPOSITORY.parent / "shared" / "data")
    parser.add_argument("--data", type=Path, default=Path(default))
    parser.add_argument("--keep", type=Path, help="folder for the bytes of failing cases")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only is not None:
        options.first, options.cases = options.only, 1
    return options


# -- the parent ------------------------------------------------------------------------------------------------------


def _run(options: argparse.Namespace) -> tuple[list[Finding], Counter[str], list[tuple[int, float]], int]:
    findings: list[Finding] = []
    outcomes: Counter[str] = Counter()
    memory: list[tuple[int, float]] = []
    libtiff_lines = 0
    at, end = options.first, options.first + options.cases
    while at < end:
        own: list[tuple[int, float]] = []
        for message in _messages(options, at, end):
            libtiff_lines += message.get("libtiff_lines", 0)
            if "rss_mb" in message:
                own.append((message["case"], message["rss_mb"]))
            if "kind" in message:
                findings.append(message)
            outcome = message.get("outcome") or (message["kind"] if message.get("kind") in ("crash", "hang") else None)
            if outcome:  # the case is done, dead or alive
                outcomes[outcome] += 1
                at = message["case"] + 1
                _progress(at - options.first, options.cases, len(findings))
        findings += _growth(own)
        memory += own
    return findings, outcomes, memory, libtiff_lines


def _messages(options: argparse.Namespace, at: int, end: int) -> Iterator[dict[str, Any]]:
    """What one child says, from case `at`; where it dies or hangs, the case it was at."""
    command = [sys.executable, __file__, "--child", "--seed", str(options.seed), "--data", str(options.data)]
    command += ["--first", str(at), "--cases", str(end - at)]
    lines: Queue[str | None] = Queue()
    # glibc: large blocks stay out of the heap, so that its holes are not taken for growth
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "131072"}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment) as child:
        printed: list[str] = []
        threads = [
            threading.Thread(target=_read, args=(child.stdout, lines)),
            threading.Thread(target=lambda: printed.append(child.stderr.read() if child.stderr else "")),
        ]
        for thread in threads:
            thread.start()
        kind = "crash"
        while True:
            try:
                line = lines.get(timeout=HANG_SECONDS)
            except Empty:
                kind = "hang"
                child.kill()
                break
            if line is None:
                break
            message: dict[str, Any] = json.loads(line)
            yield message
            at = message["case"] + 1 if "outcome" in message else at
        code = child.wait()
        for thread in threads:
            thread.join()
    lines_printed = [line for line in printed[0].splitlines() if line]
    others = [line for line in lines_printed if not LIBTIFF.match(line)]
    if at < end:
        yield {"case": at, "kind": kind, "what": f"exit status {code}; {' '.join(others)[-300:]}"}
    elif others:
        yield {"case": at, "kind": "printed", "what": " ".join(others)[:300]}
    yield {"case": at, "libtiff_lines": len(lines_printed) - len(others)}


def _read(stream: Any, lines: "Queue[str | None]") -> None:  # noqa: ANN401 - a text stream, or None
    for line in stream:
        lines.put(line)
    lines.put(None)


def _growth(memory: list[tuple[int, float]]) -> list[Finding]:
    if len(memory) < 8:
        return []
    early, late = memory[len(memory) // 4][1], memory[-1][1]
    if late - early <= MOST_GROWTH_MB:
        return []
    return [{"case": memory[-1][0], "kind": "memory", "what": f"{early:.0f} MB at a quarter, {late:.0f} MB at the end"}]


def _shown(memory: list[tuple[int, float]]) -> str:
    if not memory:
        return "not measured"
    marks = {share: memory[min(len(memory) - 1, len(memory) * share // 100)][1] for share in (0, 25, 50, 75, 100)}
    return ", ".join(f"{share} %: {megabytes:.0f} MB" for share, megabytes in marks.items())


def _progress(done: int, cases: int, findings: int) -> None:
    if sys.stderr.isatty() and (done % 100 == 0 or done == cases):
        print(f"\r{done:,} of {cases:,} cases, {findings} findings", end="\n" if done == cases else "", file=sys.stderr)


def _keep(options: argparse.Namespace, findings: list[Finding]) -> None:
    if options.keep is None:
        return
    mutator = _mutator(options)
    options.keep.mkdir(parents=True, exist_ok=True)
    for index in {finding["case"] for finding in findings} | ({options.only} - {None}):
        (options.keep / f"seed{options.seed}-case{index}.bin").write_bytes(mutator.make(index))


def _mutator(options: argparse.Namespace) -> Mutator:
    from seeds import seed_files

    return Mutator(options.seed, seed_files(), real_files(options.data))


# -- the child -------------------------------------------------------------------------------------------------------


def _child(options: argparse.Namespace) -> None:
    from cxr_edge.prepare import Preparer

    sys.path.insert(0, str(REPOSITORY / "tests"))
    from contracts import make_contract

    messages = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever prints to standard output is heard with standard error
    preparer = Preparer(make_contract(), "warn")
    mutator = _mutator(options)
    for index in range(options.first, options.first + options.cases):
        for message in _case(preparer, mutator, index):
            messages.write(json.dumps({"case": index, **message}) + "\n")
        if index % MEMORY_EVERY == 0 and (rss := _rss_mb()) is not None:
            messages.write(json.dumps({"case": index, "rss_mb": rss}) + "\n")


def _case(preparer: Any, mutator: Mutator, index: int) -> Iterator[Finding]:  # noqa: ANN401 - imported on use
    from cxr_edge.errors import CxrEdgeError, EnvironmentUnusable
    from cxr_edge.types import Rejection

    data = mutator.make(index)
    rng = mutator.rng(index)
    image = _as_dataset(data, rng) if rng.random() < AS_DATASET else None
    began = time.perf_counter()
    try:
        result = preparer.prepare(data if image is None else image)
        outcome = result.reason.value if isinstance(result, Rejection) else "prepared"
        message = result.message if isinstance(result, Rejection) else ""
        if outcome == "internal":
            yield {"kind": "exception", "what": message}
    except EnvironmentUnusable as error:
        outcome = type(error).__name__
        yield {"kind": "exception", "what": repr(error)}
    except CxrEdgeError as error:
        outcome = type(error).__name__
    except BaseException as error:  # noqa: BLE001 - that is what is looked for
        outcome = "exception"
        yield {"kind": "exception", "what": _where(error)}
    seconds = time.perf_counter() - began
    if seconds > SLOW_SECONDS:
        yield {"kind": "slow", "what": f"{outcome} after {seconds:.1f} s"}
    yield {"outcome": outcome}


def _as_dataset(data: bytes, rng: Any) -> Any:  # noqa: ANN401 - random.Random; a pydicom Dataset or None
    """What pydicom makes of a case, some values replaced by hostile ones; None where it cannot read it."""
    from pydicom import dcmread
    from pydicom.config import IGNORE
    from pydicom.datadict import dictionary_VR
    from pydicom.dataelem import DataElement

    if DEFLATED in data[:1024]:  # pydicom itself, asked here, would inflate a bomb
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = dcmread(io.BytesIO(data), force=True)
            for tag in rng.sample(TARGETS, rng.randrange(4)):
                vr = dictionary_VR(tag).split(" or ")[0]
                values: tuple[Any, ...] = (
                    None,
                    -1,
                    0,
                    1.5,
                    2**40,
                    "",
                    "x",
                    [1, 2, 3],
                    [],
                    b"\xff\xff",
                    TEXTS[rng.randrange(len(TEXTS))],
                )
                dataset[tag] = DataElement(tag, vr, rng.choice(values), validation_mode=IGNORE)
    except Exception:  # noqa: BLE001 - pydicom's own, before our code is asked
        return None
    return dataset


def _where(error: BaseException) -> str:
    import traceback

    last = traceback.extract_tb(error.__traceback__)[-3:]
    return f"{error!r} at " + " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in reversed(last))


def _rss_mb() -> float | None:
    status = Path("/proc/self/status")
    if not status.is_file():
        return None
    gc.collect()
    with contextlib.suppress(AttributeError):  # glibc only: what was freed goes back, so that what stays is a leak
        ctypes.CDLL(None).malloc_trim(0)
    return int(status.read_text(encoding="ascii").split("VmRSS:")[1].split()[0]) / 1024


if __name__ == "__main__":
    sys.exit(main())
