"""The catalogue: the same keys in every language, words for every code and label that this repository knows."""

import re
import tomllib
from dataclasses import replace
from pathlib import Path
from string import Formatter

import pytest
from contracts import POINT

from cxr_edge.errors import Reason
from cxr_edge.report import LANGUAGES, Language
from cxr_edge.report.figures import Figures
from cxr_edge.report.words import words_of
from cxr_edge.types import Interval, Note

REPOSITORY = Path(__file__).resolve().parents[2]


def _places(text: str) -> set[str | None]:
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_same_keys_and_places_as_in_english(language: Language) -> None:
    english, other = words_of("en").texts, words_of(language).texts
    assert list(other) == list(english)
    assert {key: _places(text) for key, text in other.items()} == {key: _places(text) for key, text in english.items()}
    assert all(text.strip() == text != "" for text in other.values())


def test_languages_differ() -> None:
    english, spanish = words_of("en").texts, words_of("es").texts
    same = {key for key in english if english[key] == spanish[key]}
    assert same == {
        "identifiers.sop_instance_uid",
        "identifiers.study_instance_uid",
        "statement.purpose",
        "label.NORMAL",
        "label.COVID-19",
        "point.youden",
    }


def test_every_documented_code_has_words() -> None:
    page = (REPOSITORY / "docs" / "reference" / "reason-codes.md").read_text("utf-8")
    sections = re.split(r"^## ", page, flags=re.MULTILINE)
    wanted = {reason.value for reason in Reason if reason.value.startswith("gate_")}
    for section in sections:
        if section.startswith(("Further codes in `gate.reasons`", "Codes in `warnings`")):
            rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
            wanted |= {code for row in rows for code in re.findall(r"`(\w+)`", row)}
    assert len(wanted) > 25
    assert wanted == {key.removeprefix("note.") for key in words_of("en").texts if key.startswith("note.")}


def test_every_label_and_operating_point_of_the_recipes_has_words() -> None:
    for path in (REPOSITORY / "models").glob("*/recipe.toml"):
        recipe = tomllib.loads(path.read_text("utf-8"))
        for label in recipe["labels"]:
            assert f"label.{label}" in words_of("es").texts
        for point in recipe["operating_points"]:
            assert f"point.{point['name']}" in words_of("es").texts


def test_unknown_codes_and_labels_stay_as_they_are() -> None:
    assert words_of("es").note(Note("never_heard_of", "something")) == "something"
    assert words_of("es").label("TUBERCULOSIS") == "TUBERCULOSIS"
    assert words_of("es").point(replace(POINT, name="a site's own")) == "a site's own"


def test_labels_are_capital_at_the_beginning_of_a_line_only() -> None:
    es = words_of("es")
    assert [es.label("VIRAL"), es.heading("VIRAL"), es.heading("COVID-19")] == [
        "neumonía viral",
        "Neumonía viral",
        "COVID-19",
    ]


def test_a_decimal_comma_in_spanish() -> None:
    es = words_of("es").figures
    assert es.score_and_threshold(0.99999, POINT) == ("> 0,999", "0,500")
    assert es.percent(Interval(0.905, 0.8725, 0.93))["estimate"] == "90,5"
    assert es.years((0.5, 5.0)) == {"low": "0,5", "high": "5"}


def test_score_and_threshold_never_look_equal_when_they_are_not() -> None:
    assert Figures(".").score_and_threshold(0.5, POINT) == ("0.500", "0.500")
    assert Figures(".").score_and_threshold(0.4999999, POINT) == ("0.4999999", "0.5000000")
    assert Figures(".").score_and_threshold(0.12345, POINT) == ("0.123", "0.500")


@pytest.mark.parametrize(
    ("score", "threshold", "shown"),
    [
        (0.9, 0.0004, ("0.9000", "0.0004")),  # 0.000 would call every image positive
        (0.9, 0.99996, ("0.90000", "0.99996")),
        (0.00002, 0.5, ("< 0.001", "0.500")),
        (0.99999, 0.5, ("> 0.999", "0.500")),
        (0.99999, 0.9996, ("> 0.9999", "0.9996")),
        (0.0, 0.5, ("0.000", "0.500")),
        (1.0, 1.0, ("1.000", "1.000")),
    ],
)
def test_no_score_and_no_threshold_looks_certain(score: float, threshold: float, shown: tuple[str, str]) -> None:
    assert Figures(".").score_and_threshold(score, replace(POINT, threshold=threshold)) == shown


def test_no_interval_looks_certain() -> None:
    assert Figures(".").percent(Interval(0.9996, 0.0004, 1.0)) == {
        "estimate": "> 99.9",
        "low": "< 0.1",
        "high": "100.0",
    }


def test_probabilities_that_are_nearly_none_or_all() -> None:
    shown = [Figures(".").probability(value) for value in (0.0, 1e-5, 0.25, 0.99999, 1.0)]
    assert shown == ["0.000", "< 0.001", "0.250", "> 0.999", "1.000"]
