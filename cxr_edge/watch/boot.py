"""Whether the machine was restarted: the monotonic clock begins again then, and what it told before says nothing."""

import time
from pathlib import Path
from typing import Final

TOLERANCE_S: Final = 60.0  # a clock that is set by more than that counts as a restart, which only costs some waiting
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


def boot_mark(boot_id: Path = _BOOT_ID) -> str:
    """What this run of the machine is known by: the kernel's id of it, else the time in s at which it began."""
    try:
        found = boot_id.read_text(encoding="ascii").strip()
    except (OSError, ValueError):  # Windows, macOS
        found = ""
    return f"id {found}" if found else f"at {time.time() - time.monotonic():.0f}"


def is_same_boot(one: str, other: str) -> bool:
    """Whether two marks are of one run of the machine."""
    (kind, _, first), (other_kind, _, second) = one.partition(" "), other.partition(" ")
    if kind != other_kind or kind != "at":
        return one == other
    try:
        return abs(float(first) - float(second)) <= TOLERANCE_S
    except ValueError:
        return False
