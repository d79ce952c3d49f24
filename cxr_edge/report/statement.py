"""What a model is for and how far its scores go, in the reader's language."""

import re
from dataclasses import dataclass

from cxr_edge.contract import Contract
from cxr_edge.report.words import MOST_LABELS, Language, Words, words_of

_FRONTAL = {"AP", "PA"}
_GROWN_UP = 18  # years
_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


@dataclass(frozen=True, slots=True)
class Statement:
    """What to say beside a result.

    Attributes:
        text: in the reader's language.
        original: the contract's own statement, in English, where that says more than `text`.
    """

    text: str
    original: str | None


def safety_statement(contract: Contract, language: Language) -> Statement:
    """In English the contract's own statement; in another language one made from its labels, views and ages."""
    return statement(contract, words_of(language))


def statement(contract: Contract, words: Words) -> Statement:
    """As `safety_statement`."""
    own = contract.intended_use.statement
    if words.language == "en":
        return Statement(own, None)
    says_more = not _is_said(own, _made(contract, words_of("en")))
    return Statement(_made(contract, words), own if says_more else None)


def _made(contract: Contract, words: Words) -> str:
    """That it is no medical device, what the model is for, and what holds of every model's scores."""
    use = contract.intended_use
    images = words.say("statement.frontal")
    if set(use.views) != _FRONTAL:
        views = ", ".join(use.views) or words.say("intended_use.any")
        images = words.say("statement.views", views=views)
    if use.age_years is not None:
        group = "statement.children" if use.age_years[1] < _GROWN_UP else "statement.people"
        images += " " + words.say(group, **words.figures.years(use.age_years))
    purpose = words.say("statement.purpose", images=images, labels=_labels(contract, words))
    return " ".join((words.say("notice"), purpose, words.say("statement.limits")))


def _labels(contract: Contract, words: Words) -> str:
    if len(contract.labels) > MOST_LABELS:
        return words.say("statement.many", count=len(contract.labels))
    positive_first = sorted(contract.labels, key=lambda label: label not in contract.positive_labels)
    *others, last = map(words.label, positive_first)
    return words.say("statement.or", labels=", ".join(others), last=last)


def _is_said(own: str, made: str) -> bool:
    """Whether each sentence of one stands in the other, too."""
    sentences = re.split(r"\.(?:\s+|$)", _plain(own))
    return all(sentence in _plain(made) for sentence in sentences)


def _plain(text: str) -> str:
    """In lower case, with figures for numbers."""
    for number, word in enumerate(_NUMBERS):
        text = re.sub(rf"\b{word}\b", str(number), text, flags=re.IGNORECASE)
    return text.lower()
