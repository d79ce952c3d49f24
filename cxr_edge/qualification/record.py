"""The memory of passed self-tests: one small file for each combination of model, provider, CPU and libraries."""

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from cxr_edge.errors import OutputError
from cxr_edge.files import write_atomically

MAX_BYTES = 64 * 1024
STATE_VARIABLE = "CXR_EDGE_STATE"
Fingerprint = Mapping[str, str]


def state_folder() -> Path | None:
    r"""Where the package keeps what it knows about this machine; None where the system names no such place.

    `$CXR_EDGE_STATE`, else the platform's folder for state: `~/.local/state/cxr-edge`,
    `%LOCALAPPDATA%\cxr-edge`, `~/Library/Application Support/cxr-edge`.
    """
    if named := os.environ.get(STATE_VARIABLE):
        return Path(named)
    from platformdirs import user_state_path

    try:
        return user_state_path("cxr-edge", appauthor=False)
    except (OSError, RuntimeError, KeyError):  # a service account without a home
        return None


def is_recorded(fingerprint: Fingerprint) -> bool:
    """Whether a self-test of exactly this has passed before."""
    file = _file(fingerprint)
    if file is None:
        return False
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_BYTES:
            return False
        record = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):  # absent, unreadable, no record: test again
        return False
    return bool(record == _record(fingerprint))


def record_pass(fingerprint: Fingerprint) -> None:
    """Remember that a self-test passed; where nothing can be written it is simply run again next time."""
    file = _file(fingerprint)
    if file is None:
        return
    with contextlib.suppress(OSError, OutputError):
        file.parent.mkdir(parents=True, exist_ok=True)
        content = json.dumps(_record(fingerprint), indent=2) + "\n"
        write_atomically(file, content.encode(), overwrite=True)


def _record(fingerprint: Fingerprint) -> dict[str, object]:
    return {"passed": True, "fingerprint": dict(fingerprint)}


def _file(fingerprint: Fingerprint) -> Path | None:
    folder = state_folder()
    digest = hashlib.sha256(json.dumps(dict(fingerprint), sort_keys=True).encode()).hexdigest()
    return None if folder is None else folder / "selftest" / f"{digest[:32]}.json"
