from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from tests.api.serving import Server, serving

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
OWN_SURFACE = ("PreloadTopChromeWebUI", "WebUIOmniboxPopup", "WebUIOmniboxAimPopup", "WebUIOmniboxFullPopup")
"""The parts of the browser's own surface that are pages: loaded beside each of ours, for nobody to see, they took more
than half of the time."""
OFF_FOR_TESTS = (
    "AimEnabled", "AvoidUnnecessaryBeforeUnloadCheckSync", "DestroyProfileOnBrowserClose", "HttpsUpgrades",
    "HttpsFirstBalancedModeAutoEnable", "MediaRouter", "NetworkTimeServiceQuerying", "OptimizationHints",
    "PaintHolding", "PreconnectToSearch", "ThirdPartyStoragePartitioning",
)  # fmt: skip
"""Features that Playwright turns off by a flag of its own: of two such flags the last one holds."""
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", f"--disable-features={','.join(OWN_SURFACE + OFF_FOR_TESTS)}",
)  # fmt: skip

PASSES = "forward passes"
"""The title of a number below the canvas."""

OpenPage: TypeAlias = Callable[..., Page]


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed; apt-get install chromium")
    expect.set_options(timeout=20_000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def server(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the embedded models, and with one that cannot be loaded."""
    folder = tmp_path_factory.mktemp("browser")
    with serving(folder, DREAMON_PATH="", LLADA_PATH="", EXTRA_MODELS="absent=/no/such/folder") as running:
        running.wait_until_ready()
        yield running


@pytest.fixture
def open_page(browser: Browser, server: Server) -> Iterator[OpenPage]:
    """Opens the playground in a context of its own; nothing may go wrong in any of them."""
    with visiting(browser, server) as open_page:
        yield open_page


@pytest.fixture
def page(open_page: OpenPage) -> Page:
    return open_page()


@contextmanager
def visiting(browser: Browser, server: Server) -> Iterator[OpenPage]:
    complaints: list[str] = []
    contexts = []

    def open_page(address: str = "", **options: Any) -> Page:
        context = browser.new_context(base_url=server.url, permissions=["clipboard-read", "clipboard-write"], **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.extend(_complaints(message)))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: complaints.extend(_departures(request.url, server)))
        page.goto(f"/{address}")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def _complaints(message: ConsoleMessage) -> Iterator[str]:
    """The errors in the console, without refused calls of the API, which are no defect of the page."""
    is_refusal = "responded with a status of" in message.text and "/playground/" not in message.location["url"]
    if message.type in ("error", "warning") and not is_refusal:
        yield message.text


def _departures(url: str, server: Server) -> Iterator[str]:
    if not url.startswith((f"{server.url}/", "data:")):
        yield f"the page asked for {url}"


def run(page: Page, state: str = "complete") -> None:
    """Clicks on denoise, and returns when every shown canvas is in `state` and has been played to its end."""
    page.get_by_role("button", name="Denoise").click()
    wait_for_end(page, state)


def wait_for_end(page: Page, state: str = "complete") -> None:
    states = page.locator(".sheet:not([hidden]) .state")
    expect(states).to_have_text([state] * states.count())
    expect(page.get_by_role("button", name="Play", exact=True)).to_be_visible()


def number(page: Page, title: str, row: int = 1) -> str:
    """The text below the canvases under a title, in the row of one of them."""
    table = page.locator("#numbers tr")
    titles = table.first.locator("td, th").all_text_contents()
    return table.nth(row).locator("td, th").all_text_contents()[titles.index(title)]
