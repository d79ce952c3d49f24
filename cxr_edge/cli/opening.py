"""A classifier as the options ask for it."""

import contextlib
from typing import TYPE_CHECKING

from cxr_edge.cli.console import say
from cxr_edge.types import GateMode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cxr_edge.classifier import Classifier
    from cxr_edge.isolation.limits import IsolationLimits
    from cxr_edge.isolation.pool import Pool


@contextlib.contextmanager
def open_classifier(
    model: str | None,
    *,
    provider: str,
    threads: int | None,
    gate: GateMode,
    operating_point: str | None,
    isolation: "IsolationLimits | Pool | None",
) -> "Iterator[Classifier]":
    """Load it, say its notices, and close it in the end; errors as `cxr_edge.load`."""
    from cxr_edge.classifier import load  # it brings numpy and the engine: only after the cheap checks

    with load(
        model,
        provider=provider,
        threads=threads,
        gate=gate,
        operating_point=operating_point,
        isolation=isolation,
    ) as classifier:
        for note in classifier.notices:
            say(note.message)
        yield classifier
