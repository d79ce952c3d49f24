"""Lines that fit, letters that join, text in the order of drawing."""

import subprocess
import sys
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxr_edge.report.arabic import join
from cxr_edge.report.bidi import visual
from cxr_edge.report.fonts import font_of
from cxr_edge.report.text import Style, drawable, runs, shortened, width_of, wrap

pytest.importorskip("reportlab")

STYLE = Style(8)


@pytest.mark.parametrize(
    ("logical", "drawn"),
    [
        ("abc def", "abc def"),
        ("אבג", "גבא"),
        ("abc אבג def", "abc גבא def"),
        ("אבג abc דה", "גבא abc הד"),
        ("דוד לוי 2026-03-04 (2).dcm", "יול דוד 2026-03-04 (2).dcm"),  # UAX 9 puts the letters last
        ("اب 2026-03-04", "با 2026-03-04"),  # UAX 9 draws 04-03-2026
        ("04.03.2026 [אב] 12.dcm", "04.03.2026 [בא] 12.dcm"),
        ("אב_גד.dcm", "דג_בא.dcm"),
        ("scan_אב-12", "scan_בא-12"),
        ("اب ١٢-٠٣", "با ١٢-٠٣"),
        ("אב ", "בא "),
        ("בָּא", "אבָּ"),
    ],
)
def test_order_of_drawing(logical: str, drawn: str) -> None:
    assert visual(logical) == drawn


@given(st.text(st.sampled_from("ab אבגدم12٣٤ .,-_/:+%$#!?()[]"), max_size=20))
def test_only_letters_from_right_to_left_change_places(text: str) -> None:
    letters = [place for place, character in enumerate(text) if character in "אבגدم .,-_"]
    drawn = visual(text)
    assert sorted(drawn) == sorted(text)
    assert [drawn[at] for at in range(len(text)) if at not in letters] == [
        text[at] for at in range(len(text)) if at not in letters
    ]


@pytest.mark.parametrize(
    ("word", "forms"),
    [
        ("محمد", "INITIAL MEDIAL MEDIAL FINAL"),
        ("دار", "ISOLATED ISOLATED ISOLATED"),
        ("سلام", "INITIAL FINAL ISOLATED"),  # lam and alef are one
        ("لا", "ISOLATED"),
        ("می\u200cخواهم", "INITIAL FINAL INITIAL FINAL ISOLATED INITIAL FINAL"),  # noqa: RUF001 - Persian
    ],
)
def test_arabic_letters_join(word: str, forms: str) -> None:
    assert [unicodedata.name(letter).split()[-2] for letter in join(word)] == forms.split()


def test_vowel_signs_do_not_part_letters() -> None:
    assert unicodedata.name(join("بُن")[0]).endswith("INITIAL FORM")
    assert join("no Arabic") == "no Arabic"


@settings(deadline=None)
@given(st.text(st.sampled_from("ابلمهيدأآىپگ\u064e\u064f\u0651ـ \u200c\u200d.1a"), max_size=12))
def test_joining_loses_no_letter(text: str) -> None:
    """Every form has a glyph, too: what had none would not be drawn."""
    shown = drawable(text)
    joined = join(shown)
    assert all(font_of(letter) for letter in joined)
    letters = unicodedata.normalize("NFKC", joined).replace("\u200c", "")
    assert sorted(letters) == sorted(shown.replace("\u200c", ""))


def test_every_letter_that_is_joined_has_its_glyphs() -> None:
    letters = pytest.importorskip("arabic_reshaper.letters").LETTERS_ARABIC
    assert [letter for letter, forms in letters.items() if not all(font_of(form) for form in forms if form)] == []


def test_only_arabic_letters_need_the_library() -> None:
    use = "import sys; from cxr_edge.report.arabic import join; join('Łódź דוד')"
    code = f"{use}; sys.exit('arabic_reshaper' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("letter", ["\u200c", "\u200d"])
def test_what_joins_nothing_is_shown(letter: str) -> None:
    """`a.dcm` and one with a character that nobody sees are two files."""
    shown = f"[U+{ord(letter):04X}]"
    for before, after in ("ab", "a.", ".a", "_(", "1,", "ار", "د1"):
        assert drawable(f"{before}{letter}{after}") == f"{before}{shown}{after}"
    assert drawable(f"می{letter}.dcm{letter}می{letter}") == f"می{shown}.dcm{shown}می{shown}"
    assert drawable(f"می{letter}{letter}خواهم") == f"می{shown}{shown}خواهم"


def test_what_parts_two_letters_is_seen() -> None:
    persian = "می\u200cخواهم"  # noqa: RUF001
    assert drawable(persian) == persian
    assert join(persian) != join(persian.replace("\u200c", ""))


@settings(deadline=None)  # the first one loads the fonts
@given(st.text(max_size=60))
def test_everything_is_drawable_or_a_code_point(text: str) -> None:
    shown = drawable(text)
    assert sum(len(piece) for piece, _ in runs(join(shown), bold=True)) == len(join(shown))
    assert drawable(shown) == shown


@settings(deadline=None)
@given(st.text(max_size=300), st.integers(1, 4), st.floats(30, 200))
def test_wrapped_lines_fit(text: str, most: int, width: float) -> None:
    block = wrap(drawable(text), STYLE, width, most)
    assert len(block.lines) <= most
    assert all(width_of(line, STYLE) <= width + 1e-6 for line in block.lines)


def test_wrapping() -> None:
    assert wrap("one two three", STYLE, 40, 3).lines == ("one two", "three")
    assert wrap("one two three four five six", STYLE, 40, 2).lines == ("one two", "three fo…")
    assert wrap("", STYLE, 40, 2).lines == ()
    chinese = wrap("胸部" * 20, STYLE, 80, 9)
    assert len(chinese.lines) > 3
    assert "".join(chinese.lines) == "胸部" * 20


def test_shortened() -> None:
    assert shortened("short", STYLE, 100) == "short"
    assert shortened("x" * 100, STYLE, 20).endswith("x…")
    assert shortened("x" * 100, STYLE, 1) == "…"
