"""Right-to-left letters in the order of drawing."""

import re
import unicodedata

# Hebrew and Arabic, also in their presentation forms, without Arabic digits
_LETTER = r"[\u0590-\u065f\u066a-\u06ef\u06fa-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]"
_RUN = re.compile(f"{_LETTER}(?:[ _.,'-]*{_LETTER})*")


def visual(line: str) -> str:
    """The line with each right-to-left run turned in its place.

    The line itself stays left to right, and digits and brackets stay where they are stored: the Unicode Bidirectional
    Algorithm (UAX 9) draws 03-04-2026 behind Arabic letters as 2026-04-03, and a date in a file name is misread.
    """
    return _RUN.sub(_turned, line)


def _turned(run: re.Match[str]) -> str:
    letters: list[str] = []
    for character in run[0]:
        if letters and unicodedata.combining(character):
            letters[-1] += character  # fonts expect vowel signs behind their letter
        else:
            letters.append(character)
    return "".join(reversed(letters))
