"""The words of the report: one file per language in `languages/`, all with the same keys."""

import functools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal

from cxr_edge.report.figures import Figures
from cxr_edge.types import Note, OperatingPoint

Language = Literal["en", "es"]
LANGUAGES: tuple[Language, ...] = ("en", "es")
MOST_LABELS = 5  # named one by one
NO_TAGS, NO_IMAGE_CHECK = "no_tags", "no_image_check"  # codes of the gate


@dataclass(frozen=True, slots=True, eq=False)
class Words:
    """One language."""

    language: Language
    texts: dict[str, str]

    @property
    def figures(self) -> Figures:
        """Numbers in this language."""
        return Figures(self.texts["decimal_mark"])

    def say(self, key: str, **values: Any) -> str:  # noqa: ANN401 - anything that has a text
        """The text of a key with the values in their places."""
        return self.texts[key].format(**values)

    def label(self, name: str) -> str:
        """A label in plain words, as within a sentence; itself where no language has a word for it."""
        return self.texts.get(f"label.{name}", name)

    def labels(self, names: Sequence[str]) -> str:
        """Labels in plain words, as within brackets; of many, how many there are."""
        if len(names) > MOST_LABELS:
            return self.say("statement.many", count=len(names))
        return ", ".join(map(self.label, names))

    def heading(self, name: str) -> str:
        """A label in plain words, as at the beginning of a line."""
        words = self.label(name)
        return words[:1].upper() + words[1:]

    def point(self, point: OperatingPoint) -> str:
        """The operating point's name; itself where no language has a word for it."""
        return self.texts.get(f"point.{point.name}", point.name)

    def note(self, note: Note, beside: Iterable[Note] = ()) -> str:
        """A note in plain words; its own English message where its code is not in the catalogue.

        A file without tags, and a model that does not check the image: then nothing may sound as if it had been.
        """
        if note.code == NO_TAGS and any(other.code == NO_IMAGE_CHECK for other in beside):
            return self.say("gate.nothing_stated")
        return self.texts.get(f"note.{note.code}", note.message)


@functools.cache
def words_of(language: Language) -> Words:
    """The catalogue of one language."""
    text = (files("cxr_edge.report") / "languages" / f"{language}.json").read_text(encoding="utf-8")
    return Words(language, json.loads(text))
