"""Arabic letters take the form that their neighbours ask for.

The forms come from Python's own Unicode data: the decompositions of the Arabic Presentation Forms (Unicode 9.2).
"""

import functools
import itertools
import unicodedata

LAM, TATWEEL, ZWNJ, ZWJ = "\u0644", "\u0640", "\u200c", "\u200d"
_FORMS = ("<isolated>", "<initial>", "<medial>", "<final>")  # others there are of punctuation: vertical, small
_FIRST_FORM, _LAST_FORM = 0xFB50, 0xFEFC  # U+FC00 .. U+FDFF are ligatures of words, which decompose to several letters


def join(text: str) -> str:
    """The text, still in logical order, with each Arabic letter in its initial, medial, final or isolated form."""
    if _forms().keys().isdisjoint(text):
        return text
    joined: list[str] = []
    position = 0
    while position < len(text):
        pair = text[position : position + 2]
        before = _joins_after(_neighbour(text, position, -1))
        if pair in _forms():  # lam and alef are written as one
            joined.append(_shape(pair, before=before, after=False))
            position += 2
            continue
        if pair[0] not in (ZWNJ, ZWJ):
            after = _joins_before(_neighbour(text, position, +1))
            joined.append(_shape(pair[0], before=before, after=after))
        position += 1
    return "".join(joined)


def is_joining(letter: str) -> bool:
    """Whether a zero-width (non-)joiner between it and another such letter means something."""
    return letter in _forms()


@functools.cache
def _forms() -> dict[str, dict[str, str]]:
    """A letter, or lam with an alef -> name of the form -> the presentation form."""
    forms: dict[str, dict[str, str]] = {}
    for code in range(_FIRST_FORM, _LAST_FORM + 1):
        form, *letters = unicodedata.decomposition(chr(code)).split() or [""]
        whole = "".join(chr(int(letter, 16)) for letter in letters)
        if form in _FORMS and (len(whole) == 1 or _is_lam_alef(whole)):
            forms.setdefault(whole, {})[form.strip("<>")] = chr(code)
    return forms


def _is_lam_alef(letters: str) -> bool:
    return len(letters) == 2 and letters[0] == LAM and letters[1] in "\u0622\u0623\u0625\u0627"  # noqa: PLR2004


def _shape(letters: str, *, before: bool, after: bool) -> str:
    forms = _forms().get(letters, {})
    wanted = {(True, True): "medial", (True, False): "final", (False, True): "initial", (False, False): "isolated"}
    if before and after and "medial" not in forms:  # an alef joins the letter before it alone
        return forms.get("final", forms.get("isolated", letters))
    return forms.get(wanted[before, after], forms.get("isolated", letters))


def _neighbour(text: str, position: int, step: int) -> str:
    """The nearest character on one side that is no vowel sign; nothing at the end."""
    stop = -1 if step < 0 else len(text)
    others = (text[at] for at in range(position + step, stop, step))
    return next(itertools.dropwhile(lambda other: unicodedata.category(other) == "Mn", others), "")


def _joins_after(letter: str) -> bool:
    return letter in (TATWEEL, ZWJ) or "initial" in _forms().get(letter, {})


def _joins_before(letter: str) -> bool:
    return letter in (TATWEEL, ZWJ) or "final" in _forms().get(letter, {})
