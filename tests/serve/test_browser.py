"""The page in a real browser: Debian's chromium, driven by Playwright, against a server in a process of its own."""

import csv
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_files import gradient, make_file
from PIL import Image

from cxr_edge.report.words import words_of

playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright, of the test extra")
ASSETS = Path(__file__).parents[2] / "cxr_edge" / "serve" / "assets"
SERIOUS = ("serious", "critical")
SECONDS = 30_000.0  # in milliseconds, as Playwright wants them


@pytest.fixture(scope="module")
def address(tiny: Path) -> Iterator[str]:
    """Where a server with the tiny network listens."""
    command = [sys.executable, "-m", "cxr_edge", "serve", "--port", "0", "--model", str(tiny), "--provider", "cpu"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.terminate()
        process.communicate(timeout=30)


@pytest.fixture
def page(chromium: Any, address: str) -> Iterator[Any]:
    """The page, opened in English."""
    context = chromium.new_context(locale="en-GB", accept_downloads=True)
    opened = context.new_page()
    opened.faults = []
    opened.on("pageerror", lambda error: opened.faults.append(str(error)))
    opened.goto(address)
    yield opened
    assert opened.faults == []
    context.close()


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A bright (positive) DICOM file, a dark (negative) JPEG and WebP, a cut file."""
    folder = tmp_path_factory.mktemp("images")
    dark = Image.fromarray(np.full((90, 120), 60, np.uint8))
    made = {name: folder / name for name in ("bright.dcm", "dark.jpeg", "dark.webp", "cut.dcm")}
    bright = (gradient() // 2 + 2048).astype(np.uint16)
    made["bright.dcm"].write_bytes(make_file(bright, WindowCenter="2048", WindowWidth="4096"))
    dark.save(made["dark.jpeg"])
    dark.save(made["dark.webp"])
    made["cut.dcm"].write_bytes(make_file(gradient())[:300])
    return made


def upload(page: Any, *files: Path) -> None:
    page.set_input_files("#files", [str(file) for file in files])
    playwright.expect(page.locator("#list li")).to_have_count(len(files), timeout=SECONDS)


def choose(page: Any, name: str) -> None:
    page.locator("#list button", has_text=name).click()
    playwright.expect(page.locator("#detail-title")).to_have_text(name)


def test_files_of_several_kinds_are_classified(page: Any, images: dict[str, Path]) -> None:
    upload(page, *images.values())
    for name, words in (("dark.jpeg", "Negative: normal"), ("dark.webp", "Negative: normal")):
        playwright.expect(page.locator("#list button", has_text=name)).to_contain_text(words)
    choose(page, "bright.dcm")
    playwright.expect(page.locator(".verdict .class")).to_have_text("Pneumonia")
    playwright.expect(page.locator(".verdict .side")).to_have_text("positive")
    playwright.expect(page.locator("#said")).not_to_be_empty()
    assert "not a medical device" in page.inner_text("header.page")


def test_a_bad_file_shows_one_clear_line(page: Any, images: dict[str, Path]) -> None:
    upload(page, images["cut.dcm"])
    playwright.expect(page.locator(".verdict.rejected .class")).to_have_text("Not classified")
    assert "The file is cut" in page.inner_text(".verdict.rejected")
    assert page.locator(".sight").count() == 0
    english = page.get_by_text("truncated: ")
    assert not english.is_visible()
    page.get_by_text("Technical data").click()
    playwright.expect(english).to_be_visible()


def test_the_slider_fades_the_heat_map(page: Any, images: dict[str, Path]) -> None:
    upload(page, images["bright.dcm"])
    heat = page.locator(".picture .heat")
    playwright.expect(heat).to_be_visible(timeout=SECONDS)
    slider = page.get_by_label("Heat map")
    for value, opacity in (("0", "0"), ("100", "1")):
        slider.fill(value)
        for picture in (heat, page.locator(".legend img")):
            assert picture.evaluate("image => getComputedStyle(image).opacity") == opacity
    assert page.locator(".legend img").evaluate("image => image.naturalWidth") == 256
    assert heat.get_attribute("alt") == "Heat map: where the model saw evidence for pneumonia"
    sizes = page.locator(".picture img").evaluate_all("all => all.map(i => i.naturalWidth / i.naturalHeight)")
    assert sizes[0] == pytest.approx(sizes[1], rel=0.02)


def test_the_language_switches_and_stays(page: Any, images: dict[str, Path]) -> None:
    upload(page, images["dark.jpeg"])
    page.get_by_role("button", name="Español").click()
    playwright.expect(page.locator(".verdict .class")).to_have_text("Normal")
    playwright.expect(page.locator(".verdict .side")).to_have_text("negativo")
    playwright.expect(page.locator("#list button")).to_contain_text("Negativo: normal")
    playwright.expect(page.locator(".statement")).to_contain_text("no es un producto sanitario")
    playwright.expect(page.locator(".statement")).to_contain_text("de niños de 1 a 5 años: neumonía o normal")
    assert page.get_attribute("html", "lang") == "es"
    page.reload()
    playwright.expect(page.locator("h1")).to_have_text("Clasificar radiografías de tórax")


def test_a_spanish_browser_gets_spanish(chromium: Any, address: str) -> None:
    context = chromium.new_context(locale="es-AR")
    opened = context.new_page()
    opened.goto(address)
    playwright.expect(opened.locator("h1")).to_have_text("Clasificar radiografías de tórax")
    context.close()


@pytest.mark.skipif(shutil.which("pdftotext") is None, reason="needs pdftotext (poppler-utils)")
def test_the_report_is_downloaded(page: Any, images: dict[str, Path], tmp_path: Path) -> None:
    pytest.importorskip("reportlab", reason="needs the extra report")
    upload(page, images["bright.dcm"])
    with page.expect_download(timeout=SECONDS) as download:
        page.get_by_role("button", name="Download PDF").click()
    file = tmp_path / "report.pdf"
    download.value.save_as(file)
    assert download.value.suggested_filename.endswith(".pdf")
    text = subprocess.run(["pdftotext", "-layout", str(file), "-"], capture_output=True, text=True, check=True).stdout
    assert "not a medical device" in text.lower()
    assert "bright.dcm" not in text, "identifiers only when asked for"


def test_results_are_exported(page: Any, images: dict[str, Path], tmp_path: Path) -> None:
    odd = tmp_path / '=cmd,"x".jpeg'
    shutil.copyfile(images["dark.jpeg"], odd)
    upload(page, odd, images["cut.dcm"])
    with page.expect_download() as download:
        page.get_by_role("button", name="Export as CSV").click()
    file = tmp_path / "out.csv"
    download.value.save_as(file)
    text = file.read_bytes().decode("utf-8-sig")
    assert text.startswith("File,Result,Label,Score")
    assert '"\'=cmd,""x"".jpeg",negative,normal,0.0' in text
    assert "cut.dcm,Not classified,,,,,,The file is cut" in text


def test_results_are_exported_for_a_spanish_spreadsheet(
    chromium: Any, address: str, images: dict[str, Path], tmp_path: Path
) -> None:
    context = chromium.new_context(locale="es-ES", accept_downloads=True)
    opened = context.new_page()
    opened.goto(address)
    upload(opened, images["dark.jpeg"])
    with opened.expect_download() as download:
        opened.get_by_role("button", name="Exportar como CSV").click()
    download.value.save_as(tmp_path / "out.csv")
    context.close()
    with (tmp_path / "out.csv").open(encoding="utf-8-sig", newline="") as stream:
        (row,) = csv.DictReader(stream, delimiter=";")
    assert (row["Resultado"], row["Etiqueta"], row["Punto de operación"]) == ("negativo", "normal", "estándar")
    assert re.fullmatch(r"0,00\d+", row["Puntuación"])
    assert row["Imagen para este modelo"] == "sin comprobar del todo"
    assert row["Motivos"].startswith("El archivo no dice nada")


def test_clearing_asks_and_forgets(page: Any, images: dict[str, Path]) -> None:
    upload(page, images["dark.jpeg"])
    page.click("#clear")
    page.click("text=Keep")
    playwright.expect(page.locator("#list li")).to_have_count(1)
    page.click("#clear")
    page.keyboard.press("Escape")
    playwright.expect(page.locator("#list li")).to_have_count(1)
    page.click("#clear")
    page.locator("#confirm").get_by_role("button", name="Clear list").click()
    playwright.expect(page.locator("#columns")).to_be_hidden()
    assert "dark.jpeg" not in page.content()
    upload(page, images["dark.webp"])


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_everybody_can_use_it(chromium: Any, address: str, images: dict[str, Path], scheme: str, width: int) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-core, of the test extra")
    # axe is put into the page, which the page's own policy forbids
    context = chromium.new_context(
        color_scheme=scheme, viewport={"width": width, "height": 800}, bypass_csp=True, locale="en-GB"
    )
    opened = context.new_page()
    opened.goto(address)
    violations = axe.Axe().run(opened).response["violations"]
    upload(opened, *images.values())
    for name in ("dark.jpeg", "bright.dcm", "cut.dcm"):
        choose(opened, name)
        if name == "bright.dcm":
            playwright.expect(opened.locator(".picture .heat")).to_be_visible(timeout=SECONDS)
        violations += axe.Axe().run(opened).response["violations"]
    found = {f"{v['id']}: {v['nodes'][0]['html'][:100]}" for v in violations if v["impact"] in SERIOUS}
    assert found == set()
    assert opened.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "nothing hangs over the side"
    context.close()


def test_the_keyboard_is_enough(page: Any, images: dict[str, Path]) -> None:
    upload(page, images["dark.jpeg"], images["cut.dcm"])
    page.locator("#results").focus()
    page.keyboard.press("Tab")
    shown, names = page.locator("#detail-title"), page.locator("#list .name").all_inner_texts()
    for key, place in (("ArrowDown", 1), ("ArrowDown", 1), ("Home", 0), ("End", 1), ("ArrowUp", 0)):
        page.keyboard.press(key)
        playwright.expect(shown).to_have_text(names[place])
        assert page.evaluate("document.activeElement.querySelector('.name').textContent") == names[place]
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "detail"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid", "focus is to be seen"


def test_the_page_speaks_of_every_code_in_both_languages(page: Any) -> None:
    own = page.evaluate("Promise.all([import('/assets/en.js'), import('/assets/es.js')])")
    english, spanish = own[0]["EN"], own[1]["ES"]
    assert list(english) == list(spanish)
    assert list(english["codes"]) == list(spanish["codes"])
    places = re.compile(r"\{\w+\}|\|")
    for key, text in english.items():
        if key != "codes":
            assert sorted(places.findall(text)) == sorted(places.findall(spanish[key])), key
    known = set(english["codes"]) | {key.removeprefix("note.") for key in words_of("es").texts}
    documented = (Path(__file__).parents[2] / "docs" / "reference" / "reason-codes.md").read_text(encoding="utf-8")
    codes = set(re.findall(r"`([a-z_0-9]+)`", "\n".join(re.findall(r"^\| (`.*?) \|", documented, re.MULTILINE))))
    assert {code for code in codes if not code.endswith("dcm")} <= known | {"gate_"}


def test_the_page_asks_for_no_word_that_there_is_not(page: Any) -> None:
    scripts = "".join(file.read_text(encoding="utf-8") for file in ASSETS.glob("*.js"))
    markup = (ASSETS / "index.html").read_text(encoding="utf-8")
    asked = set(re.findall(r'words\("([^"]+)"', scripts)) | set(re.findall(r'data-(?:text|label)="([^"]+)"', markup))
    own = page.evaluate("import('/assets/en.js').then(({ EN }) => Object.keys(EN))")
    assert len(asked) > 50
    assert asked <= set(own) | set(words_of("en").texts)


def test_what_is_served_is_small() -> None:
    sizes = {file.name: len(file.read_bytes()) for file in ASSETS.iterdir()}
    assert sum(sizes.values()) < 100_000, json.dumps(sizes)
