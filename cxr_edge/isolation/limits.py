"""What a decoding process may take: time by its parent's clock, memory as the platform can limit it."""

import sys
from dataclasses import dataclass

from cxr_edge.errors import UsageError

LEAST_MEMORY_BYTES = 256 * 2**20  # a process that has imported every decoder and holds no image takes 160 MB
NO_LIMIT = "none"
OUT_OF_MEMORY = 77  # exit code of a process that had not even enough to say so


@dataclass(frozen=True, slots=True, kw_only=True)
class IsolationLimits:
    """How much a decoder may take before it costs its image, and only its image.

    Attributes:
        seconds: for reading, decoding and preprocessing one image, from when a process is ready for it.
        memory_bytes: private memory of one process; where the system has no such limit, none is applied.
        processes: at most so many; None for the CPUs of this process, at most 4.
    """

    seconds: float = 60.0
    memory_bytes: int = 2 * 2**30
    processes: int | None = None

    def __post_init__(self) -> None:
        """Refuse limits under which nothing could be decoded.

        Raises:
            UsageError: no time, too little memory, or no process.
        """
        if not isinstance(self.seconds, int | float) or not isinstance(self.memory_bytes, int):
            message = f"isolation limits are numbers; got {self.seconds!r} seconds and {self.memory_bytes!r} bytes"
            raise UsageError(message)
        if not self.seconds > 0:
            message = f"isolation of {self.seconds:g} seconds; need more than 0"
            raise UsageError(message)
        if self.memory_bytes < LEAST_MEMORY_BYTES:
            message = f"isolation with {self.memory_bytes:,} bytes of memory; need at least {LEAST_MEMORY_BYTES:,}"
            raise UsageError(message)
        if self.processes is not None and not (isinstance(self.processes, int) and self.processes >= 1):
            message = f"isolation in {self.processes} processes; need at least 1"
            raise UsageError(message)


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
