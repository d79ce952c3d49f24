"""Keep the warnings and log lines of pydicom and Pillow from leaving a decode call: they can hold patients' data.

`warnings.catch_warnings` swaps the filters of the whole process, so it is not safe with threads. Here one filter is
installed whose category matches only in a thread that is inside `hushed()`; callers' own use of pydicom is untouched.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_inside: ContextVar[bool] = ContextVar("cxr_edge_decode_hushed", default=False)
_LOGGERS = (
    "pydicom",
    "pydicom.pixels.decoders.base",
    "pydicom.pixels.utils",
    "PIL.Image",
    "PIL.ImageFile",
    "PIL.PngImagePlugin",
    "PIL.TiffImagePlugin",
)


class _WhileHushed(type):
    """`issubclass(X, _AnyWarning)` is how the warnings machinery asks whether a filter applies."""

    def __subclasscheck__(cls, subclass: type) -> bool:
        return subclass is cls or _inside.get()


class _AnyWarning(Warning, metaclass=_WhileHushed):
    """Category of the filter: every warning while hushed, none otherwise."""


class _DropWhileHushed(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002 - the signature is logging's
        return not _inside.get()


_DROP = _DropWhileHushed()


@contextmanager
def hushed() -> Iterator[None]:
    """Silence warnings and the decoding libraries' loggers in this thread only, for the length of the block."""
    if not warnings.filters or warnings.filters[0][2] is not _AnyWarning:
        warnings.simplefilter("ignore", category=_AnyWarning)
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_DROP)  # adding twice is a no-op
    token = _inside.set(True)
    try:
        yield
    finally:
        _inside.reset(token)
