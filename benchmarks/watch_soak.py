"""The watch service over a long time with a new file every half second: does memory or the number of handles grow?"""

import heapq
import io
import itertools
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from machine import print_table
from PIL import Image
from seeds import seed_files
from watched import Scene, Usage, stop, usage

from cxr_edge.phantom import chest_phantom, phantom_dicom

OPTIONS: Final = ("--poll-interval", "1", "--settle", "0.5", "--incomplete-after", "20", "--study-timeout", "10")
EVERY_S, SAMPLE_S, MINUTE_S = 0.5, 5.0, 60.0
WARM_UP_MINUTES: Final = 5.0
WANTED_GROWTH: Final = 0.05
WANTED_HANDLES: Final = 8  # more than before, at most: pipes of a decoding process come and go
COMMENT: Final = b"\xff\xfe\x00\x12"  # a JPEG's COM segment (ISO/IEC 10918-1 B.2.4.5) of 16 bytes


def soak(root: Path, minutes: float) -> dict[str, Any]:
    """Feed for so long, print a line each minute, and say what grew.

    Memory and handles are the largest of several readings: of the five minutes after the warm-up, and of the last five.
    """
    scene = Scene(root / "soak", OPTIONS)
    mark, arrivals = f"soak-{os.urandom(6).hex()}", _arrivals()
    service = scene.start(mark)
    began = time.monotonic()
    samples: list[tuple[float, Usage]] = []
    rows: list[dict[str, str]] = []
    due = [(began, 0, "file"), (began + SAMPLE_S, 1, "sample"), (began + MINUTE_S, 2, "minute")]
    steps = {"file": EVERY_S, "sample": SAMPLE_S, "minute": MINUTE_S}
    try:
        while (at := due[0][0]) <= began + 60 * minutes and service.poll() is None:
            time.sleep(max(0.0, at - time.monotonic()))
            _, order, what = due[0]
            heapq.heapreplace(due, (at + steps[what], order, what))
            if what == "file":
                name, data = next(arrivals)
                (scene.inbox / name).write_bytes(data)
            elif what == "sample":
                samples.append(((time.monotonic() - began) / 60, usage(mark, service.pid)))
            else:
                rows.append(_row(samples[-1], scene))
                print("  ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
    finally:
        code = stop(service)
    return _judged(samples, rows, minutes, code)


def _arrivals() -> Iterator[tuple[str, bytes]]:
    """Names and contents without end, no two alike: JPEG and DICOM, one in ten cut short, one in twenty hostile."""
    rng = random.Random(1)  # noqa: S311 - every run gets the same
    jpegs, dicoms, hostile = [_jpeg(seed) for seed in range(8)], [_dicom(seed) for seed in range(8)], seed_files()
    for number in itertools.count():
        serial = f"{number:014d}".encode()
        whole = rng.random() < 0.7
        if whole:
            jpeg = rng.choice(jpegs)
            data = jpeg[:2] + COMMENT + serial + b"  " + jpeg[2:]
        else:
            before, after = rng.choice(dicoms)
            data = before + serial + after
        chance = rng.random()
        if chance < 0.05:
            data = rng.choice(hostile) + serial
        elif chance < 0.15:
            data = data[: rng.randrange(30, len(data))]
        yield f"{number:08d}.{'jpeg' if whole else 'dcm'}", data


def _jpeg(seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(chest_phantom(1200, 1000, seed=seed)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _dicom(seed: int) -> tuple[bytes, bytes]:
    """A DICOM file in two parts, between which fourteen digits of its SOP Instance UID are wanted."""
    data = phantom_dicom(rows=600, columns=500, seed=seed)
    marker = b"\x08\x00\x18\x00UI"  # (0008,0018) SOP Instance UID, explicit little endian: PS3.5 7.1.2
    at = data.index(marker) + len(marker) + 2 + len("2.25.") + 1
    return data[:at], data[at + 14 :]


def _row(sample: tuple[float, Usage], scene: Scene) -> dict[str, str]:
    minute, held = sample
    health = scene.health()
    counts = health.get("counts", {})
    return {
        "minute": f"{minute:.1f}",
        "RSS MB": f"{held.rss_mb:.1f}",
        "decoders": f"{held.rss_of_children_mb:.1f}",
        "handles": str(held.handles),
        "processes": str(held.processes),
        "classified": str(counts.get("classified", 0)),
        "rejected": str(counts.get("rejected", 0)),
        "waiting": str(health.get("waiting", 0)),
    }


def _judged(
    samples: list[tuple[float, Usage]], rows: list[dict[str, str]], minutes: float, code: int
) -> dict[str, Any]:
    warm = min(WARM_UP_MINUTES, minutes / 3)
    early = _most([held for minute, held in samples if warm <= minute < 2 * warm])
    late = _most([held for minute, held in samples if minute >= minutes - warm])
    growth = {name: late[name] / early[name] - 1 for name in ("RSS MB", "RSS MB with decoders")}
    more_handles = late["handles"] - early["handles"]
    print_table([{"": "after the warm-up", **_shown(early)}, {"": "at the end", **_shown(late)}])
    missed = [f"{name} grew by {share:.1%}" for name, share in growth.items() if share >= WANTED_GROWTH]
    missed += [f"{more_handles:.0f} handles more"] if more_handles > WANTED_HANDLES else []
    missed += [f"the service ended with {code}"] if code else []
    return {"minutes": minutes, "rows": rows, "early": early, "late": late, "growth": growth, "missed": missed}


def _most(part: list[Usage]) -> dict[str, float]:
    """The largest of each."""
    return {
        "RSS MB": max(held.rss_mb for held in part),
        "RSS MB with decoders": max(held.rss_mb + held.rss_of_children_mb for held in part),
        "handles": max(held.handles for held in part),
    }


def _shown(most: dict[str, float]) -> dict[str, str]:
    return {name: f"{value:.1f}" for name, value in most.items()}
