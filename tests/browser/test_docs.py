"""/docs in a real browser: the README's FastAPI app, authorized by hand."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import fastapi_offline
import pytest
import uvicorn
from playwright.sync_api import Locator, Page, Route, expect, sync_playwright
from support import INVALID, MISSING
from test_readme import run_blocks

from vc_auth import Settings
from vc_auth.testing import MemoryAuth

ASSETS = Path(fastapi_offline.__file__).parent / "static"
KINDS = {".js": "text/javascript", ".css": "text/css", ".png": "image/png"}
HERE = Path.cwd()
PICTURE = os.environ.get("VC_AUTH_TEST_PICTURE")  # docs/authorize.png, to draw it again
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture
def auth() -> MemoryAuth:
    return MemoryAuth(Settings(public_paths=("/docs", "/openapi.json")))


@pytest.fixture
def url(auth: MemoryAuth, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.chdir(tmp_path)
    server = uvicorn.Server(uvicorn.Config(run_blocks()["create_app"](auth), port=0, log_level="error"))
    thread = Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture
def page() -> Iterator[Page]:
    """A page that reaches this machine alone: the files of Swagger UI come from a folder."""

    def answer(route: Route) -> None:
        file = ASSETS / route.request.url.rsplit("/", 1)[-1]
        if route.request.url.startswith("http://127.0.0.1:"):
            route.continue_()
        elif file.exists():
            route.fulfill(path=file, content_type=KINDS[file.suffix])
        else:
            route.abort()

    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    assert found is not None, f"no browser; install one of {', '.join(BROWSERS)}, as in `apt-get install chromium`"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1_000, "height": 640})
        page.route("**", answer)
        yield page
        browser.close()


def open_dialog(page: Page) -> Locator:
    page.get_by_role("button", name="Authorize").first.click()
    dialog = page.locator(".modal-ux")
    expect(dialog).to_contain_text("APIKeyBearer (http, Bearer)")
    return dialog


def authorize(page: Page, key: str, picture: Path) -> None:
    dialog = open_dialog(page)
    dialog.get_by_role("textbox").fill(key)
    page.screenshot(path=picture)
    dialog.get_by_role("button", name="Apply credentials").click()
    expect(dialog).not_to_contain_text(key)
    dialog.get_by_role("button", name="Close", exact=True).click()


def log_out(page: Page) -> None:
    dialog = open_dialog(page)
    dialog.get_by_role("button", name="Remove authorization").click()
    dialog.get_by_role("button", name="Close", exact=True).click()


def expect_answer(page: Page, status: int, body: bytes) -> None:
    """Send the request, and see its answer on the page."""
    page.get_by_role("button", name="Execute").click()
    answer = page.locator(".live-responses-table .response").first
    expect(answer.locator(".highlight-code code")).to_have_text(json.dumps(json.loads(body), indent=2))
    expect(answer.locator(".response-col_status")).to_contain_text(str(status))


def test_a_key_that_was_authorized_is_sent(page: Page, url: str, auth: MemoryAuth, tmp_path: Path) -> None:
    picture = HERE / PICTURE if PICTURE else tmp_path / "authorize.png"
    page.goto(f"{url}/docs")
    page.locator(".opblock-summary-control").click()
    page.get_by_role("button", name="Try it out").click()
    expect_answer(page, 401, MISSING)
    authorize(page, "vc_" + "0" * 32, picture)
    expect_answer(page, 401, INVALID)
    log_out(page)
    authorize(page, auth.key, picture)
    expect_answer(page, 200, b'{"project":"acme","plan":"free"}')


def test_the_page_shows_every_documented_answer(page: Page, url: str) -> None:
    page.goto(f"{url}/docs")
    page.locator(".opblock-summary-control").click()
    table = page.locator(".responses-table")
    for status in ("401", "403", "429", "503"):
        expect(table.locator(f'[data-code="{status}"]')).to_be_visible()
    expect(table).to_contain_text("WWW-Authenticate")
