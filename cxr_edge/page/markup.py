"""HTML from texts: everything that comes from outside is escaped here, and only here."""

from collections.abc import Iterable, Sequence
from html import escape

from cxr_edge.page.words import visible


def text(content: object) -> str:
    """Any content as text: escaped, and without characters that are not to be seen."""
    return escape(visible(str(content)))


def element(tag: str, content: object, style: str = "") -> str:
    """An element that holds text."""
    attribute = f' class="{style}"' if style else ""
    return f"<{tag}{attribute}>{text(content)}</{tag}>"


def definitions(pairs: Iterable[tuple[str, str]]) -> str:
    """Names with their values."""
    return "<dl>" + "".join(element("dt", name) + element("dd", value) for name, value in pairs) + "</dl>"


def bullets(items: Iterable[str], style: str = "") -> str:
    """A list; nothing where there are no items."""
    rows = "".join(element("li", item) for item in items)
    return f'<ul class="{style}">{rows}</ul>' if rows else ""


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose rows become cards on a narrow screen; a second line of a cell, after a line break, is faint."""
    head = "".join(element("th", name) for name in header)
    body = "".join(
        "<tr>" + "".join(_cell(name, cell) for name, cell in zip(header, row, strict=True)) + "</tr>" for row in rows
    )
    return f'<table class="rows"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _cell(name: str, content: str) -> str:
    if not content:
        return '<td class="none"></td>'
    first, _, second = content.partition("\n")
    faint = element("span", second, "faint") if second else ""
    return f'<td data-label="{text(name)}"><span>{text(first)}{faint}</span></td>'
