"""The one place where exceptions of the parsing and decoding libraries become `InputError`."""

from collections.abc import Iterator
from contextlib import contextmanager

from cxr_edge.errors import CxrEdgeError, EnvironmentUnusable, InputError, Reason


@contextmanager
def foreign(reason: Reason, doing: str) -> Iterator[None]:
    """Turn whatever a library raises on hostile bytes into `InputError(reason)`.

    Only the exception's type is told: its text can quote tag values, hence a patient.

    Raises:
        InputError: with `reason`, or `malformed` for too deep a nesting, or `too_large` when memory runs out.
    """
    try:
        yield
    except CxrEdgeError:
        raise
    except ImportError as error:  # the installation is broken, not the image
        message = f"this installation cannot decode images: {error}"
        raise EnvironmentUnusable(message) from error
    except RecursionError:
        raise InputError(Reason.MALFORMED, f"{doing}: sequences are nested too deeply") from None
    except MemoryError:
        raise InputError(Reason.TOO_LARGE, f"{doing}: not enough memory") from None
    except Exception as error:  # noqa: BLE001 - libraries raise anything on mutated bytes; it becomes a reason code
        raise InputError(reason, f"{doing}: {type(error).__name__}") from None
