"""Which processor this is, and how much of it this process may use."""

import os
import platform
from pathlib import Path

MAX_DEFAULT_THREADS = 4
CPU_LISTING = Path("/proc/cpuinfo")
LISTING_CHARACTERS = 16_384  # holds the first processor; machines with many would take milliseconds to read
CPU_FLAGS = ("avx", "avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")


def available_threads() -> int:
    """How many threads inference takes unless told otherwise: the CPUs this process may use, at most 4."""
    affinity = getattr(os, "sched_getaffinity", None)  # absent on Windows and macOS
    cpus = len(affinity(0)) if affinity else os.cpu_count() or 1
    return min(cpus, MAX_DEFAULT_THREADS)


def cpu_name() -> str:
    """What the processor calls itself; the architecture where it does not."""
    for line in _listing().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine()


def cpu_flags() -> tuple[str, ...]:
    """The CPU's instruction sets that decide how INT8 runs; empty where they cannot be told."""
    if listing := _listing():
        words = set(listing.split())
        return tuple(flag for flag in CPU_FLAGS if flag in words)
    import numpy as np

    core = getattr(np, "_core", None)
    features = getattr(getattr(core, "_multiarray_umath", None), "__cpu_features__", {})
    known = {"AVX": "avx", "AVX2": "avx2", "FMA3": "fma", "AVX512F": "avx512f", "AVX512_CLX": "avx512_vnni"}
    known["ASIMDDP"] = "asimddp"
    return tuple(flag for name, flag in known.items() if features.get(name))


def _listing() -> str:
    try:
        with CPU_LISTING.open(encoding="utf-8", errors="replace") as stream:
            return stream.read(LISTING_CHARACTERS)
    except OSError:  # Linux alone has one
        return ""
