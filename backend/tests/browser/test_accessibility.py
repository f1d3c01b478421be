"""The playground for everybody: by keyboard, by ear, in the dark, on a phone."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.api.serving import Server
from tests.browser.conftest import PASSES, OpenPage, number, run, wait_for_end

pytestmark = pytest.mark.browser

COMPARED = "#compare=together&mode=infill&prefix=def+&suffix=%0A&model_id=dreamon&max_length=6&seed=1&b.max_length=9"
LEAST_CONTRAST = 4.5

WITHOUT_NAME = """() => [...document.querySelectorAll("button, input, select, textarea, [role], [tabindex='0']")]
    .filter((control) => !control.closest("template"))
    .filter((control) => !(control.labels?.length || control.ariaLabel || control.textContent.trim()
        || control.getAttribute("aria-labelledby") || ["alert", "status"].includes(control.role)))
    .map((control) => control.outerHTML)"""

LOW_CONTRAST = """(least) => {
    const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
    const luminance = (colour) => channels(colour).slice(0, 3)
        .map((value) => value / 255)
        .map((value) => (value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
        .reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0);
    const isOpaque = (colour) => colour !== "transparent" && (channels(colour)[3] ?? 1) === 1;
    const groundOf = (element) => {
        const colour = getComputedStyle(element).backgroundColor;
        return isOpaque(colour) ? colour : groundOf(element.parentElement);
    };
    const contrast = (element) => {
        const [dark, light] = [getComputedStyle(element).color, groundOf(element)].map(luminance).sort((a, b) => a - b);
        return (light + 0.05) / (dark + 0.05);
    };
    const hasText = (element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    return [...document.querySelectorAll("body *")]
        .filter((element) => element.checkVisibility() && !element.matches(":disabled") && hasText(element))
        .filter((element) => contrast(element) < least)
        .map((element) => `${contrast(element).toFixed(2)} ${element.outerHTML.slice(0, 120)}`);
}"""

OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


def test_by_keyboard_alone(server: Server, page: Page) -> None:
    before = server.wait_until_idle()
    expect(page.get_by_role("button", name="Denoise")).to_be_enabled()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the canvas"
    order = []
    for _ in range(9):
        page.keyboard.press("Tab")
        order.append(page.evaluate("document.activeElement.id || document.activeElement.name"))
    fields = ["mode", "prefix", "suffix", "compare", "a-model_id", "a-decoding", "a-max_length"]
    assert order == ["other-page", "theme", *fields]
    width = page.evaluate("getComputedStyle(document.activeElement).outlineWidth")
    assert width == "2px", "the focus cannot be seen"
    page.keyboard.press("Control+Enter")
    wait_for_end(page)
    assert server.statistics()["total_requests"] == before["total_requests"] + 1


def test_a_screen_reader_announces_beginning_and_end(page: Page) -> None:
    """A screen reader announces beginning and end, and no step between; it says the numbers of the page."""
    expect(page.get_by_role("button", name="Denoise")).to_be_enabled()
    page.evaluate("""() => {
        window.told = [];
        const announcer = document.querySelector("#announcer");
        new MutationObserver(() => window.told.push(announcer.textContent)).observe(announcer, { childList: true });
    }""")
    run(page)
    begun, complete = page.evaluate("window.told")
    assert begun == "Denoising has begun."
    tokens, passes = number(page, "tokens"), number(page, PASSES)
    assert complete.startswith(f"The canvas is complete: {tokens} tokens in {passes} forward passes and ")
    assert page.get_by_role("region", name="Canvas A").get_by_text("self", exact=True).count() == 1
    assert page.locator(".paper .mask:not([aria-hidden])").count() == 0


def test_every_control_has_a_name(open_page: OpenPage) -> None:
    page = open_page(COMPARED)
    run(page)
    assert page.evaluate(WITHOUT_NAME) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(open_page: OpenPage, scheme: str) -> None:
    page = open_page(COMPARED, color_scheme=scheme)
    run(page)
    page.get_by_label("show the numbers").check()
    assert page.evaluate(LOW_CONTRAST, LEAST_CONTRAST) == []


def test_the_theme_is_the_system_s_until_the_reader_says_otherwise(open_page: OpenPage) -> None:
    page = open_page(color_scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    page.get_by_role("button", name="Theme: system").click()
    light = page.evaluate(ground)
    assert light != dark
    page.reload()
    expect(page.get_by_role("button", name="Theme: light")).to_be_visible()
    assert page.evaluate(ground) == light
    page.get_by_role("button", name="Theme: light").click()
    assert page.evaluate(ground) == dark


def test_it_fits_every_width(open_page: OpenPage) -> None:
    page = open_page(COMPARED)
    run(page)
    for width in (360, 768, 1440):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate(OVERFLOW) == 0, width
        for side in "ab":
            page.locator(f"#sides [value={side}]").check(force=True)
            assert page.evaluate(OVERFLOW) == 0, (width, side)


def test_reduced_motion_shows_no_animation(open_page: OpenPage) -> None:
    page = open_page(reduced_motion="reduce")
    run(page)
    assert page.locator(".text.new").first.evaluate("token => getComputedStyle(token).animationName") == "none"
