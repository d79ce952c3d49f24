"""What the page says, section by section, before anybody thinks of where it stands."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from cxr_edge.contract import Contract
from cxr_edge.report.text import drawable, prose
from cxr_edge.report.words import Words
from cxr_edge.types import Interval, Note, Prediction, side_is_label

Kind = Literal["fact", "status", "point", "plain"]


@dataclass(frozen=True, slots=True)
class Row:
    """One entry of a section: a fact with its term, a status, a point of a list, or plain text."""

    value: str
    term: str = ""
    kind: Kind = "fact"


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with rows; all texts are drawable."""

    title: str
    rows: tuple[Row, ...]


def about_the_image(prediction: Prediction, words: Words, most_notes: int) -> tuple[Section, ...]:
    """What is to be said about this image, with at most so many notes in each list."""
    return _gate(prediction, words, most_notes), _warnings(prediction, words, most_notes)


def over_both_columns(prediction: Prediction, words: Words, *, identifiers: bool) -> tuple[Section, ...]:
    """Which image this is, where that was asked for, and how the result came about."""
    technical = _technical(prediction, words)
    return (_identifiers(prediction, words), technical) if identifiers else (technical,)


def _technical(prediction: Prediction, words: Words) -> Section:
    """How the result came about."""
    model, unknown = prediction.model, words.say("technical.unknown")
    rows = {
        "model": words.say("technical.named", model=f"{model.name} {model.version}", label=prediction.label),
        "model_sha256": model.sha256,
        "content_sha256": prediction.source.content_sha256 or unknown,
        "rendering": prediction.rendering,
        "execution_provider": words.say(
            "technical.stages",
            provider=prediction.execution_provider,
            **words.figures.milliseconds(prediction.latency),
        ),
    }
    if details := " · ".join(_details(prediction, words)):
        rows["details"] = details
    return _section("technical", rows, words)


def operating_point(prediction: Prediction, contract: Contract, words: Words) -> Section:
    """What the model was measured to do at the threshold applied, and of many labels, for which together."""
    point = prediction.operating_point
    rows = {
        "name": words.point(point),
        "threshold": words.figures.score_and_threshold(prediction.score, point)[1],
        "sensitivity": _interval(point.sensitivity, words),
        "specificity": _interval(point.specificity, words),
        "data": words.say("operating_point.original", text=point.data),
        "how_chosen": words.say("operating_point.original", text=point.how_chosen),
    }
    section = _section("operating_point", rows, words)
    if side_is_label(contract.labels):
        return section
    positives, others = (
        contract.positive_labels,
        [name for name in contract.labels if name not in contract.positive_labels],
    )
    values = {"positives": words.labels(positives), "others": words.labels(others)}
    together = Row(prose(words.say("operating_point.together", **values)), kind="plain")
    return replace(section, rows=(*section.rows, together))


def intended_use(contract: Contract, words: Words) -> Section:
    """On whom the model may be asked."""
    use, any_ = contract.intended_use, words.say("intended_use.any")
    ages = any_
    if use.age_years is not None:
        ages = words.say("intended_use.years", **words.figures.years(use.age_years))
    rows = {
        "modalities": ", ".join(use.modalities) or any_,
        "views": ", ".join(use.views) or any_,
        "body_parts": ", ".join(use.body_parts) or any_,
        "ages": ages,
    }
    return _section("intended_use", rows, words)


def _gate(prediction: Prediction, words: Words, most: int) -> Section:
    gate = prediction.gate
    status = Row(words.say(f"gate.{gate.status}"), kind="status")
    return Section(words.say("gate"), (status, *_notes(gate.reasons, words, most)))


def _warnings(prediction: Prediction, words: Words, most: int) -> Section:
    rows = tuple(_notes(prediction.warnings, words, most)) or (Row(words.say("warnings.none"), kind="plain"),)
    return Section(words.say("warnings"), rows)


def _identifiers(prediction: Prediction, words: Words) -> Section:
    source, none = prediction.source, words.say("identifiers.none")
    rows = {
        # PurePath would read a path of the other operating system as one name
        "file": re.split(r"[/\\]", source.path)[-1] if source.path else none,
        "sop_instance_uid": source.sop_instance_uid or none,
        "study_instance_uid": source.study_instance_uid or none,
    }
    facts = tuple(Row(drawable(text), words.say(f"identifiers.{key}")) for key, text in rows.items())
    return Section(words.say("identifiers"), facts)


def _section(key: str, rows: dict[str, str], words: Words) -> Section:
    facts = tuple(Row(prose(text), words.say(f"{key}.{name}")) for name, text in rows.items())
    return Section(words.say(key), facts)


def _interval(interval: Interval, words: Words) -> str:
    return words.say("operating_point.interval", **words.figures.percent(interval))


def _notes(notes: tuple[Note, ...], words: Words, most: int) -> Iterator[Row]:
    for note in notes[:most]:
        yield Row(prose(words.note(note, notes)), kind="point")
    if len(notes) > most:
        yield Row(words.say("gate.more", count=len(notes) - most), kind="plain")


def _details(prediction: Prediction, words: Words) -> Iterator[str]:
    """What the messages say beyond the plain words: their tags and figures."""
    for note in (*prediction.gate.reasons, *prediction.warnings):
        if words.note(note) != note.message and any(character.isdigit() for character in note.message):
            before, colon, after = note.message.partition(": ")  # what stands before it, the plain words say
            yield after if colon else before
