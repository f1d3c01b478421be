"""Draws the playground's pictures, from a running server: `python docs/draw_playground.py`, which wants Chromium.

The pages take what they are asked from their addresses. A picture shows a pass in the middle of a run.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from playwright.sync_api import Browser, Page, expect, sync_playwright

IMAGES = Path(__file__).resolve().parent / "images"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
DESKTOP: dict[str, Any] = {"viewport": {"width": 1320, "height": 840}}
PHONE: dict[str, Any] = {"viewport": {"width": 360, "height": 740}, "has_touch": True}
GAP = {
    "prefix": "def __init__(self, name, value):\n    self.name = name\n    ",
    "suffix": "\n    self._items = []\n",
    "model_id": "dreamon",
    "max_length": 24,
    "initial_masks": 3,
    "temperature": 0,
}
STORY = {"mode": "generate", "text": "Once upon a time, there was a little", "model_id": "llada", "max_length": 64}
QUESTION = {
    "text": "Once upon a time, there was a little girl named{{who}}. She loved to play in the{{where}}.",
    "model_id": "llada",
    "choices.who": " Lily\n Tom\n Max\n Sarah",
}


@contextmanager
def opened(browser: Browser, address: str, **options: Any) -> Iterator[Page]:
    context = browser.new_context(**options)
    page = context.new_page()
    page.goto(address)
    yield page
    context.close()


def denoise(page: Page) -> None:
    """Runs what the page asks, to its end."""
    page.get_by_role("button", name="Denoise").click()
    states = page.locator(".sheet:not([hidden]) .state")
    expect(states).to_have_text(["complete"] * states.count())
    expect(page.get_by_role("button", name="Play", exact=True)).to_be_visible()


def see_pass(page: Page, share: float) -> None:
    """Moves the slider to a pass, given as a share of all of them."""
    slider = page.get_by_label("Forward pass")
    slider.fill(str(round(share * int(slider.get_attribute("max") or 0))))


def draw_infill(browser: Browser, url: str, path: Path) -> None:
    with opened(browser, f"{url}/#{urlencode(GAP)}", **DESKTOP) as page:
        denoise(page)
        see_pass(page, 0.4)
        page.screenshot(path=path)


def draw_compare(browser: Browser, url: str, path: Path) -> None:
    """One token a pass beside two, in the dark."""
    with opened(browser, f"{url}/#{urlencode({**STORY, 'seed': 1})}", color_scheme="dark", **DESKTOP) as page:
        page.get_by_label("In turn").check()
        page.locator("#sides").get_by_label("B").check()
        settings = page.get_by_label("Settings B")
        settings.get_by_label("decoding").select_option("exact")
        settings.get_by_label("steps", exact=True).fill("32")
        page.locator("#sides").get_by_label("A").check()
        denoise(page)
        see_pass(page, 0.35)
        page.screenshot(path=path)


def draw_phone(browser: Browser, url: str, path: Path) -> None:
    with opened(browser, f"{url}/#{urlencode(GAP)}", **PHONE) as page:
        denoise(page)
        see_pass(page, 0.85)
        page.locator(".sheet:not([hidden])").first.scroll_into_view_if_needed()
        page.screenshot(path=path)


def draw_reading(browser: Browser, url: str, path: Path) -> None:
    with opened(browser, f"{url}/read#{urlencode(QUESTION)}", **DESKTOP) as page:
        button = page.get_by_role("button", name="Read Ctrl")
        expect(button).to_be_enabled()
        button.click()
        expect(page.locator(".state")).to_have_text("complete")
        page.screenshot(path=path)


PICTURES = {"infill": draw_infill, "compare": draw_compare, "phone": draw_phone, "reading": draw_reading}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://localhost:8000")
    parser.add_argument("--folder", type=Path, default=IMAGES)
    parser.add_argument("--only", nargs="+", choices=PICTURES, default=[*PICTURES])
    options = parser.parse_args()
    chromium = next(filter(None, map(shutil.which, CHROMIUM)), None)
    expect.set_options(timeout=20_000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name in options.only:
            PICTURES[name](browser, options.url, options.folder / f"playground-{name}.png")
        browser.close()


if __name__ == "__main__":
    main()
