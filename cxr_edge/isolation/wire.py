"""What a parent and its decoding process say: a length, a msgpack head, then the raw bytes that the head announces.

No pickle: a decoder that was taken over can give wrong figures, but cannot run code in its parent. What comes back is
decoded with strict types and capped; `IsolatedPreparer` checks it against what was asked.
"""

import struct
from typing import IO, TYPE_CHECKING, Any, Literal, TypeVar

import msgspec
import numpy as np

from cxr_edge.decode import DecodeLimits
from cxr_edge.types import Gate, GateMode, Latency, Note, Part, Rejection, Source, Tags

if TYPE_CHECKING:
    from numpy.typing import NDArray

PROTOCOL = 1
MAX_HEAD_BYTES = 1 << 20  # what a process may answer, arrays apart: it takes some kB
MAX_SETUP_BYTES = 64 << 20  # what a process reads from its parent
_LENGTH = struct.Struct("<I")
T = TypeVar("T")


class WireError(Exception):
    """The other side said something that is no message."""


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """First word of a process: everything is imported, and the named memory limit holds, or `none`."""

    protocol: int
    version: str
    memory_limit: str


class Setup(msgspec.Struct, frozen=True, tag="setup"):
    """How images are to be prepared, until the process ends. `contract` is its JSON."""

    contract: str
    gate: GateMode
    decode_limits: DecodeLimits
    seconds: float


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """Answer to `Setup`."""


class Request(msgspec.Struct, frozen=True, tag="request"):
    """One image: a path that the process reads itself, or the bytes that follow."""

    path: bytes | None
    content_bytes: int
    keep_radiograph: bool


class Array(msgspec.Struct, frozen=True):
    """An array whose bytes follow, in C order and the machine's byte order."""

    dtype: Literal["uint8", "float32"]
    shape: tuple[int, ...]


class Done(msgspec.Struct, frozen=True, tag="done"):
    """An image that was prepared. The tensors follow in this order, then the pixels where they were asked for."""

    source: Source
    rendering: str
    tags: Tags | None
    notes: tuple[Note, ...]
    gate: Gate
    latency: Latency
    seen: Part
    tensors: dict[str, Array]
    pixels: Array | None


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """An image that was not."""

    rejection: Rejection


class Unusable(msgspec.Struct, frozen=True, tag="unusable"):
    """The installation cannot decode: no image is to blame."""

    message: str


_REPLY: Any = Done | Refused | Unusable


def path_to_wire(path: str) -> bytes:
    """A path as bytes, whatever the file system allowed in it."""
    return path.encode("utf-8", "surrogatepass")


def path_from_wire(path: bytes) -> str:
    """The very path that `path_to_wire` was given."""
    return path.decode("utf-8", "surrogatepass")


def describe(array: "NDArray[Any]") -> Array:
    """What the head says of an array."""
    return Array(dtype=str(array.dtype), shape=array.shape)  # type: ignore[arg-type]  # checked by whoever reads it


def send(stream: IO[bytes], message: msgspec.Struct, *buffers: bytes | memoryview) -> None:
    """Write one message and the buffers that it announces.

    Raises:
        OSError: the other side is gone.
    """
    head = msgspec.msgpack.encode(message)
    _write(stream, memoryview(_LENGTH.pack(len(head)) + head))
    for buffer in buffers:
        _write(stream, memoryview(buffer).cast("B"))


def receive(stream: IO[bytes], kind: type[T], most_bytes: int = MAX_HEAD_BYTES) -> T:
    """Read one message of a type, or of one of several.

    Raises:
        EOFError: the other side is gone.
        WireError: it is too long, or of no such type.
    """
    prefix = bytearray(_LENGTH.size)
    _fill(stream, memoryview(prefix))
    (length,) = _LENGTH.unpack(prefix)
    if length > most_bytes:
        message = f"a message of {length:,} bytes; at most {most_bytes:,} are read"
        raise WireError(message)
    head = bytearray(length)
    _fill(stream, memoryview(head))
    try:
        return msgspec.msgpack.decode(head, type=kind)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:  # ValidationError is a DecodeError
        message = f"no message of this kind: {type(error).__name__}"
        raise WireError(message) from None


def receive_reply(stream: IO[bytes]) -> Done | Refused | Unusable:
    """Read what became of an image; the arrays of a `Done` are still to be read.

    Raises:
        EOFError, WireError: as `receive`.
    """
    reply: Done | Refused | Unusable = receive(stream, _REPLY)
    return reply


def receive_array(stream: IO[bytes], array: Array) -> "NDArray[Any]":
    """Read an array whose dtype and shape the caller has checked.

    Raises:
        EOFError: the other side is gone.
    """
    values = np.empty(array.shape, array.dtype)
    _fill(stream, values.data.cast("B"))
    return values


def receive_bytes(stream: IO[bytes], size: int) -> bytes:
    """Read so many bytes.

    Raises:
        EOFError: the other side is gone.
    """
    content = stream.read(size)
    if len(content) != size:
        raise EOFError
    return content


def _write(stream: IO[bytes], data: memoryview) -> None:
    while data:
        written = stream.write(data)
        data = data[written:]


def _fill(stream: IO[bytes], buffer: memoryview) -> None:
    while buffer:
        count = stream.readinto(buffer)  # type: ignore[attr-defined]  # every binary stream of this package has it
        if not count:
            raise EOFError
        buffer = buffer[count:]
