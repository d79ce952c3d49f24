"""The bundled fonts: every glyph of the page is embedded, so that it prints alike on any machine."""

import functools
import io
import threading
from importlib.resources import files
from typing import Any

REGULAR, BOLD = "NotoSans-Regular", "NotoSans-Bold"
_FALLBACKS = ("NotoSansHebrew-Regular", "NotoSansArabic-Regular", "DroidSansFallback", "CXRHangul-Regular")
_loading = threading.RLock()


@functools.lru_cache(maxsize=65_536)
def font_of(character: str, *, bold: bool = False) -> str | None:
    """The name of the first font that has a glyph for this character; None where no bundled font has one."""
    names = (BOLD if bold else REGULAR, *_FALLBACKS)  # the fallbacks have one weight
    return next((name for name in names if ord(character) in load(name).face.charToGlyph), None)


@functools.lru_cache(maxsize=65_536)
def advance(character: str, *, bold: bool = False) -> float:
    """Its width in units of the font size; it must have a font."""
    name = font_of(character, bold=bold)
    return float(load(name).stringWidth(character, 1)) if name else 0.0


def load(name: str) -> Any:  # noqa: ANN401 - reportlab has no types
    """The font, read and registered with reportlab once in a process; another thread waits for it."""
    with _loading:
        return _load(name)


@functools.cache
def _load(name: str) -> Any:  # noqa: ANN401
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFont

    data = (files("cxr_edge.report") / "fonts" / f"{name}.ttf").read_bytes()
    font = TTFont(f"cxr-edge-{name}", io.BytesIO(data))
    pdfmetrics.registerFont(font)
    return font
