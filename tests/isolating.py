"""What the tests of decoding in processes of their own share."""

import io
import os
import signal
import sys
import time
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from contracts import make_contract

import cxr_edge
from cxr_edge.isolation import child as child_module
from cxr_edge.isolation import command as command_module
from cxr_edge.isolation.child import Child
from cxr_edge.isolation.pool import Pool
from cxr_edge.isolation.preparer import IsolatedPreparer
from cxr_edge.isolation.wire import PROTOCOL
from cxr_edge.phantom import chest_phantom
from cxr_edge.prepare import Prepared
from cxr_edge.types import Rejection

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
CONTRACT = make_contract()
GRAY = chest_phantom(224, 224)
ONE = cxr_edge.IsolationLimits(processes=1)
TWO = cxr_edge.IsolationLimits(processes=2)
HANGS = "import re; re.match('(a+)+$', 'a' * 60 + 'b')"  # for years, and never lets go of the interpreter


def preparer_of(pool: Pool, gate: Any = "strict") -> IsolatedPreparer:
    return IsolatedPreparer(CONTRACT, gate, pool)


def children_in(pool: Pool) -> list[Child]:
    return list(pool._children)  # noqa: SLF001


def pids_of(pool: Pool) -> list[int]:
    return sorted(child.pid for child in children_in(pool) if child.pid is not None)


def is_gone(pid: int, seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        if sys.platform == "linux" and ") Z " in Path(f"/proc/{pid}/stat").read_text(encoding="utf-8"):
            return True  # dead, and its new parent has not looked yet
        time.sleep(0.02)
    return False


def in_child(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Let new processes run `code` once everything is imported; `worker` is their module."""
    bootstrap = command_module._BOOTSTRAP.replace(  # noqa: SLF001
        "import main; main(", f"import main; import cxr_edge.isolation.worker as worker\n{code}\nmain("
    )
    monkeypatch.setattr(command_module, "_BOOTSTRAP", bootstrap.replace("{}", "{{}}"))


def instead(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Start a script of ours in place of the worker."""
    monkeypatch.setattr(child_module, "command", lambda _memory: [sys.executable, "-c", script])


def framed(message: Any) -> bytes:
    head = msgspec.msgpack.encode(message)
    return len(head).to_bytes(4, "little") + head


def rejection(result: object) -> Rejection:
    assert isinstance(result, Rejection), result
    return result


def same(first: Prepared | Rejection, second: Prepared | Rejection) -> None:
    """Equal but for the time it took."""
    zero = cxr_edge.Latency()
    if isinstance(first, Rejection) or isinstance(second, Rejection):
        assert replace(first, latency=zero) == replace(second, latency=zero)
        return
    for name, tensor in first.tensors.items():
        assert second.tensors[name].dtype == tensor.dtype
        np.testing.assert_array_equal(second.tensors[name], tensor)
    assert list(first.tensors) == list(second.tensors)
    facts = [field.name for field in fields(Prepared) if field.name not in ("tensors", "latency", "radiograph")]
    assert [getattr(first, fact) for fact in facts] == [getattr(second, fact) for fact in facts]
    assert (first.radiograph is None) == (second.radiograph is None)
    if first.radiograph is not None and second.radiograph is not None:
        np.testing.assert_array_equal(first.radiograph.pixels, second.radiograph.pixels)
        assert first.radiograph.source == second.radiograph.source


def png(pixels: Any) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def stopped(pool: Pool) -> int:
    """Stop the only process, which then takes in no image until it is killed."""
    (pid,) = pids_of(pool)
    os.kill(pid, signal.SIGSTOP)
    return pid


def limit_of(pool: Pool) -> str:
    preparer_of(pool).prepare_safely(b"")
    return children_in(pool)[0].memory_limit


HELLO = framed({"type": "hello", "protocol": PROTOCOL, "version": cxr_edge.__version__, "memory_limit": "none"})
ANOTHER_VERSION = HELLO.replace(cxr_edge.__version__.encode(), b"9" * len(cxr_edge.__version__))
READY = framed({"type": "ready"})
NO_SOURCE = {"path": None, "sop_instance_uid": None, "study_instance_uid": None, "content_sha256": None}
REFUSED = {"type": "refused", "rejection": {"source": NO_SOURCE, "reason": "empty", "message": "m"}}
