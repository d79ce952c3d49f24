"""Arabic letters take the form that their neighbours ask for."""

import functools
import re
from collections.abc import Callable

ZWNJ = "\u200c"  # zero-width non-joiner: parts letters within a word, as Persian does
_LETTER = re.compile(r"[\u0620-\u064a\u066e-\u06d5]")
_LAM_ALEF = ("", " WITH HAMZA ABOVE", " WITH HAMZA BELOW", " WITH MADDA ABOVE")
_CONFIGURATION = {
    "language": "Arabic",  # its table has the letters of Persian and Urdu, too
    "delete_harakat": False,
    "shift_harakat_position": False,
    "delete_tatweel": False,
    "support_zwj": False,
    "use_unshaped_instead_of_isolated": False,
    "support_ligatures": True,
    "ARABIC LIGATURE ALLAH": False,
    **dict.fromkeys((f"ARABIC LIGATURE LAM WITH ALEF{kind}" for kind in _LAM_ALEF), True),  # lam and alef are one
}


def join(text: str) -> str:
    """The text, still in logical order, with each Arabic letter in its initial, medial, final or isolated form."""
    joined = _reshape()(text) if _LETTER.search(text) else text
    return joined.replace(ZWNJ, "")


def parts(before: str, after: str) -> bool:
    """Whether a zero-width non-joiner between two characters changes how they look."""
    return join(before + ZWNJ + after) != join(before + after)


@functools.cache
def _reshape() -> Callable[[str], str]:
    from arabic_reshaper import ArabicReshaper

    reshape: Callable[[str], str] = ArabicReshaper(_CONFIGURATION).reshape
    return reshape
