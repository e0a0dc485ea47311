"""Fixtures of the tests of reports: a large run, a browser, a run with planted results, and a way to open its page."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from reports import views
from tests.support.pages import DIAGONAL, PRODUCT, ROW, Look, make_page, make_records
from tests.support.runs import large_run


@pytest.fixture(scope="session")
def fifty_thousand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with that many records and its views."""
    folder = large_run(tmp_path_factory.mktemp("large"), 50_000)
    assert views.write(folder) == {}
    return folder


VIEWPORT = {"width": 1280, "height": 900}

# Turn off Chromium's own network requests, and features that are missing in a container
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="session")
def browser(request: pytest.FixtureRequest) -> Iterator[Browser]:
    """Headless Chromium; if it is missing, tests are skipped, or fail with --require-browser."""
    executable = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if executable is None:
        reason = "no Chromium here: install Debian's package `chromium`"
        if request.config.getoption("--require-browser"):
            pytest.fail(f"--require-browser: {reason}")
        pytest.skip(reason)
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=executable, args=FLAGS) as instance,
    ):
        yield instance


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_page(tmp_path, [PRODUCT, DIAGONAL, ROW], make_records())


@pytest.fixture(scope="session")
def context(browser: Browser) -> BrowserContext:
    """Of all pages that need no options of their own: each context has processes of its own, which take a second."""
    return browser.new_context(viewport=VIEWPORT)


@pytest.fixture
def look(browser: Browser, context: BrowserContext) -> Iterator[Look]:
    """Opens the page of a run's folder in a given state; any console message, dialog or request fails the test.

    Without options it is the same tab each time, loaded anew.
    """
    own, tabs, messages = [], [], []

    def open_tab(context: BrowserContext) -> Page:
        page = context.new_page()
        page.on("console", lambda message: messages.append(message.text))
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.on("dialog", lambda dialog: messages.append(f"a dialog: {dialog.message}"))
        page.on("request", lambda request: request.url.startswith((*urls, "data:")) or messages.append(request.url))
        return page

    urls: list[str] = []

    def open_page(folder: Path, state: str = "", **options: object) -> Page:
        if options:
            own.append(browser.new_context(**{"viewport": VIEWPORT, **options}))  # type: ignore[arg-type]
            page = open_tab(own[-1])
        else:
            tabs[:] = tabs or [open_tab(context)]
            page = tabs[0]
            page.goto("about:blank")
        urls[:] = ["about:blank", (folder / "index.html").as_uri()]
        page.goto(f"{urls[-1]}#{state}")
        expect(page.locator("#view > :not(noscript)").first).to_be_attached()
        return page

    yield open_page
    for opened in (*own, *tabs):
        opened.close()
    assert messages == []
