"""The page in a real browser: Debian's chromium, driven by Playwright, against a server in a process of its own."""

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
    """A bright (positive) DICOM file, a dark JPEG and WebP, a cut file."""
    folder = tmp_path_factory.mktemp("images")
    dark = Image.fromarray(np.full((90, 120), 60, np.uint8))
    made = {name: folder / name for name in ("bright.dcm", "dark.jpeg", "dark.webp", "cut.dcm")}
    made["bright.dcm"].write_bytes(make_file(gradient()))
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
    playwright.expect(page.locator(".verdict .class")).to_contain_text(
        re.compile("Positive: pneumonia|Negative: normal")
    )
    playwright.expect(page.locator("#said")).not_to_be_empty()
    assert "Not a medical device" in page.inner_text("header") or "not a medical device" in page.inner_text("header")


def test_a_bad_file_shows_one_clear_line(page: Any, images: dict[str, Path]) -> None:
    upload(page, images["cut.dcm"])
    playwright.expect(page.locator(".verdict.rejected .class")).to_have_text("Not classified")
    assert "The file is cut" in page.inner_text(".verdict.rejected")
    assert page.locator(".sight").count() == 0


def test_the_slider_fades_the_heat_map(page: Any, images: dict[str, Path]) -> None:
    upload(page, images["bright.dcm"])
    heat = page.locator(".picture .heat")
    playwright.expect(heat).to_be_visible(timeout=SECONDS)
    slider = page.get_by_label("Heat map")
    for value, opacity in (("0", "0"), ("100", "1")):
        slider.fill(value)
        assert heat.evaluate("image => getComputedStyle(image).opacity") == opacity
    sizes = page.locator(".picture img").evaluate_all("all => all.map(i => i.naturalWidth / i.naturalHeight)")
    assert sizes[0] == pytest.approx(sizes[1], rel=0.02)


def test_the_language_switches_and_stays(page: Any, images: dict[str, Path]) -> None:
    upload(page, images["dark.jpeg"])
    page.get_by_role("button", name="Español").click()
    playwright.expect(page.locator(".verdict .class")).to_have_text("Negativo: normal")
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
    assert text.startswith("file,status,class,probability")
    assert '"\'=cmd,""x"".jpeg",classified,NORMAL' in text
    assert "cut.dcm,rejected" in text


def test_clearing_forgets(page: Any, images: dict[str, Path]) -> None:
    upload(page, images["dark.jpeg"])
    page.get_by_role("button", name="Clear").click()
    playwright.expect(page.locator("#columns")).to_be_hidden()
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
    for name in ("bright.dcm", "cut.dcm"):
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
    page.locator("#csv").focus()
    for _ in range(4):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('#list') !== null"):
            break
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "detail"


def test_the_page_speaks_of_every_code_in_both_languages() -> None:
    text = (ASSETS / "messages.js").read_text(encoding="utf-8")
    halves = text.partition("\n  es: {")
    keys = [re.findall(r"^ +\"?([A-Za-z_0-9-]+)\"?: ", half, re.MULTILINE) for half in (halves[0], halves[2])]
    assert keys[0][1:] == keys[1][: len(keys[0]) - 1]
    documented = (Path(__file__).parents[2] / "docs" / "reference" / "reason-codes.md").read_text(encoding="utf-8")
    codes = set(re.findall(r"`([a-z_0-9]+)`", "\n".join(re.findall(r"^\| (`.*?) \|", documented, re.MULTILINE))))
    assert {code for code in codes if not code.endswith("dcm")} <= set(keys[0]) | {"gate_"}


def test_what_is_served_is_small() -> None:
    sizes = {file.name: len(file.read_bytes()) for file in ASSETS.iterdir()}
    assert sum(sizes.values()) < 100_000, json.dumps(sizes)
