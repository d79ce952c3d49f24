"""One prediction as one page of PDF: what stays when the screen is closed. Needs the extra `report`."""

from cxr_edge.report.pdf import LANGUAGES, Language, check_report_extra, report_pdf
from cxr_edge.report.statement import Statement, safety_statement

__all__ = ["LANGUAGES", "Language", "Statement", "check_report_extra", "report_pdf", "safety_statement"]
