"""`report_pdf`: one prediction as one page of PDF."""

import contextlib
import io
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone

from cxr_edge._version import __version__
from cxr_edge.contract import Contract
from cxr_edge.errors import EnvironmentUnusable, UsageError
from cxr_edge.extras import how_to_install, missing_modules
from cxr_edge.report.fonts import REGULAR, load
from cxr_edge.report.gallery import Gallery
from cxr_edge.report.page import HEIGHT, WIDTH, Report, draw_page
from cxr_edge.report.pen import Pen
from cxr_edge.report.words import LANGUAGES, Language, words_of
from cxr_edge.types import Prediction

__all__ = ["LANGUAGES", "Language", "check_report_extra", "report_pdf"]

_drawing = threading.Lock()  # one page at a time: reportlab promises nothing about threads


def check_report_extra() -> None:
    """Whether reports can be made.

    Raises:
        EnvironmentUnusable: the extra `report` is not installed.
    """
    if missing := missing_modules("report"):
        message = f"PDF reports need {' and '.join(missing)}: {how_to_install('report')}"
        raise EnvironmentUnusable(message)


def report_pdf(
    prediction: Prediction,
    contract: Contract,
    *,
    language: Language = "en",
    identifiers: bool = False,
    created: datetime | None = None,
    heatmap_label: str | None = None,
) -> bytes:
    """The report: A4, one page, every font embedded; the same input and `created` give the same bytes.

    Args:
        prediction: made with `keep_radiograph=True`.
        contract: of the model that made it.
        language: of the page; free texts of the contract stay as they are.
        identifiers: whether the file's name and the UIDs stand on the page; the content's SHA-256 always does.
        created: printed as the date of the report, and in its metadata as UTC; with a time zone. None: now, here.
        heatmap_label: the one that the heat map shows evidence for; None: the most probable positive label.

    Returns:
        A PDF file.

    Raises:
        EnvironmentUnusable: the extra `report` is not installed.
        UsageError: no radiograph was kept, an unknown language or label, or a date without a time zone.
    """
    check_report_extra()
    created = datetime.now(UTC).astimezone() if created is None else created
    if prediction.radiograph is None:
        message = "a report needs the radiograph: classify with keep_radiograph=True"
        raise UsageError(message)
    if language not in LANGUAGES:
        message = f"no report in the language {language!r}; need {' or '.join(LANGUAGES)}"
        raise UsageError(message)
    if created.utcoffset() is None:
        message = "the date of a report needs a time zone"
        raise UsageError(message)
    gallery = Gallery.of(prediction, prediction.radiograph, contract, heatmap_label)
    words = words_of(language)
    # "UTC", or "UTC+01:00"
    date = words.say("date", created=created, zone=timezone(created.utcoffset() or timedelta()))
    with _binary_streams():
        return _drawn(Report(prediction, contract, words, gallery, date, identifiers), created)


@contextlib.contextmanager
def _binary_streams() -> Iterator[None]:
    """Pictures as they are: reportlab's ASCII85, a setting of the whole process, takes two thirds of the time."""
    from reportlab import rl_config

    with _drawing:
        before, rl_config.useA85 = rl_config.useA85, 0
        try:
            yield
        finally:
            rl_config.useA85 = before


def _drawn(report: Report, created: datetime) -> bytes:
    from reportlab.pdfgen.canvas import Canvas

    buffer = io.BytesIO()
    canvas = Canvas(
        buffer,
        pagesize=(WIDTH, HEIGHT),
        pageCompression=1,
        invariant=1,  # no clock and no random identifier in the file
        initialFontName=load(REGULAR).fontName,  # else Helvetica, which is not embedded
        lang=report.words.language,
    )
    canvas.setTitle(report.words.say("title"))
    canvas.setAuthor("cxr-edge")
    canvas.setCreator(f"cxr-edge {__version__}")
    canvas.setSubject(report.words.say("notice"))
    canvas.setViewerPreference("DisplayDocTitle", "true")
    canvas.setDateFormatter(lambda *_: f"D:{created.astimezone(UTC):%Y%m%d%H%M%S}Z")
    draw_page(Pen(canvas), report)
    canvas.showPage()
    canvas.save()
    return buffer.getvalue()
