"""The playground of reads, as its reader uses it."""

from __future__ import annotations

import json
import math
import subprocess
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Page, expect

from tests.api.serving import Json, Server
from tests.browser.conftest import OpenPage
from tests.browser.test_accessibility import LEAST_CONTRAST, LOW_CONTRAST, OVERFLOW, WITHOUT_NAME
from tests.browser.test_playground import MARKUP

pytestmark = pytest.mark.browser

TEXT = "She was{{mood}}, and he{{what}}."
LABELS = [" not", " a", " the"]
ASKED = {"text": TEXT, "model_id": "llada", "top": "3", "choices.mood": "\n".join(LABELS)}
BODY: Json = {
    "model_id": "llada",
    "top": 3,
    "parts": ["She was", {"hole": "mood", "choices": LABELS}, ", and he", {"hole": "what"}, "."],
}


def address(**fields: str) -> str:
    return f"read#{urlencode({**ASKED, **fields})}"


def read(page: Page, state: str = "complete") -> None:
    expect(page.get_by_role("button", name="Read Ctrl")).to_be_enabled()
    page.get_by_role("button", name="Read Ctrl").click()
    expect(page.locator(".state")).to_have_text(state)


def percents(page: Page, hole: str) -> dict[str, float]:
    """The numbers of a table, as shares."""
    rows = page.get_by_role("table", name=hole).locator("tr:has(td)")
    return {
        row.locator("th").get_attribute("title") or "": float((row.locator("td").text_content() or "").rstrip(" %"))
        / 100
        for row in rows.all()
    }


def test_each_hole_shows_what_the_server_reads(server: Server, open_page: OpenPage) -> None:
    page = open_page(address())
    read(page)
    holes = server.answer("/read", BODY)["holes"]
    labels = {choice["text"]: math.exp(choice["logprob"]) for choice in holes["mood"]["choices"]}
    shares = {label: probability / sum(labels.values()) for label, probability in labels.items()}
    assert percents(page, "mood") == pytest.approx(shares, rel=0.06)
    mass = (page.locator(".mass b").text_content() or "").rstrip(" %")
    assert float(mass) / 100 == pytest.approx(math.exp(holes["mood"]["log_mass"]), rel=0.06)
    tokens = {token["token"]: math.exp(token["logprob"]) for token in holes["what"]["tokens"][0]}
    assert percents(page, "what") == pytest.approx(tokens, rel=0.06)
    best = max(shares, key=lambda label: shares[label])
    expect(page.get_by_role("table", name="mood").locator(".best th")).to_have_attribute("title", best)
    expect(page.get_by_role("region", name="Text").locator(".cell").first).to_have_text(best.replace(" ", "␣"))
    expect(page.get_by_role("status")).to_contain_text(f"Read in 1 forward pass. mood: {best.strip()} ")


def test_by_keyboard_alone_a_hole_is_added_and_read(open_page: OpenPage) -> None:
    page = open_page(address(text="It was"))
    expect(page.get_by_role("button", name="Read Ctrl")).to_be_enabled()
    page.get_by_label("text, with a hole").focus()
    page.keyboard.press("End")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_label("text, with a hole")).to_have_value("It was{{hole1}}")
    expect(page.get_by_label("text, with a hole")).to_be_focused()
    for _ in range(2):
        page.keyboard.press("Tab")
    expect(page.get_by_role("group", name="hole1").get_by_label("choices")).to_be_focused()
    page.keyboard.type(" good\n a very good thing")
    page.keyboard.press("Control+Enter")
    expect(page.locator(".state")).to_have_text("complete")
    assert percents(page, "hole1").keys() == {" good", " a very good thing"}
    expect(page.locator(".mass")).to_contain_text("differ in their number of tokens")


@pytest.mark.parametrize(
    ("fields", "label", "sentence"),
    [
        ({"choices.mood": " a\n a"}, "choices", "the same text twice"),
        ({"masks.mood": "99"}, "masks", "99"),
        ({"text": "no hole"}, "text, with a hole", "parts has no hole"),
        ({"top": "99"}, "top", "99"),
    ],
)
def test_a_wrong_value_is_explained_beside_its_field(
    open_page: OpenPage, fields: dict[str, str], label: str, sentence: str
) -> None:
    page = open_page(address(**fields))
    read(page, "failed")
    field = page.get_by_label(label).first
    expect(field).to_be_focused()
    expect(page.locator(f"#{field.get_attribute('id')}-complaint")).to_contain_text(sentence)
    expect(page.locator(".problem")).to_contain_text(sentence)


def test_the_address_and_the_code_carry_the_holes(server: Server, open_page: OpenPage) -> None:
    page = open_page(address(**{"masks.what": "2"}))
    read(page)
    shared = open_page(page.url.partition("/read")[2].join(["read", ""]))
    expect(shared.get_by_label("text, with a hole")).to_have_value(TEXT)
    expect(shared.get_by_role("group", name="mood").get_by_label("choices")).to_have_value("\n".join(LABELS))
    shared.get_by_role("button", name="As code").click()
    curl = shared.get_by_label("curl", exact=True).text_content() or ""
    asked = subprocess.run(["bash", "-c", curl], capture_output=True, check=True, timeout=60).stdout
    parts = [*BODY["parts"][:3], {"hole": "what", "masks": 2}, "."]
    assert json.loads(asked)["holes"] == server.answer("/read", {**BODY, "parts": parts})["holes"]


def test_markup_stays_text(open_page: OpenPage) -> None:
    page = open_page(address(text=f"{MARKUP}{{{{mood}}}}{MARKUP}", **{"choices.mood": MARKUP}))
    read(page)
    assert (page.get_by_role("region", name="Text").text_content() or "") == 3 * MARKUP


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_use_it(open_page: OpenPage, scheme: str) -> None:
    page = open_page(address(), color_scheme=scheme)
    read(page)
    assert page.evaluate(LOW_CONTRAST, LEAST_CONTRAST) == []
    assert page.evaluate(WITHOUT_NAME) == []
    for width in (360, 768, 1440):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate(OVERFLOW) == 0, width


def test_the_two_pages_lead_to_each_other(page: Page) -> None:
    page.get_by_role("link", name="Read instead").click()
    expect(page.get_by_role("button", name="Read Ctrl")).to_be_enabled()
    page.get_by_role("link", name="Write instead").click()
    expect(page.get_by_role("button", name="Denoise")).to_be_enabled()
