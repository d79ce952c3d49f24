"""How fast a model answers on this machine, and whether what is faster still decides the same."""

from cxr_edge.bench.benchmark import Plan, bench
from cxr_edge.bench.encode import report_to_json
from cxr_edge.bench.page import report_to_html
from cxr_edge.bench.png import report_to_png
from cxr_edge.bench.report import Report
from cxr_edge.bench.summary import report_to_text

__all__ = ["Plan", "Report", "bench", "report_to_html", "report_to_json", "report_to_png", "report_to_text"]
