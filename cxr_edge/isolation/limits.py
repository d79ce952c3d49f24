"""What a decoding process may take: time by its parent's clock, memory as the platform can limit it."""

import sys
from dataclasses import dataclass
from typing import Any

from cxr_edge.errors import UsageError

MOST_SECONDS = 24 * 3600.0
MOST_MEMORY_BYTES = 2**44
MOST_PROCESSES = 64
LEAST_MEMORY_BYTES = 256 * 2**20  # leaves room for every decoder and an ordinary radiograph
NO_LIMIT = "none"
OUT_OF_MEMORY = 77  # exit code of a process that had not even enough to say so


@dataclass(frozen=True, slots=True, kw_only=True)
class IsolationLimits:
    """How much a decoder may take before it costs its image, and only its image.

    Attributes:
        seconds: for reading, decoding and preprocessing one image, from when a process is ready for it; at most a day.
        memory_bytes: private memory of one process, 256 MiB to 16 TiB; where the system has no such limit, none is
            applied.
        processes: at most so many, up to 64; None for the CPUs of this process, at most 4.
    """

    seconds: float = 60.0
    memory_bytes: int = 2 * 2**30
    processes: int | None = None

    def __post_init__(self) -> None:
        """Refuse limits under which nothing could be decoded.

        Raises:
            UsageError: no number, or one out of its range.
        """
        seconds: Any = self.seconds
        memory, processes = self.memory_bytes, self.processes
        is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
        if not is_number or not 0 < seconds <= MOST_SECONDS:  # neither infinity nor a NaN is
            message = f"isolation of {seconds!r} seconds; need more than 0, and at most {MOST_SECONDS:g}"
            raise UsageError(message)
        if not _is_whole(memory, LEAST_MEMORY_BYTES, MOST_MEMORY_BYTES):
            message = f"isolation with {memory!r} bytes of memory; need {LEAST_MEMORY_BYTES} to {MOST_MEMORY_BYTES}"
            raise UsageError(message)
        if processes is not None and not _is_whole(processes, 1, MOST_PROCESSES):
            message = f"isolation in {processes!r} processes; need 1 to {MOST_PROCESSES}"
            raise UsageError(message)


def _is_whole(number: object, least: int, most: int) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and least <= number <= most


def limit_own_memory(memory_bytes: int) -> str:
    """Limit the calling process, and see to it that a crash writes no memory to the disk: it could show a patient.

    Linux limits what a process writes to (RLIMIT_DATA; RLIMIT_AS would count mapped libraries and reserved addresses
    too). macOS enforces neither. On Windows the parent does it, with a job object.

    Returns:
        The limit's name, or `none`.
    """
    if sys.platform == "win32":
        return NO_LIMIT
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
    if not sys.platform.startswith("linux"):
        return NO_LIMIT
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    allowed = memory_bytes if hard == resource.RLIM_INFINITY else min(memory_bytes, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (allowed, allowed))
    return "RLIMIT_DATA"
