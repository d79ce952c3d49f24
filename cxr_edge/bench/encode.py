"""A report as JSON."""

import json

import msgspec

from cxr_edge.bench.report import Report


def report_to_json(report: Report) -> bytes:
    """UTF-8 JSON, ASCII only (a file name need not be text); what was not measured is null."""
    return (json.dumps(msgspec.to_builtins(report), indent=1, allow_nan=False) + "\n").encode()
