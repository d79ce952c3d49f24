"""The contract: what was decided when the model was made, carried inside the model file."""

from cxr_edge.contract.certificate import Comparison, Flips, GivenLabels, Limits, Parity
from cxr_edge.contract.check import DISCLAIMER
from cxr_edge.contract.codec import from_json, from_metadata, json_schema, to_json
from cxr_edge.contract.image_gate import LAYOUT_SIDE, GatePolicy, Layout, OutOfDistribution, RefusedFamily
from cxr_edge.contract.limits import broken_limits
from cxr_edge.contract.schema import (
    METADATA_KEY,
    SCHEMA_VERSION,
    Contract,
    Contrast,
    Golden,
    GoldenCase,
    Identity,
    Input,
    IntendedUse,
    Member,
    Normalization,
    Outputs,
    Quantization,
    Rendering,
    Resize,
    TrainingData,
)

__all__ = [
    "DISCLAIMER",
    "LAYOUT_SIDE",
    "METADATA_KEY",
    "SCHEMA_VERSION",
    "Comparison",
    "Contract",
    "Contrast",
    "Flips",
    "GatePolicy",
    "GivenLabels",
    "Golden",
    "GoldenCase",
    "Identity",
    "Input",
    "IntendedUse",
    "Layout",
    "Limits",
    "Member",
    "Normalization",
    "OutOfDistribution",
    "Outputs",
    "Parity",
    "Quantization",
    "RefusedFamily",
    "Rendering",
    "Resize",
    "TrainingData",
    "broken_limits",
    "from_json",
    "from_metadata",
    "json_schema",
    "to_json",
]
