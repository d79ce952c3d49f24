"""One prediction as one page of PDF: what stays when the screen is closed. Needs the extra `report`."""

from cxr_edge.report.pdf import LANGUAGES, Language, check_report_extra, report_pdf

__all__ = ["LANGUAGES", "Language", "check_report_extra", "report_pdf"]
