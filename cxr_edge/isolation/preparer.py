"""Prepares images in decoding processes: the same results, and a failing decoder costs its own image."""

import hashlib
import math
import os
import threading
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import IO

from cxr_edge.contract import Contract, to_json
from cxr_edge.decode import DecodeLimits
from cxr_edge.errors import EnvironmentUnusable
from cxr_edge.isolation.child import ChildFailedError
from cxr_edge.isolation.pool import Pool
from cxr_edge.isolation.wire import (
    Array,
    Done,
    Refused,
    Request,
    Setup,
    Unusable,
    WireError,
    path_to_wire,
    receive_array,
    receive_reply,
    send,
)
from cxr_edge.prepare import Image, Prepared, Preparer, read_content, source_of
from cxr_edge.types import GateMode, Latency, Part, Radiograph, Rejection, Source

GRAY_DIMENSIONS = 2
MAX_MESSAGE = 500  # characters


class IsolatedPreparer(Preparer):
    """As `Preparer`, in a pool of processes. Paths are opened there; bytes and what file objects hold are sent there.

    A pydicom Dataset or an array is in the caller's process already, and is prepared there. Safe from several threads.
    """

    def __init__(
        self,
        contract: Contract,
        gate: GateMode,
        pool: Pool,
        limits: DecodeLimits | None = None,
    ) -> None:
        """Keep what the processes have to know; `pool` stays its owner's to close."""
        super().__init__(contract, gate, limits)
        self._pool = pool
        self._seconds = pool.limits.seconds
        self._setup = Setup(to_json(contract), gate, self._limits, pool.limits.seconds)
        self._tensors = {
            m.input.name: Array(m.input.dtype, (1, m.input.height, m.input.width, m.input.channels))
            for m in contract.members
        }

    def prepare(
        self, image: Image, *, keep_radiograph: bool = False, given_up: threading.Event | None = None
    ) -> Prepared | Rejection:
        """As `Preparer.prepare`; a decoder that crashes, hangs or takes too much memory gives a `Rejection`.

        Raises:
            UsageError: `image` is of a type that is not an image.
            EnvironmentUnusable: this installation cannot decode, or cannot start processes.
        """
        started, content, path = perf_counter(), b"", None
        if isinstance(image, str | os.PathLike):
            path = path_to_wire(str(_absolute(Path(image))))
        else:
            read = read_content(image, self._limits.file_bytes)
            if not isinstance(read, bytes) or len(read) > self._limits.file_bytes:
                return super().prepare(read, keep_radiograph=keep_radiograph)
            content = read
        read_ms = _milliseconds_since(started)
        request, source = Request(path, len(content), keep_radiograph), source_of(image)
        with self._pool.lend(self._setup, given_up) as child:
            started = perf_counter()
            try:
                answer = child.ask(
                    lambda *pipes: self._exchange(request, content, source, *pipes), self._seconds, given_up
                )
            except ChildFailedError as error:
                answer = _lost(error, source, None if path is not None else content)
            total_ms = read_ms + _milliseconds_since(started)
        latency = replace(answer.latency, read_ms=answer.latency.read_ms + read_ms, total_ms=total_ms)
        return replace(answer, latency=latency)

    def _exchange(
        self, request: Request, content: bytes, source: Source, requests: IO[bytes], replies: IO[bytes]
    ) -> Prepared | Rejection:
        """Ask a process for one image. Its path is the caller's own words, whatever the process says."""
        send(requests, request, content)
        reply = receive_reply(replies)
        if isinstance(reply, Unusable):
            raise EnvironmentUnusable(reply.message[:MAX_MESSAGE])
        if isinstance(reply, Refused):
            refused = reply.rejection
            _check_latency(refused.latency)
            return replace(refused, source=replace(refused.source, path=source.path))
        self._check(reply, keep_radiograph=request.keep_radiograph)
        source = replace(reply.source, path=source.path)
        tensors = {name: receive_array(replies, array) for name, array in reply.tensors.items()}
        radiograph = None
        if reply.pixels is not None:
            pixels = receive_array(replies, reply.pixels)
            radiograph = Radiograph(pixels, reply.rendering, source, reply.tags, reply.notes)
        return Prepared(
            source=source,
            rendering=reply.rendering,
            tags=reply.tags,
            notes=reply.notes,
            gate=reply.gate,
            tensors=tensors,
            seen=reply.seen,
            latency=reply.latency,
            radiograph=radiograph,
        )

    def _check(self, done: Done, *, keep_radiograph: bool) -> None:
        """Refuse an answer of another shape than the contract and the caps allow.

        Raises:
            WireError: the process went wrong, or somebody took it over.
        """
        _check_latency(done.latency)
        _check_part(done.seen)
        if list(done.tensors.items()) != list(self._tensors.items()):
            message = "other tensors than the contract's"
            raise WireError(message)
        if (done.pixels is not None) != keep_radiograph:
            message = "pixels, or none, against what was asked"
            raise WireError(message)
        if done.pixels is not None and not self._can_be_a_radiograph(done.pixels):
            message = "pixels of an impossible shape"
            raise WireError(message)

    def _can_be_a_radiograph(self, pixels: Array) -> bool:
        shape, limits = pixels.shape, self._limits
        return (
            pixels.dtype == "uint8"
            and len(shape) == GRAY_DIMENSIONS
            and all(1 <= side <= limits.side for side in shape)
            and math.prod(shape) <= limits.pixels
        )


def _check_latency(latency: Latency) -> None:
    stages = latency.read_ms, latency.decode_ms, latency.preprocess_ms, latency.inference_ms, latency.total_ms
    if not all(math.isfinite(stage) and stage >= 0 for stage in stages):
        message = "a latency that is none"
        raise WireError(message)


def _check_part(part: Part) -> None:
    if not (0 <= part.top < part.bottom <= 1 and 0 <= part.left < part.right <= 1):  # what is no number fails too
        message = "a part of an image that is none"
        raise WireError(message)


def _lost(error: ChildFailedError, source: Source, content: bytes | None) -> Rejection:
    """The rejection of an image that a process did not survive; which bytes, where the parent has them."""
    if content is not None:
        source = replace(source, content_sha256=hashlib.sha256(content).hexdigest())
    return Rejection(source=source, reason=error.reason, message=f"the decoding process failed: {error}")


def _absolute(path: Path) -> Path:
    """The same file, should this program change its folder: the processes stay where they were started."""
    try:
        return path.absolute()
    except OSError:  # the current folder is gone
        return path


def _milliseconds_since(started: float) -> float:
    return (perf_counter() - started) * 1e3
