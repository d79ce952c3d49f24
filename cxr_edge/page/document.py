"""A whole page from its parts."""

from collections.abc import Iterable

from cxr_edge.page import markup
from cxr_edge.page.style import STYLE

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"  # the browser refuses whatever would be fetched or run


def document(title: str, body: Iterable[str], style: str = "") -> bytes:
    """The page, UTF-8.

    Args:
        title: text; the page's heading as well.
        body: HTML elements.
        style: rules that this page has beside those of all pages.
    """
    head = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"{markup.element('title', title)}<style>{STYLE}{style}</style></head><body>"
    )
    return "\n".join([head, markup.element("h1", title), *body, "</body></html>\n"]).encode()
