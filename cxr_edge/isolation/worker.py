"""What a decoding process does: say hello, learn the contract, prepare images until its input ends."""

import faulthandler
import itertools
import os
import signal
import sys
from typing import IO, NoReturn

from cxr_edge._version import __version__
from cxr_edge.contract.codec import from_json
from cxr_edge.errors import EnvironmentUnusable
from cxr_edge.heap import give_back_now_and_then
from cxr_edge.isolation.limits import OUT_OF_MEMORY, limit_own_memory
from cxr_edge.isolation.wire import (
    MAX_SETUP_BYTES,
    PROTOCOL,
    Done,
    Hello,
    Ready,
    Refused,
    Request,
    Setup,
    Unusable,
    describe,
    path_from_wire,
    receive,
    receive_bytes,
    send,
)
from cxr_edge.prepare import Image, Prepared, Preparer, warm_up
from cxr_edge.types import Rejection

GONE = 0
ORPHAN_SECONDS = 30.0  # beyond the parent's own limit: only a process whose parent is gone lives to see it


def main(memory_bytes: int) -> NoReturn:
    """Serve the parent at the other end of standard input and output."""
    _leave_signals_to_the_parent()
    requests, replies = _own_pipes()
    # pydicom imports requests where it finds it, and urllib3 then opens a socket to see whether there is IPv6
    sys.modules.setdefault("requests", None)  # type: ignore[arg-type]  # None: "not installed", in this process
    try:
        memory_limit = limit_own_memory(memory_bytes)
        warm_up()
        send(replies, Hello(PROTOCOL, __version__, memory_limit))
        setup = receive(requests, Setup, MAX_SETUP_BYTES)
        preparer = Preparer(from_json(setup.contract), setup.gate, setup.decode_limits)
        send(replies, Ready())
        _serve(requests, replies, preparer, setup.seconds + ORPHAN_SECONDS)
    except (EOFError, OSError):  # the parent is gone, or wants this process gone
        os._exit(GONE)
    except MemoryError:
        os._exit(OUT_OF_MEMORY)


def _leave_signals_to_the_parent() -> None:
    """Ctrl-C and the like reach every process of a terminal; the parent decides what they mean.

    Ctrl-Z as well: a process that decodes on is done when the parent goes on, instead of late.
    """
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGTSTP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def _own_pipes() -> tuple[IO[bytes], IO[bytes]]:
    """The pipes to the parent, out of reach for whatever a library prints."""
    pipes = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb", buffering=0)
    with open(os.devnull, "r+b", buffering=0) as null:  # noqa: PTH123 - no path
        os.dup2(null.fileno(), 0)
        os.dup2(null.fileno(), 1)
    return pipes


def _serve(requests: IO[bytes], replies: IO[bytes], preparer: Preparer, seconds: float) -> NoReturn:
    with open(os.devnull, "wb") as null:  # noqa: PTH123 - no path
        for images_done in itertools.count(1):
            request = receive(requests, Request, MAX_SETUP_BYTES)
            image: Image
            if request.path is None:
                image = receive_bytes(requests, request.content_bytes)
            else:
                image = path_from_wire(request.path)
            faulthandler.dump_traceback_later(seconds, exit=True, file=null)  # even while C code holds the interpreter
            _answer(replies, preparer, image, keep_radiograph=request.keep_radiograph)
            faulthandler.cancel_dump_traceback_later()
            give_back_now_and_then(images_done)
    os._exit(GONE)  # never: counting has no end


def _answer(replies: IO[bytes], preparer: Preparer, image: Image, *, keep_radiograph: bool) -> None:
    try:
        prepared = preparer.prepare_safely(image, keep_radiograph=keep_radiograph)
    except EnvironmentUnusable as error:
        send(replies, Unusable(str(error)))
        return
    if isinstance(prepared, Rejection):
        send(replies, Refused(prepared))
        return
    arrays = [*prepared.tensors.values()] + ([] if prepared.radiograph is None else [prepared.radiograph.pixels])
    send(replies, _done(prepared), *(array.data for array in arrays))


def _done(prepared: Prepared) -> Done:
    kept = prepared.radiograph
    return Done(
        source=prepared.source,
        rendering=prepared.rendering,
        tags=prepared.tags,
        notes=prepared.notes,
        gate=prepared.gate,
        latency=prepared.latency,
        seen=prepared.seen,
        tensors={name: describe(tensor) for name, tensor in prepared.tensors.items()},
        pixels=None if kept is None else describe(kept.pixels),
    )
