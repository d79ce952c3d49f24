"""read -> decode -> gate -> preprocess: everything before inference, for whatever the caller hands over."""

import contextlib
import hashlib
import os
import stat
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import IO, TYPE_CHECKING, Any, TypeAlias, TypeGuard

import numpy as np

from cxr_edge.contract import Contract
from cxr_edge.decode import DecodeLimits, decode, decode_dataset
from cxr_edge.decode.array import decode_array
from cxr_edge.errors import EnvironmentUnusable, InputError, Reason, UsageError
from cxr_edge.gate import check_gate, refusal
from cxr_edge.preprocess import pillow_arithmetic_matches, preprocess
from cxr_edge.preprocess.trim import in_shares, part_seen
from cxr_edge.types import WHOLE, Gate, GateMode, Latency, Note, Part, Radiograph, Rejection, Source, Tags

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydicom import Dataset

    Image: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | Dataset | NDArray[np.uint8]
else:
    Image = Any  # pydicom is imported on use


HASHED_IN_A_THREAD = 1 << 20  # bytes; what is smaller is hashed before a thread has started


@dataclass(frozen=True, slots=True)
class Prepared:
    """An image on its way into the network: tensors by input name, each [1, H, W, C].

    `seen` is the part of the image that they are of. `radiograph` is there only where it was asked for: whole images
    that wait for the network would fill the memory.
    """

    source: Source
    rendering: str
    tags: Tags | None
    notes: tuple[Note, ...]
    gate: Gate
    tensors: "dict[str, NDArray[np.generic]]"
    seen: Part
    latency: Latency
    radiograph: Radiograph | None = None


class Preparer:
    """Prepares images as one contract and one gate mode say. Holds no state; safe from several threads."""

    def __init__(self, contract: Contract, gate: GateMode, limits: DecodeLimits | None = None) -> None:
        """Keep the contract and the gate's mode."""
        self._contract = contract
        self._gate = gate
        self._limits = limits or DecodeLimits()

    def prepare_safely(
        self, image: Image, *, keep_radiograph: bool = False, given_up: threading.Event | None = None
    ) -> Prepared | Rejection:
        """As `prepare`, at the edge of a batch: whatever goes wrong costs this image alone.

        Raises:
            EnvironmentUnusable: this installation cannot decode: no image is to blame, and every one would fail.
        """
        try:
            return self.prepare(image, keep_radiograph=keep_radiograph, given_up=given_up)
        except EnvironmentUnusable:
            raise
        except UsageError as error:
            return Rejection(source=source_of(image), reason=Reason.UNSUPPORTED, message=str(error))
        except Exception as error:  # noqa: BLE001 - a batch goes on; the type's name alone, the text may hold tags
            message = f"unexpected {type(error).__name__} while reading the image"
            return Rejection(source=source_of(image), reason=Reason.INTERNAL, message=message)

    def prepare(
        self,
        image: Image,
        *,
        keep_radiograph: bool = False,
        given_up: threading.Event | None = None,  # noqa: ARG002 - this process's own work cannot be cut short
    ) -> Prepared | Rejection:
        """Read, decode, gate and preprocess one image.

        Args:
            image: a path, bytes, a binary file object, a pydicom Dataset or a uint8 array.
            keep_radiograph: keep the decoded image beside the tensors.
            given_up: set by a caller who waits for the result no longer.

        Raises:
            UsageError: `image` is of a type that is not an image.
        """
        clock = _Clock("read_ms")
        source, digest = source_of(image), _Digest()
        try:
            content = read_content(image, self._limits.file_bytes)
            clock.enter("decode_ms")
            digest.begin(content)
            radiograph = self._decode(content, source)
            gate = check_gate(radiograph, self._contract.intended_use, self._gate)
            if gate.status == "refused" and self._gate == "strict":
                return refusal(digest.stamp(radiograph).source, gate, clock.latency())
            clock.enter("preprocess_ms")
            tensors, seen = self._preprocess(radiograph.pixels)
            radiograph = digest.stamp(radiograph)
        except InputError as error:
            uids = error.sop_instance_uid, error.study_instance_uid
            source = Source(source.path, *uids, content_sha256=digest.value())
            return Rejection(source=source, reason=error.reason, message=str(error), latency=clock.latency())
        except MemoryError:
            message = "not enough memory for this image"
            source = replace(source, content_sha256=digest.value())
            return Rejection(source=source, reason=Reason.TOO_LARGE, message=message, latency=clock.latency())
        return Prepared(
            source=radiograph.source,
            rendering=radiograph.rendering,
            tags=radiograph.tags,
            notes=radiograph.notes,
            gate=gate,
            tensors=tensors,
            seen=seen,
            latency=clock.latency(),
            radiograph=radiograph if keep_radiograph else None,
        )

    def _preprocess(self, pixels: "NDArray[np.uint8]") -> "tuple[dict[str, NDArray[np.generic]], Part]":
        """Tensors by input name, and the part of the image that they are of: all of an ensemble's, which has no map."""
        members = self._contract.members
        if len(members) > 1:
            return {member.input.name: preprocess(pixels, member)[np.newaxis] for member in members}, WHOLE
        part = part_seen(pixels, members[0].resize)
        return {members[0].input.name: preprocess(pixels, members[0], part)[np.newaxis]}, in_shares(part, pixels.shape)

    def _decode(self, content: "bytes | Dataset | NDArray[np.uint8]", source: Source) -> Radiograph:
        if isinstance(content, bytes):
            return decode(content, self._contract.rendering, path=source.path, limits=self._limits)
        if isinstance(content, np.ndarray):
            return decode_array(content, self._limits)
        return decode_dataset(content, self._contract.rendering, limits=self._limits)


class _Digest:
    """The SHA-256 of a file's bytes, of a large one in a thread beside decoding and resizing: 6 ms for 10 MB."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._value: str | None = None

    def begin(self, content: "bytes | Dataset | NDArray[np.uint8]") -> None:
        """Start; what is no file has none."""
        if not isinstance(content, bytes):
            return
        if len(content) >= HASHED_IN_A_THREAD:
            thread = threading.Thread(target=self._take, args=(content,), name="cxr-edge-hash")
            with contextlib.suppress(RuntimeError, MemoryError):  # a limit on threads: here, then
                thread.start()
                self._thread = thread
                return
        self._take(content)

    def value(self) -> str | None:
        """Hexadecimal; waits for it. None where `begin` was not reached, or got no bytes."""
        if self._thread is not None:
            self._thread.join()
        return self._value

    def stamp(self, radiograph: Radiograph) -> Radiograph:
        """The same with the hash in its source: of the file, else of the pixels."""
        value = self.value() or hashlib.sha256(radiograph.pixels.data).hexdigest()
        return replace(radiograph, source=replace(radiograph.source, content_sha256=value))

    def _take(self, content: bytes) -> None:
        self._value = hashlib.sha256(content).hexdigest()


class _Clock:
    """Milliseconds by stage, the stage in which an error struck included."""

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._started = self._entered = perf_counter()
        self._spent: dict[str, float] = {}

    def enter(self, stage: str) -> None:
        now = perf_counter()
        self._spent[self._stage] = (now - self._entered) * 1e3
        self._stage, self._entered = stage, now

    def latency(self) -> Latency:
        self.enter(self._stage)
        return Latency(**self._spent, total_ms=(perf_counter() - self._started) * 1e3)


def warm_up() -> None:
    """Import what most images need and probe Pillow, while the engine is being created in another thread."""
    with contextlib.suppress(Exception):  # what is broken here speaks up, properly, at the first image
        from PIL import Image as PillowImage

        PillowImage.preinit()
        pillow_arithmetic_matches()


def read_content(image: Image, limit: int) -> "bytes | Dataset | NDArray[np.uint8]":
    """What a caller handed over, as bytes where it is a file or holds one.

    Args:
        image: a path, bytes, a binary file object, a pydicom Dataset or a uint8 array.
        limit: bytes of a file; of a file object one more is read, so that a larger one can be told.

    Raises:
        InputError: the file cannot be read.
        UsageError: `image` is of a type that is not an image.
    """
    if isinstance(image, str | os.PathLike):
        return _read_file(Path(image), limit)
    if isinstance(image, np.ndarray) or _is_dataset(image):
        return image
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image)
    content: object = image.read(limit + 1) if hasattr(image, "read") else None
    if not isinstance(content, bytes):
        message = (
            f"cannot classify a {type(image).__name__}: "
            "need a path, bytes, a binary file object, a pydicom Dataset or a uint8 array"
        )
        raise UsageError(message)
    return content


def _is_dataset(image: object) -> TypeGuard["Dataset"]:
    # told without importing pydicom, which costs 0.2 s
    return any(base.__module__.partition(".")[0] == "pydicom" for base in type(image).__mro__)


def source_of(image: Image) -> Source:
    """What is known of an image before it is read: its path, where it has one."""
    if isinstance(image, str | os.PathLike):
        # a name that is not valid Unicode must not break JSON; it is shown, not reopened
        name = str(os.fspath(image))
        try:
            return Source(path=os.fsencode(name).decode("utf-8", "backslashreplace"))
        except UnicodeEncodeError:  # half of a surrogate pair, which no file system gave
            return Source(path=name.encode("utf-8", "backslashreplace").decode())
    return Source()


def _read_file(path: Path, limit: int) -> bytes:
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise InputError(Reason.UNREADABLE, "this is a folder that was not or could not be read; need a file")
        if not stat.S_ISREG(status.st_mode):  # reading a pipe or a device might never end
            raise InputError(Reason.UNREADABLE, "this is a pipe, socket or device; need a regular file")
        if status.st_size > limit:
            message = f"the file has {status.st_size:,} bytes; at most {limit:,} are read"
            raise InputError(Reason.TOO_LARGE, message)
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(Reason.NOT_FOUND, "there is no such file") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a usable path"
        message = f"the file cannot be read: {reason}"
        raise InputError(Reason.UNREADABLE, message) from None
