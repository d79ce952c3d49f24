"""Make the pictures of the page and of the report in docs/images again, of synthetic phantoms; after a new model.

    python docs/screenshots.py

Needs the extras `test` and `report`, chromium and poppler's pdftoppm.
"""

import io
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from PIL import Image, ImageOps
from playwright.sync_api import expect, sync_playwright

from cxr_edge.phantom import chest_phantom, phantom_dicom

if TYPE_CHECKING:
    from playwright.sync_api import Browser

IMAGES: Final = Path(__file__).resolve().parent / "images"
COMMAND: Final = (sys.executable, "-m", "cxr_edge")
FIRST, CUT, INVERTED = "phantom-1.dcm", "phantom-3.dcm", "phantom-4-inverted.png"
WIDE: Final = {"width": 1366, "height": 900}
NARROW: Final = {"width": 360, "height": 1300}
PAGES: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "page-light": (FIRST, {}),
    "page-dark": (FIRST, {"color_scheme": "dark"}),
    "page-narrow": (FIRST, {"viewport": NARROW}),
    "page-error": (CUT, {}),
    "page-spanish": (INVERTED, {"locale": "es-ES"}),
}
REPORT_DPI: Final = 84


def main() -> None:
    """Write them all."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as state:
        os.environ["CXR_EDGE_STATE"] = state  # the self-test's record of the person who runs this stays as it is
        files = _phantoms(Path(folder))
        with _server() as address, sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=_chromium(), args=["--no-sandbox"])
            _pages(browser, address, files)
            browser.close()
        for language in ("en", "es"):
            _report(files[0], language, Path(folder) / language)


def _phantoms(folder: Path) -> list[Path]:
    """Two studies, one that was cut off in a transfer, and one with black and white exchanged."""
    inverted = io.BytesIO()
    ImageOps.invert(Image.fromarray(chest_phantom(1024, 840, seed=3))).save(inverted, "PNG")
    contents = {
        FIRST: phantom_dicom(seed=0),
        "phantom-2.dcm": phantom_dicom(seed=1, opacity=0.8),
        CUT: phantom_dicom(seed=2)[:200_000],
        INVERTED: inverted.getvalue(),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in contents]


@contextmanager
def _server() -> Iterator[str]:
    """Where a server with the default model listens."""
    command = [*COMMAND, "serve", "--port", "0", "--gate", "warn", "--provider", "cpu"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        address = process.stdout.readline().strip() if process.stdout else ""
        if not address:
            sys.exit("the server does not start; what it said stands above")
        try:
            yield address
        finally:
            process.terminate()


def _chromium() -> str:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        sys.exit("chromium is needed on the PATH")
    return found


def _pages(browser: "Browser", address: str, files: list[Path]) -> None:
    """Upload the files, choose one, and take the picture: all of a wide page, the first screen of a narrow one."""
    for name, (shown, options) in PAGES.items():
        with browser.new_context(**{"viewport": WIDE, "locale": "en-GB", **options}) as context:
            page = context.new_page()
            page.goto(address)
            page.set_input_files("#files", files)
            expect(page.locator("#list li")).to_have_count(len(files), timeout=60_000)
            page.locator("#list button", has_text=shown).click()
            expect(page.locator("#detail-title")).to_have_text(shown)
            if shown != CUT:
                expect(page.locator("#detail img").first).to_be_visible(timeout=60_000)
            page.evaluate("window.scrollTo(0, 0)")
            page.mouse.move(0, 0)
            page.wait_for_timeout(500)  # the heat map fades in
            page.screenshot(path=IMAGES / f"{name}.png", full_page="viewport" not in options)


def _report(file: Path, language: str, folder: Path) -> None:
    command = [*COMMAND, "classify", str(file), "--pdf", str(folder), "--language", language, "--provider", "cpu"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    (report,) = folder.glob("*.pdf")
    target = IMAGES / f"report-{language}"
    subprocess.run(["pdftoppm", "-r", str(REPORT_DPI), "-png", "-singlefile", report, target], check=True)


if __name__ == "__main__":
    main()
