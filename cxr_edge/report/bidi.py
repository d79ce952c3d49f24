"""One line of text from the order it is read in to the order it is drawn in, left to right.

The Unicode Bidirectional Algorithm (UAX 9) for a line without explicit embeddings, overrides and isolates: the report
shows those as code points, so that a file name cannot pass for another. Of brackets, those of ASCII are paired.
"""

import itertools
import unicodedata
from collections.abc import Iterator

_NEUTRALS = ("B", "S", "WS", "ON", "BN")
_NUMBERS = ("EN", "AN")
_CLOSING = {"(": ")", "[": "]", "{": "}"}
_MIRRORED = str.maketrans("()[]{}<>«»", ")(][}{><»«")


def visual(line: str) -> str:
    """The characters in the order of drawing; a line without right-to-left letters comes back as it is."""
    classes = [unicodedata.bidirectional(character) or "L" for character in line]
    if not {"R", "AL", "AN"} & set(classes):
        return line
    base = 1 if next((kind for kind in classes if kind in ("L", "R", "AL")), "L") != "L" else 0
    levels = _levels(line, classes, base)
    return "".join(_reordered(line, levels))


def _levels(line: str, classes: list[str], base: int) -> list[int]:
    """The embedding level of each character: rules W1 to W7, N0 to N2, I1, I2 and L1."""
    start = "R" if base else "L"
    kinds = _neutrals(_brackets(line, _weak(classes, start), start), start)
    levels = [base + _raised(kind, base) for kind in kinds]
    trailing = len(list(itertools.takewhile(lambda kind: kind in ("WS", "S", "B", "BN"), reversed(classes))))
    return [*levels[: len(levels) - trailing], *[base] * trailing]


def _raised(kind: str, base: int) -> int:
    if base:
        return 1 if kind in ("L", *_NUMBERS) else 0
    return {"R": 1, "AN": 2, "EN": 2}.get(kind, 0)


def _weak(classes: list[str], start: str) -> list[str]:
    kinds = _with_marks_and_numbers(classes, start)
    for at in range(1, len(kinds) - 1):  # W4
        one_before, one_after = kinds[at - 1], kinds[at + 1]
        if one_before == one_after and (kinds[at], one_before) in (("ES", "EN"), ("CS", "EN"), ("CS", "AN")):
            kinds[at] = one_before
    for terminators, run in _runs(kinds, ("ET",)):  # W5
        if terminators and "EN" in (_at(kinds, run.start - 1), _at(kinds, run.stop)):
            kinds[run] = ["EN"] * (run.stop - run.start)
    kinds = ["ON" if kind in ("ES", "ET", "CS") else kind for kind in kinds]  # W6
    strong = start
    for at, kind in enumerate(kinds):  # W7
        strong = kind if kind in ("L", "R") else strong
        kinds[at] = "L" if kind == "EN" and strong == "L" else kind
    return kinds


def _with_marks_and_numbers(classes: list[str], start: str) -> list[str]:
    """Rules W1 to W3."""
    kinds: list[str] = []
    strong = last = start
    for kind in classes:
        last = last if kind == "NSM" else kind
        strong = last if last in ("L", "R", "AL") else strong
        kinds.append("AN" if last == "EN" and strong == "AL" else last)
    return ["R" if kind == "AL" else kind for kind in kinds]


def _brackets(line: str, kinds: list[str], start: str) -> list[str]:
    """Rule N0: a pair takes the line's direction if that stands inside it, the other if that stands before it, too."""
    resolved = list(kinds)
    for opening, closing in sorted(_pairs(line)):
        inside = {_direction(kind, start) for kind in resolved[opening + 1 : closing]} & {"L", "R"}
        if not inside:
            continue
        strong = (_direction(kind, start) for kind in reversed(resolved[:opening]))
        before = next((kind for kind in strong if kind in ("L", "R")), start)
        resolved[opening] = resolved[closing] = start if start in inside else before
    return resolved


def _pairs(line: str) -> Iterator[tuple[int, int]]:
    """Definition BD16: the places of brackets that belong together; what is open inside of them is closed with them."""
    opened: list[tuple[str, int]] = []
    for place, character in enumerate(line):
        if character in _CLOSING:
            opened.append((_CLOSING[character], place))
        depths = [depth for depth, (closing, _) in enumerate(opened) if closing == character]
        if depths:
            yield opened[depths[-1]][1], place
            del opened[depths[-1] :]


def _neutrals(kinds: list[str], start: str) -> list[str]:
    """Rules N1 and N2: between two of one direction that one, else the line's own."""
    resolved = list(kinds)
    for neutral, run in _runs(kinds, _NEUTRALS):
        if neutral:
            sides = {_direction(_at(kinds, at), start) for at in (run.start - 1, run.stop)}
            resolved[run] = [sides.pop() if len(sides) == 1 else start] * (run.stop - run.start)
    return resolved


def _direction(kind: str, start: str) -> str:
    return "R" if kind in _NUMBERS else kind or start


def _at(kinds: list[str], position: int) -> str:
    return kinds[position] if 0 <= position < len(kinds) else ""


def _runs(kinds: list[str], wanted: tuple[str, ...]) -> list[tuple[bool, slice]]:
    runs, begin = [], 0
    for inside, group in itertools.groupby(kinds, lambda kind: kind in wanted):
        end = begin + len(list(group))
        runs.append((inside, slice(begin, end)))
        begin = end
    return runs


def _reordered(line: str, levels: list[int]) -> list[str]:
    """Rules L2 and L4; combining marks stay behind their letter."""
    order = list(range(len(line)))
    for level in range(max(levels), 0, -1):
        begin = 0
        for high, group in itertools.groupby([levels[at] >= level for at in order]):
            end = begin + len(list(group))
            if high:
                order[begin:end] = order[begin:end][::-1]
            begin = end
    drawn = [line[at].translate(_MIRRORED) if levels[at] % 2 else line[at] for at in order]
    return _marks_behind(drawn, [levels[at] % 2 == 1 for at in order])


def _marks_behind(drawn: list[str], reversed_: list[bool]) -> list[str]:
    """Rule L3: after a reversal marks stand before their letter; fonts expect them behind it."""
    result: list[str] = []
    held: list[str] = []
    for character, turned in zip(drawn, reversed_, strict=True):
        if turned and unicodedata.combining(character):
            held.insert(0, character)
            continue
        result += [character, *held]
        held = []
    return result + held
