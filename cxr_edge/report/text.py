"""Text as it can be drawn: in bundled fonts, in lines that fit, from left to right."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, groupby

from cxr_edge.report.arabic import ZWNJ, join, parts
from cxr_edge.report.bidi import visual
from cxr_edge.report.fonts import advance, font_of

ELLIPSIS = "…"
CODE_POINT = re.compile(r"\[U\+[0-9A-F]{4,6}\]")
MOST_CHARACTERS = 2000  # of one text; more is never seen on one page, and would only cost time


@dataclass(frozen=True, slots=True)
class Style:
    """How a text is set; `size` in points."""

    size: float
    colour: str = "#1b2733"
    bold: bool = False

    @property
    def leading(self) -> float:
        """From one baseline to the next, in points."""
        return self.size * 1.3


@dataclass(frozen=True, slots=True)
class Block:
    """Lines of one style."""

    lines: tuple[str, ...]
    style: Style

    @property
    def height(self) -> float:
        """In points."""
        return len(self.lines) * self.style.leading


def drawable(text: str) -> str:
    """The text with what no bundled font can draw as `[U+0905]`: a reader must see that something stands there.

    Composed (NFC); any space or line break is a space; control, direction and joining characters are code points, too,
    but for a joiner whose effect between two Arabic letters is seen.
    """
    text = unicodedata.normalize("NFC", text[:MOST_CHARACTERS])
    return "".join(_drawable(text, position) for position in range(len(text)))


def _drawable(text: str, position: int) -> str:
    character = text[position]
    if unicodedata.category(character) == "Zs":
        return " "
    if character == ZWNJ and parts(text[position - 1 : position], text[position + 1 : position + 2]):
        return character
    if character.isprintable() and font_of(character) is not None:
        return character
    return f"[U+{ord(character):04X}]"


def prose(text: str) -> str:
    """`drawable` for free text, whose line breaks mean nothing."""
    return drawable(re.sub(r"[\t\r\n]+", " ", text).strip())


def width_of(text: str, style: Style) -> float:
    """In points, of a drawable text whose Arabic letters are joined."""
    return sum(advance(character, bold=style.bold) for character in text) * style.size


def wrap(text: str, style: Style, width: float, most: int) -> Block:
    """A drawable text in at most `most` lines no wider than `width` points; what does not fit ends in an ellipsis."""
    lines: list[str] = []
    line = ""
    for word in re.findall(r"\S+\s*|\s+", join(text)):
        for piece in _pieces(word, style, width):
            if width_of((line + piece).rstrip(), style) > width and line:
                lines.append(line.rstrip())
                line = ""
            line += piece
        if len(lines) > most:  # enough is known
            break
    lines += [line.rstrip()] if line.strip() else []
    if len(lines) > most:
        lines = [*lines[: most - 1], shortened(lines[most - 1] + ELLIPSIS, style, width)]
    return Block(tuple(lines), style)


def _pieces(word: str, style: Style, width: float) -> Iterator[str]:
    """A word whole; one that is wider than a line, or has no spaces as Chinese has none, in its letters."""
    if width_of(word.rstrip(), style) <= width or not word.strip():
        yield word
        return
    letters = ""
    for letter in word:
        if letters and not unicodedata.combining(letter):
            yield letters
            letters = ""
        letters += letter
    yield letters


def shortened(text: str, style: Style, width: float) -> str:
    """The text if it fits, else as much of it as does with an ellipsis."""
    joined = join(text)
    if width_of(joined, style) <= width:
        return joined
    letters = joined.rstrip(ELLIPSIS)
    widths = accumulate(width_of(letter, style) for letter in letters)
    room = width - width_of(ELLIPSIS, style)
    return letters[: sum(reached <= room for reached in widths)].rstrip() + ELLIPSIS


def runs(line: str, *, bold: bool) -> Iterator[tuple[str, str]]:
    """Pieces of one line in the order of drawing, each with its font's name."""
    for name, group in groupby(visual(line), lambda character: font_of(character, bold=bold)):
        if name is not None:
            yield "".join(group), name
