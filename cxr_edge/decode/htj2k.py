"""HTJ2K (ISO/IEC 15444-15) by OpenJPH where that is safe: twice as fast as OpenJPEG, which decides everything else.

imagecodecs 2026.3 loses OpenJPH's errors: they are printed, and the rows not decoded come back black as an image. So
its two channels of print are caught here, and a frame that is not whole, or where OpenJPH stumbles, goes to OpenJPEG.
"""

import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from types import TracebackType

    from numpy.typing import NDArray

_LOCK: Final = threading.Lock()
_SOC: Final = 0xFF4F
_SOT: Final = 0xFF90
_EOC: Final = 0xFFD9
_TILE_PART_LENGTH_AT: Final = 6


def decode_htj2k(frame: bytes) -> "NDArray[Any]":
    """Return the samples of one frame.

    Raises:
        Exception: OpenJPEG's, on a broken frame.
    """
    import imagecodecs

    if has_whole_tile_parts(frame):
        with _caught_prints() as errors:
            samples: NDArray[Any] | None = _try_openjph(frame)
        if samples is not None and not errors:
            return samples
    decoded: NDArray[Any] = imagecodecs.jpeg2k_decode(frame)
    return decoded


def has_whole_tile_parts(frame: bytes) -> bool:
    """Whether the tile-parts follow one another up to the end marker, as their lengths say (15444-1 A.4.2).

    OpenJPH decodes what is missing as zeros, without a word.
    """
    try:
        at = _first_tile_part(frame)
        while struct.unpack_from(">H", frame, at)[0] == _SOT:
            length = struct.unpack_from(">I", frame, at + _TILE_PART_LENGTH_AT)[0]
            if length == 0:  # up to the end marker, wherever that is
                return False
            at += length
        return bool(struct.unpack_from(">H", frame, at)[0] == _EOC and not frame[at + 2 :].strip(b"\0\xff"))
    except struct.error:
        return False


def _first_tile_part(frame: bytes) -> int:
    """Return where the main header ends. Its segments are a marker and a length each (15444-1 A.3)."""
    marker, at = struct.unpack_from(">H", frame)[0], 2
    if marker != _SOC:
        return len(frame)
    while True:
        marker, length = struct.unpack_from(">HH", frame, at)
        if marker == _SOT or length < 2:  # noqa: PLR2004 - a length counts itself
            return at
        at += 2 + length


def _try_openjph(frame: bytes) -> "NDArray[Any] | None":
    import imagecodecs

    try:
        decoded: NDArray[Any] = imagecodecs.htj2k_decode(frame)
    except Exception:  # noqa: BLE001 - OpenJPEG shall say what is wrong, or read it all the same
        return None
    return decoded


@contextmanager
def _caught_prints() -> Iterator[list[str]]:
    """Collect this thread's exceptions that Cython can only print; those of other threads take their usual way."""
    errors: list[str] = []
    me = threading.get_ident()
    with _LOCK:  # the hooks are the process's
        unraisablehook, excepthook = sys.unraisablehook, sys.excepthook

        def unraisable(event: "sys.UnraisableHookArgs") -> None:
            if threading.get_ident() == me:
                errors.append(event.exc_type.__name__)
            else:
                unraisablehook(event)

        def uncaught(kind: type[BaseException], error: BaseException, traceback: "TracebackType | None") -> None:
            if threading.get_ident() == me:
                errors.append(kind.__name__)
            else:
                excepthook(kind, error, traceback)

        sys.unraisablehook, sys.excepthook = unraisable, uncaught
        try:
            yield errors
        finally:
            sys.unraisablehook, sys.excepthook = unraisablehook, excepthook
