"""What the tests of the server share."""

import io
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from dicom_files import gradient, make_file
from PIL import Image
from serving import Api, File
from tiny_models import tiny_model

from cxr_edge.classifier import Classifier, load
from cxr_edge.phantom import chest_phantom
from cxr_edge.serve.settings import Settings


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that answers in no time."""
    return tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def classifier(tiny: Path) -> Iterator[Classifier]:
    """Without isolation: nothing hostile is sent to it."""
    with load(tiny, provider="cpu") as loaded:
        yield loaded


@pytest.fixture
def api_with(classifier: Classifier) -> Iterator[Callable[..., Api]]:
    """Makes applications with settings."""
    made: list[Api] = []

    def make(*, is_loopback: bool = True, **settings: object) -> Api:
        made.append(Api(classifier, Settings(**settings), is_loopback=is_loopback))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for api in made:
        api.close()


@pytest.fixture
def api(api_with: Callable[..., Api]) -> Api:
    """As it is started without options."""
    return api_with()


@pytest.fixture(scope="session")
def png() -> bytes:
    """A small radiograph."""
    stream = io.BytesIO()
    Image.fromarray(chest_phantom(120, 100)).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(scope="session")
def image(png: bytes) -> File:
    """The same as a file to upload."""
    return ("a.png", png)


@pytest.fixture(scope="session")
def dicom() -> bytes:
    """A small DICOM file that the gate lets pass."""
    return make_file(gradient())


@pytest.fixture(scope="module")  # no longer: it runs an event loop in this very thread
def chromium() -> Iterator[Any]:
    """A browser, driven by Playwright."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright, of the test extra")
    names = ("chromium", "chromium-browser", "google-chrome")
    executable = next(filter(None, map(shutil.which, names)), None)
    if executable is None:
        pytest.skip("needs chromium on the PATH")
    playwright.expect.set_options(timeout=60_000)  # a busy machine is no failure
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield browser
        browser.close()
