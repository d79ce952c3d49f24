"""Lines that fit, letters that join, text in the order of drawing."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxr_edge.report.arabic import join
from cxr_edge.report.bidi import visual
from cxr_edge.report.text import Style, drawable, runs, shortened, width_of, wrap

pytest.importorskip("reportlab")

STYLE = Style(8)


@pytest.mark.parametrize(
    ("logical", "drawn"),
    [
        ("abc def", "abc def"),
        ("אבג", "גבא"),
        ("abc אבג def", "abc גבא def"),
        ("אבג abc דה", "הד abc גבא"),
        ("אבג 123", "123 גבא"),
        ("abc אב 12.5 גד", "abc דג 12.5 בא"),
        ("אב (1).dcm", "dcm.(1) בא"),
        ("PA (אב) 1.dcm", "PA (בא) 1.dcm"),
        ("אב (PA) 1.dcm", "1.dcm (PA) בא"),
        ("a [אב (1)] b", "a [(1) בא] b"),
        ("a (אב] 1", "a (1 [בא"),
        ("scan_אב-12", "scan_12-בא"),
        ("מחיר 50% הנחה", "החנה 50% ריחמ"),
        ("اب ١٢٣", "١٢٣ با"),
        ("اب 12:30", "12:30 با"),
        ("אב ", " בא"),
        ("בָּא", "אבָּ"),
    ],
)
def test_order_of_drawing(logical: str, drawn: str) -> None:
    assert visual(logical) == drawn


@given(st.text(st.sampled_from("ab אבגدم12٣٤ .,-_/:+%$#!?()[]"), max_size=20))
def test_drawing_loses_no_character(text: str) -> None:
    brackets = str.maketrans(")]", "([")
    assert sorted(visual(text).translate(brackets)) == sorted(text.translate(brackets))


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


@pytest.mark.parametrize("letter", ["\u200c", "\u200d"])
def test_what_joins_nothing_is_shown(letter: str) -> None:
    """`a.dcm` and one with a character that nobody sees are two files."""
    for before, after in ("ab", "a.", ".a", "_(", "1,"):
        assert drawable(f"{before}{letter}{after}") == f"{before}[U+{ord(letter):04X}]{after}"
    shown = f"[U+{ord(letter):04X}]"
    assert drawable(f"می{letter}خواهم") == f"می{letter}خواهم"
    assert drawable(f"می{letter}.dcm{letter}می{letter}") == f"می{shown}.dcm{shown}می{shown}"
    assert drawable(f"می{letter}{letter}خواهم") == f"می{shown}{shown}خواهم"


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
