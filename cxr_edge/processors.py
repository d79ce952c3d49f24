"""How much of the machine this process may use."""

import os

MAX_DEFAULT_THREADS = 4


def available_threads() -> int:
    """How many threads inference takes unless told otherwise: the CPUs this process may use, at most 4."""
    affinity = getattr(os, "sched_getaffinity", None)  # absent on Windows and macOS
    cpus = len(affinity(0)) if affinity else os.cpu_count() or 1
    return min(cpus, MAX_DEFAULT_THREADS)
