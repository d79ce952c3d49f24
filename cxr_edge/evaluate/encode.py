"""A report as JSON."""

import json
from typing import Any

import msgspec

from cxr_edge.contract.closed import closed_json_schema
from cxr_edge.evaluate.report import Report


def report_to_json(report: Report) -> bytes:
    """UTF-8 JSON, ASCII only (a file name need not be text); what is not defined is null.

    Raises:
        ValueError: a figure is no number, which would be a defect.
    """
    return (json.dumps(msgspec.to_builtins(report), indent=1, allow_nan=False) + "\n").encode()


def json_schema() -> dict[str, Any]:
    """The report's JSON Schema, closed: no object holds a field that is not listed."""
    return closed_json_schema(Report)
