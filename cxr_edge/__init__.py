"""Classify chest radiographs on an offline workstation. Not a medical device.

Example:
    >>> import cxr_edge
    >>> classifier = cxr_edge.load()
    >>> prediction = classifier.classify("study.dcm")
    >>> print(prediction.label, prediction.score, prediction.positive)
"""

import importlib
from typing import TYPE_CHECKING

from cxr_edge._version import __version__
from cxr_edge.errors import (
    ContractError,
    CxrEdgeError,
    EnvironmentUnusable,
    InputError,
    LimitBroken,
    ModelError,
    OutputError,
    ProviderError,
    Reason,
    UsageError,
)
from cxr_edge.types import (
    Gate,
    Interval,
    Latency,
    ModelIdentity,
    Note,
    OperatingPoint,
    Prediction,
    Radiograph,
    Rejection,
    Source,
)

if TYPE_CHECKING:
    from cxr_edge.classifier import Classifier, load
    from cxr_edge.isolation.limits import IsolationLimits

__all__ = [
    "Classifier",
    "ContractError",
    "CxrEdgeError",
    "EnvironmentUnusable",
    "Gate",
    "InputError",
    "Interval",
    "IsolationLimits",
    "Latency",
    "LimitBroken",
    "ModelError",
    "ModelIdentity",
    "Note",
    "OperatingPoint",
    "OutputError",
    "Prediction",
    "ProviderError",
    "Radiograph",
    "Reason",
    "Rejection",
    "Source",
    "UsageError",
    "__version__",
    "load",
]

_ON_USE = {"Classifier", "IsolationLimits", "load"}  # they need numpy: a script's start should not pay for it


def __getattr__(name: str) -> object:
    """Import the classifier when it is first asked for."""
    if name in _ON_USE:
        return getattr(importlib.import_module("cxr_edge.classifier"), name)
    message = f"module 'cxr_edge' has no attribute {name!r}"
    raise AttributeError(message)


def __dir__() -> list[str]:
    """The public names, those imported on use included."""
    return sorted(__all__)
