"""How far the page lets a result be relied on, and what it says of it on screen and on paper. Answers are made up."""

import csv
import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from contracts import POINT, make_prediction
from serving import File, Server

from cxr_edge.report.words import Language, words_of
from cxr_edge.results import to_row
from cxr_edge.types import Gate, GateStatus, Interval, Note, Prediction

playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright, of the test extra")
SECONDS = 30_000.0  # in milliseconds, as Playwright wants them
ABSENT = Note("gate_view", "(0018,5101) View Position is absent or empty; need AP or PA")
NEGATIVE = make_prediction(
    label="NORMAL", positive=False, score=0.49998, probabilities={"NORMAL": 0.50002, "PNEUMONIA": 0.49998}
)
GRAY = "rgb(90, 102, 115)"
AXE = "axe_playwright_python.sync_playwright"
Show = Callable[..., Any]


@pytest.fixture(scope="module")
def address(tiny: Path) -> Iterator[str]:
    """Where a server with the tiny network listens."""
    with Server(tiny) as server:
        yield server.url


@pytest.fixture
def show(chromium: Any, address: str) -> Iterator[Show]:
    """Opens the page, and lets it show these predictions."""
    contexts = []

    def show_all(*predictions: Prediction, labels: dict[str, Any] | None = None, **options: Any) -> Any:
        contexts.append(chromium.new_context(**{"locale": "en-GB", "color_scheme": "light", **options}))
        page = contexts[-1].new_page()
        if labels is not None:
            page.route("**/model", lambda route: route.fulfill(json=_with(route.fetch().json(), labels)))
        page.goto(address)
        answers = iter(predictions)
        page.route("**/predict*", lambda route: route.fulfill(status=200, body=json.dumps(to_row(next(answers)))))
        for number in range(len(predictions)):
            page.set_input_files("#files", {"name": f"{number}.png", "mimeType": "image/png", "buffer": b"made up"})
            playwright.expect(page.locator("#list li")).to_have_count(number + 1, timeout=SECONDS)
        return page

    yield show_all
    for context in contexts:
        context.close()


def _with(model: dict[str, Any], labels: dict[str, Any]) -> dict[str, Any]:
    return {**model, "contract": {**model["contract"], **labels}}


def gated(status: GateStatus) -> Prediction:
    return make_prediction(gate=Gate(status, (ABSENT,)))


def gated_by(note: Note) -> Prediction:
    return make_prediction(gate=Gate("unknown", (note,)))


@pytest.mark.parametrize(("language", "locale"), [("en", "en-GB"), ("es", "es-AR")])
def test_a_refused_image_gives_no_firm_result(show: Show, language: Language, locale: str) -> None:
    page, words = show(gated("refused"), locale=locale), words_of(language)
    playwright.expect(page.locator(".banner")).to_have_text(words.say("result.refused"))
    for place in (".verdict .class", ".scale .value"):
        assert page.locator(place).evaluate("element => getComputedStyle(element).color") == GRAY
    row = page.locator("#list button")
    playwright.expect(row.locator(".badge")).to_be_visible()
    assert row.evaluate("element => getComputedStyle(element).borderInlineStartColor") == GRAY
    playwright.expect(page.locator(".facts")).to_contain_text(words.say("gate.refused"))
    playwright.expect(page.locator(".facts")).to_contain_text(words.note(ABSENT))


@pytest.mark.parametrize(
    ("status", "mark"),
    [("warn", "Doubtful image"), ("unknown", "Not fully checked"), ("refused", "Outside intended use")],
)
def test_doubt_is_told_in_words(show: Show, status: GateStatus, mark: str) -> None:
    page = show(make_prediction(), gated(status))
    row, firm = page.locator("#list button", has_text="1.png"), page.locator("#list button", has_text="0.png")
    playwright.expect(row).to_contain_text(mark)
    assert firm.locator(".badge").count() == 0
    playwright.expect(page.locator(".verdict .badge").last).to_have_text(mark)
    playwright.expect(page.locator(".facts")).to_contain_text(words_of("en").say(f"gate.{status}"))
    assert "is missing, or is not one" in page.inner_text(".facts"), "the tag is merely absent"
    assert page.locator(".banner").count() == (status == "refused")


def test_the_chosen_row_keeps_its_colour(show: Show) -> None:
    page = show(make_prediction(), NEGATIVE)
    edges = {
        name: page.locator("#list button", has_text=f"{name}.png").evaluate(
            "element => [element.ariaCurrent, getComputedStyle(element).borderInlineStartColor]"
        )
        for name in "01"
    }
    assert edges == {"0": [None, "rgb(157, 42, 32)"], "1": ["true", "rgb(29, 92, 99)"]}


def test_a_negative_rules_nothing_out(show: Show) -> None:
    page = show(NEGATIVE)
    assert "Does not rule out disease; the model looks for no other finding." in page.inner_text(".verdict")
    assert "Does not rule out" not in show(make_prediction()).inner_text(".verdict")


@pytest.mark.parametrize(
    ("locale", "score", "threshold", "share"),
    [
        ("en-GB", "0.49998", "0.50000", "> 99.9% (95% CI 90.0\u2013100.0%)"),
        ("es-ES", "0,49998", "0,50000", "> 99,9 % (IC del 95 %: 90,0\u2013100,0 %)"),
    ],
)
def test_score_and_threshold_never_look_equal(show: Show, locale: str, score: str, threshold: str, share: str) -> None:
    point = replace(POINT, sensitivity=Interval(0.9999, 0.9, 1.0))
    page = show(replace(NEGATIVE, operating_point=point), locale=locale)
    assert page.inner_text(".scale .value") == score
    assert threshold in page.inner_text(".scale .point")
    assert f"{score} " in page.inner_text(".verdict")
    assert page.inner_text("#list .score") == score
    assert share in page.inner_text(".facts").replace("\xa0", " ")


def test_the_figures_are_the_reports(show: Show) -> None:
    """Page and PDF round alike."""
    page, figures = show(), words_of("es").figures
    values = [0.0, 1.0, 0.5, 0.49998, 0.5000001, 0.99998, 0.0002, 0.9995, 0.0716734454035759, 1e-13, 0.123456]
    pairs = [[score, threshold] for score in values for threshold in (0.5, 0.0716734454035759, 0.99999)]
    script = "pairs => import('/assets/figures.js').then(m => pairs.map(([a, b]) => m.scoreAndThreshold(a, b, ',')))"
    expected = [list(figures.score_and_threshold(one, replace(POINT, threshold=other))) for one, other in pairs]
    assert page.evaluate(script, pairs) == expected
    script = "values => import('/assets/figures.js').then(m => values.map(v => m.percentages(v, ',')))"
    intervals = [{"estimate": value, "low": 0.0, "high": value} for value in values]
    assert page.evaluate(script, intervals) == [figures.percent(Interval(**interval)) for interval in intervals]


LABELS = {"labels": ["NORMAL", "BACTERIAL", "VIRAL"], "positive_labels": ["BACTERIAL", "VIRAL"]}
LIKELIER = make_prediction(
    label="BACTERIAL", probabilities={"NORMAL": 0.45, "BACTERIAL": 0.3, "VIRAL": 0.25}, score=0.55
)


@pytest.mark.parametrize(("language", "locale"), [("en", "en-GB"), ("es", "es-ES")])
def test_three_labels_say_what_each_figure_is_of(show: Show, language: Language, locale: str) -> None:
    words = words_of(language)
    shown, bacterial = words.figures.probability, words.label("BACTERIAL")
    page = show(LIKELIER, labels=LABELS, locale=locale)
    verdict, facts = page.locator(".verdict"), page.locator(".facts")
    playwright.expect(verdict.locator(".class")).to_have_text(words.heading("BACTERIAL"))
    playwright.expect(verdict).to_contain_text(words.say("result.own", probability=shown(0.3)))
    more = words.say("result.more_probable", label=words.label("NORMAL"), probability=shown(0.45))
    playwright.expect(verdict).to_contain_text(more)
    sides = {"positives": f"{bacterial}, {words.label('VIRAL')}", "others": words.label("NORMAL")}
    playwright.expect(facts).to_contain_text(words.say("operating_point.together", **sides))
    playwright.expect(facts).to_contain_text(words.say("labels"))
    together = {"en": "positive labels together: 0.550", "es": "etiquetas positivas en conjunto: 0,550"}
    playwright.expect(page.locator("#list .score")).to_have_text(together[language])
    narrow = replace(LIKELIER, probabilities={"NORMAL": 0.33, "BACTERIAL": 0.34, "VIRAL": 0.33}, score=0.67)
    said = show(narrow, labels=LABELS, locale=locale).inner_text(".verdict")
    assert words.say("result.own", probability=shown(0.34)) in said
    assert more.partition(";")[0] not in said
    two = show(make_prediction(), locale=locale)
    assert two.locator(".own, .together").count() == 0


def test_the_heat_map_says_which_labels_it_compares(show: Show, image: File) -> None:
    pictures = {"radiograph": "/results/a/radiograph.png", "heatmap": "/results/a/heatmap.png", "report": "/results/a"}
    for locale, caption in (
        ("en-GB", "Evidence for bacterial pneumonia against normal"),
        ("es-ES", "Indicios de neumonía bacteriana frente a normal"),
    ):
        page = show(labels=LABELS, locale=locale)
        page.route("**/results/**", lambda route: route.fulfill(body=image[1], content_type="image/png"))
        page.route("**/predict*", lambda route: route.fulfill(json={**to_row(LIKELIER), **pictures}))
        page.set_input_files("#files", {"name": "a.png", "mimeType": "image/png", "buffer": image[1]})
        playwright.expect(page.locator(".legend .what")).to_have_text(caption, timeout=SECONDS)
        assert page.locator(".heat").get_attribute("alt").lower().endswith(caption.lower())


def test_the_heat_map_of_a_label_that_is_chosen(show: Show, image: File) -> None:
    """Its picture, its caption, and the report with it; back again to the most probable positive label."""
    asked: list[str] = []

    def kept(route: Any) -> None:
        asked.append(route.request.url.partition("/results/")[2])
        route.fulfill(body=image[1], content_type="image/png")

    pictures = {"radiograph": "/results/a/r.png", "heatmap": "/results/a/h.png", "report": "/results/a/r.pdf"}
    page = show(labels=LABELS)
    page.route("**/results/**", kept)
    page.route("**/predict*", lambda route: route.fulfill(json={**to_row(LIKELIER), **pictures}))
    page.set_input_files("#files", {"name": "a.png", "mimeType": "image/png", "buffer": image[1]})
    caption, choice = page.locator(".legend .what"), page.get_by_label("Evidence for")
    most = page.locator(".heat").get_attribute("src")
    choice.select_option("VIRAL")
    playwright.expect(caption).to_have_text("Evidence for viral pneumonia against normal", timeout=SECONDS)
    assert page.locator(".heat").get_attribute("src") != most
    with page.expect_download():
        page.click("#pdf")
    assert asked == ["a/r.png", "a/h.png", "a/h.png?label=VIRAL", "a/r.pdf?lang=en&identifiers=0&label=VIRAL"]
    choice.select_option("")
    playwright.expect(caption).to_have_text("Evidence for bacterial pneumonia against normal", timeout=SECONDS)
    assert page.locator(".heat").get_attribute("src") == most
    with page.expect_download():
        page.click("#pdf")
    assert asked[4:] == ["a/r.pdf?lang=en&identifiers=0"]


def test_with_two_labels_there_is_no_choice(show: Show, image: File) -> None:
    pictures = {"radiograph": "/results/a/r.png", "heatmap": "/results/a/h.png", "report": "/results/a/r.pdf"}
    page = show()
    page.route("**/results/**", lambda route: route.fulfill(body=image[1], content_type="image/png"))
    page.route("**/predict*", lambda route: route.fulfill(json={**to_row(make_prediction()), **pictures}))
    page.set_input_files("#files", {"name": "a.png", "mimeType": "image/png", "buffer": image[1]})
    playwright.expect(page.locator(".legend .what")).to_be_visible(timeout=SECONDS)
    assert page.locator("#heat-label").count() == 0


@pytest.mark.parametrize(
    ("locale", "separator", "score"),
    [
        ("en-GB", ",", "Score of the positive labels together"),
        ("es-ES", ";", "Puntuación de las etiquetas positivas en conjunto"),
    ],
)
def test_the_export_says_what_the_score_is_of(
    show: Show, tmp_path: Path, locale: str, separator: str, score: str
) -> None:
    page = show(LIKELIER, labels=LABELS, locale=locale)
    with page.expect_download() as download:
        page.click("#csv")
    download.value.save_as(tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(encoding="utf-8-sig", newline="") as stream:
        (row,) = csv.DictReader(stream, delimiter=separator)
    assert row[score] == f"{LIKELIER.score}".replace(".", "," if separator == ";" else ".")
    assert list(row)[-1] == {"en-GB": "Probabilities", "es-ES": "Probabilidades"}[locale]
    assert list(row.values())[-1] == "NORMAL=0.450000 BACTERIAL=0.300000 VIRAL=0.250000"


@pytest.mark.parametrize(("language", "locale"), [("en", "en-GB"), ("es", "es-ES")])
def test_no_check_is_claimed_that_there_was_not(show: Show, language: Language, locale: str) -> None:
    words = words_of(language)
    no_tags, unchecked = Note("no_tags", "no tags"), Note("no_image_check", "no limits")
    facts = show(make_prediction(gate=Gate("unknown", (no_tags, unchecked))), locale=locale).inner_text(".facts")
    assert words.note(unchecked) in facts
    assert words.say("gate.nothing_stated") in facts
    assert words.note(no_tags) not in facts
    assert words.note(no_tags) in show(gated_by(no_tags), locale=locale).inner_text(".facts")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_print_keeps_the_statement(show: Show, tmp_path: Path, scheme: str) -> None:
    page = show(gated("refused"), color_scheme=scheme)
    page.pdf(path=tmp_path / "page.pdf", format="A4")
    text = subprocess.run(
        ["pdftotext", "-layout", tmp_path / "page.pdf", "-"], capture_output=True, text=True, check=True
    ).stdout
    assert text.count("\f") == 1, "one page"
    lines = " ".join(text.split())
    for told in ("not a medical device", "do not rely on this", "test-model 1.0.0", "Analysed", "Pneumonia", "0.80"):
        assert told in lines
    for control in ("Choose files", "Export as CSV", "Clear list", "Español", "API description"):
        assert control not in lines
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") in (
        "rgb(255, 255, 255)",
        "rgba(0, 0, 0, 0)",
    )
    assert page.locator(".statement").evaluate("element => getComputedStyle(element).color") == "rgb(27, 39, 51)"


def test_the_verdict_stands_before_the_picture_on_narrow_windows(show: Show) -> None:
    page = show(make_prediction(), viewport={"width": 360, "height": 740})
    tops = page.evaluate(
        "['.verdict', '.pictures', '.facts'].map(s => document.querySelector(s).getBoundingClientRect().top)"
    )
    assert tops == sorted(tops)
    assert tops[0] < 740, "the first screen tells the result"
    assert page.evaluate("document.documentElement.scrollWidth") <= 360, "nothing hangs over the side"


def test_the_drop_zone_makes_room(show: Show) -> None:
    page = show()
    before = page.locator("#drop").bounding_box()["height"]
    after = show(make_prediction()).locator("#drop").bounding_box()["height"]
    assert after < before / 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("status", ["refused", "warn"])
def test_everybody_can_read_the_doubt(show: Show, scheme: str, status: GateStatus) -> None:
    axe = pytest.importorskip(AXE, reason="needs axe-core, of the test extra")
    page = show(NEGATIVE, gated(status), color_scheme=scheme, bypass_csp=True)
    page.click("#clear")
    violations = axe.Axe().run(page).response["violations"]
    page.keyboard.press("Escape")
    violations += axe.Axe().run(page).response["violations"]
    assert {v["id"] for v in violations if v["impact"] in ("serious", "critical")} == set()
