"""The page when something goes wrong: one image, a file, the server, the token."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from serving import File, Server, until

playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright, of the test extra")
SECONDS = 30_000.0  # in milliseconds, as Playwright wants them
TOKEN = "t" * 40
PREDICT = "**/predict*"


@pytest.fixture(scope="module")
def address(tiny: Path) -> Iterator[str]:
    """Where a server with the tiny network listens."""
    with Server(tiny) as server:
        yield server.url


@pytest.fixture
def opened(chromium: Any) -> Iterator[Callable[[str], Any]]:
    """Opens pages, in English."""
    contexts = []

    def open_page(url: str) -> Any:
        contexts.append(chromium.new_context(locale="en-GB", accept_downloads=True))
        page = contexts[-1].new_page()
        page.goto(url)
        return page

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture
def page(opened: Callable[[str], Any], address: str) -> Any:
    """The page."""
    return opened(address)


@pytest.fixture
def files(tmp_path: Path, image: File) -> Callable[..., list[Path]]:
    """Makes images of these names."""

    def make(*names: str) -> list[Path]:
        for name in names:
            (tmp_path / name).write_bytes(image[1])
        return [tmp_path / name for name in names]

    return make


def choose(page: Any, files: list[Path]) -> None:
    page.set_input_files("#files", [str(file) for file in files])


def listed(page: Any, count: int) -> None:
    playwright.expect(page.locator("#list li")).to_have_count(count, timeout=SECONDS)
    playwright.expect(page.locator("#work")).to_be_hidden(timeout=SECONDS)


def problem(status: int, reason: str, detail: str = "words", **members: object) -> dict[str, Any]:
    document = json.dumps({"status": status, "reason": reason, "detail": detail, **members})
    return {"status": status, "content_type": "application/problem+json", "body": document}


def answer_to(page: Any, name: str, answer: dict[str, Any]) -> None:
    """That file gets this answer; all others get the server's own."""

    def handle(route: Any) -> None:
        if f'filename="{name}"'.encode() in route.request.post_data_buffer:
            route.fulfill(**answer)
        else:
            route.continue_()

    page.route(PREDICT, handle)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (problem(500, "internal", source={"content_sha256": "ab"}), "An internal failure"),
        (problem(408, "too_slow", "the body came too slowly"), "arrived too slowly"),
        ({"status": 408, "body": ""}, "arrived too slowly"),  # a proxy's
    ],
    ids=["failed", "slow", "proxy"],
)
def test_one_image_costs_no_other(page: Any, files: Callable[..., list[Path]], answer: Any, words: str) -> None:
    answer_to(page, "b.png", answer)
    choose(page, files("a.png", "b.png", "c.png", "d.png"))
    listed(page, 4)
    playwright.expect(page.locator("#list button", has_text="b.png")).to_contain_text(words)
    assert page.locator("#list button", has_text="Negative").count() == 3
    playwright.expect(page.locator("#trouble")).to_be_hidden()


def test_a_file_that_went_away(page: Any, files: Callable[..., list[Path]]) -> None:
    """A browser reports it as if the server did not answer."""
    images = files("a.png", "b.png", "c.png")

    def handle(route: Any) -> None:
        images[2].unlink(missing_ok=True)
        route.continue_()

    page.route(PREDICT, handle)
    choose(page, images)
    listed(page, 3)
    playwright.expect(page.locator("#list button", has_text="c.png")).to_contain_text("The file cannot be read.")
    playwright.expect(page.locator("#trouble")).to_be_hidden()


def test_what_was_left_out_is_told(page: Any, files: Callable[..., list[Path]]) -> None:
    """A list that is not complete must not look so."""
    answered = []

    def handle(route: Any) -> None:
        answered.append(route)
        if len(answered) > 2:
            route.abort("connectionrefused")
        else:
            route.continue_()

    page.route(PREDICT, handle)
    choose(page, files("a.png", "b.png", "c.png", "d.png", "e.png"))
    playwright.expect(page.locator("#trouble")).to_contain_text("does not answer. Is it still running?")
    playwright.expect(page.locator("#left-out")).to_have_text("3 of 5 files were not analysed.")
    listed(page, 2)
    page.unroute(PREDICT)
    page.get_by_role("button", name="Analyse them now").click()
    listed(page, 5)
    assert {name[0] for name in page.locator("#list .name").all_inner_texts()} == set("abcde")
    playwright.expect(page.locator("#trouble")).to_be_hidden()
    playwright.expect(page.locator("#retry")).to_be_hidden()


def test_what_was_left_out_is_told_after_the_last_answer(page: Any, files: Callable[..., list[Path]]) -> None:
    """Of two uploads at once, one is refused; the other's answer comes later, and nothing is wrong with it."""
    held: list[Any] = []

    def handle(route: Any) -> None:
        if not held:
            held.append(route)
        else:
            route.abort("connectionrefused")

    page.route(PREDICT, handle)
    choose(page, files("a.png", "b.png", "c.png"))
    playwright.expect(page.locator("#trouble-text")).to_contain_text("does not answer")
    playwright.expect(page.locator("#left-out")).to_be_empty()
    held[0].continue_()
    playwright.expect(page.locator("#left-out")).to_have_text("2 of 3 files were not analysed.")
    playwright.expect(page.locator("#list li")).to_have_count(1)


def test_a_later_trouble_does_not_hide_what_was_left_out(page: Any, files: Callable[..., list[Path]]) -> None:
    answer_to(page, "b.png", problem(503, "environment_unusable", "no process starts"))
    page.route("**/report.pdf*", lambda route: route.abort("connectionrefused"))
    choose(page, files("a.png", "b.png"))
    playwright.expect(page.locator("#left-out")).to_have_text("1 of 2 files were not analysed.")
    page.locator("#pdf").click()
    playwright.expect(page.locator("#trouble-text")).to_contain_text("does not answer")
    playwright.expect(page.locator("#left-out")).to_be_visible()
    playwright.expect(page.locator("#left-out")).to_have_text("1 of 2 files were not analysed.")


def test_a_cancelled_batch_is_not_complete(page: Any, files: Callable[..., list[Path]]) -> None:
    page.route(PREDICT, lambda _route: None)  # never answered
    choose(page, files("a.png", "b.png", "c.png"))
    page.get_by_role("button", name="Cancel").click()
    playwright.expect(page.locator("#left-out")).to_have_text("3 of 3 files were not analysed.")


def test_a_busy_server_is_seen(page: Any, files: Callable[..., list[Path]]) -> None:
    """Before the first result, too."""
    busy = problem(503, "busy") | {"headers": {"Retry-After": "1"}}
    page.route(PREDICT, lambda route: route.fulfill(**busy))
    choose(page, files("a.png"))
    playwright.expect(page.locator("#work-text")).to_have_text("The server is busy; trying again in 1 s.")
    playwright.expect(page.locator("#said")).to_have_text("The server is busy; trying again in 1 s.")
    assert page.locator("#said").is_visible(), "what is not rendered is not read out"
    page.unroute(PREDICT)
    listed(page, 1)


def test_a_server_that_cannot_is_not_asked_for_ever(page: Any, files: Callable[..., list[Path]]) -> None:
    page.route(PREDICT, lambda route: route.fulfill(**problem(503, "environment_unusable", "no process starts")))
    choose(page, files("a.png"))
    words = "The server cannot decode images at present. Tell its administrator."
    playwright.expect(page.locator("#trouble-text")).to_have_text(words)
    playwright.expect(page.locator("#left-out")).to_have_text("1 of 1 files were not analysed.")
    page.locator("#trouble summary").click()
    playwright.expect(page.get_by_text("environment_unusable: no process starts")).to_be_visible()
    playwright.expect(page.locator("#work")).to_be_hidden()


def test_pictures_are_asked_for_again(page: Any, files: Callable[..., list[Path]]) -> None:
    page.route("**/radiograph.png", lambda route: route.abort("connectionrefused"))
    choose(page, files("a.png"))
    playwright.expect(page.locator("#trouble")).to_contain_text("does not answer", timeout=SECONDS)
    page.unroute("**/radiograph.png")
    page.locator("#list button").click()
    playwright.expect(page.locator(".picture .heat")).to_be_visible(timeout=SECONDS)


def test_pictures_are_let_go(page: Any, files: Callable[..., list[Path]]) -> None:
    choose(page, files("a.png"))
    playwright.expect(page.locator(".picture .heat")).to_be_visible(timeout=SECONDS)
    page.evaluate("() => { window.revoked = 0; URL.revokeObjectURL = () => { window.revoked += 1; }; }")
    page.click("#clear")
    page.locator("#confirm").get_by_role("button", name="Clear list").click()
    until(lambda: page.evaluate("window.revoked") == 2)


def test_the_keyboard_stays_where_it_is(page: Any, files: Callable[..., list[Path]]) -> None:
    """New results come in while somebody goes through the list."""
    choose(page, files("a.png", "b.png"))
    listed(page, 2)
    page.locator("#list button", has_text="a.png").focus()
    choose(page, files("c.png", "d.png", "e.png"))
    listed(page, 5)
    assert page.evaluate("document.activeElement.querySelector('.name')?.textContent") == "a.png"
    assert page.evaluate("document.activeElement.tagName") == "BUTTON"


def test_names_that_a_spreadsheet_would_run(page: Any, files: Callable[..., list[Path]], tmp_path: Path) -> None:
    """Spanish Excel parts cells at semicolons."""
    wide = "\uff1d"  # what Japanese spreadsheets take for an equals sign
    choose(page, files("a;=1+1.png", "+1.png", f"{wide}1.png"))
    listed(page, 3)
    with page.expect_download() as download:
        page.get_by_role("button", name="Export as CSV").click()
    download.value.save_as(tmp_path / "out.csv")
    lines = (tmp_path / "out.csv").read_bytes().decode("utf-8-sig").splitlines()
    assert {line.partition(",negative")[0] for line in lines[1:]} == {'"a;=1+1.png"', "'+1.png", f"'{wide}1.png"}


@pytest.fixture
def guarded(tiny: Path, tmp_path: Path) -> Iterator[str]:
    """A server with a token."""
    (tmp_path / "token").write_text(TOKEN, encoding="ascii")
    (tmp_path / "token").chmod(0o600)
    with Server(tiny, "--token-file", tmp_path / "token") as server:
        yield server.url


def give_token(page: Any, token: str) -> None:
    playwright.expect(page.locator("#token")).to_be_visible()
    page.fill("#token-value", token)
    page.keyboard.press("Enter")


@pytest.mark.parametrize("wrong", ["wrong", "żółć" * 10])  # no header can hold the second one
def test_a_wrong_token(
    opened: Callable[[str], Any], guarded: str, files: Callable[..., list[Path]], wrong: str
) -> None:
    page = opened(guarded)
    playwright.expect(page.locator("#token-wrong")).to_be_hidden()
    give_token(page, wrong)
    playwright.expect(page.locator("#token-wrong")).to_be_visible()
    page.keyboard.press("Escape")
    playwright.expect(page.locator("#trouble-text")).to_have_text("The token is not right.")
    choose(page, files("a.png", "b.png"))
    give_token(page, TOKEN)
    listed(page, 2)
    playwright.expect(page.locator("#model")).not_to_be_empty()
    with page.expect_download() as download:
        page.click("text=API description")
    assert json.loads(download.value.path().read_text("utf-8"))["openapi"] == "3.1.0"


def test_no_token_was_tried(opened: Callable[[str], Any], guarded: str) -> None:
    page = opened(guarded)
    playwright.expect(page.locator("#token")).to_be_visible()
    page.keyboard.press("Escape")
    playwright.expect(page.locator("#trouble-text")).to_have_text("An access token is needed.")
