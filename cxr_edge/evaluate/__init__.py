"""How well a model does on labelled images of a site's own."""

from cxr_edge.evaluate.collect import Collected, collect
from cxr_edge.evaluate.encode import json_schema, report_to_json
from cxr_edge.evaluate.evaluation import Setting, Subject, evaluate
from cxr_edge.evaluate.page import report_to_html
from cxr_edge.evaluate.proposal import Wish, overlay_of, parse_wish
from cxr_edge.evaluate.report import Case, RejectedCase, Report
from cxr_edge.evaluate.summary import report_to_text

__all__ = [
    "Case",
    "Collected",
    "RejectedCase",
    "Report",
    "Setting",
    "Subject",
    "Wish",
    "collect",
    "evaluate",
    "json_schema",
    "overlay_of",
    "parse_wish",
    "report_to_html",
    "report_to_json",
    "report_to_text",
]
