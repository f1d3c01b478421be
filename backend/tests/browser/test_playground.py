"""The playground as a reader uses it, from key press to rendered token."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
from collections.abc import Iterator
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect

from tests.api.serving import Json, Server, serving
from tests.browser.conftest import PASSES, OpenPage, number, run, visiting, wait_for_end

pytestmark = pytest.mark.browser

PROSE = {"mode": "generate", "text": "Once upon a time, there was", "model_id": "llada", "max_length": 12, "seed": 1}
LONG = {**PROSE, "max_length": 1024}
GAP: Json = {
    "prefix": "def __init__(self, name, value):\n    self.name = name\n    ",
    "suffix": "\n    self._items = []\n",
    "model_id": "dreamon",
    "max_length": 24,
    "temperature": 0.0,
}
MARKUP = "<img src=x onerror=alert(1)><script>alert(2)</script>&amp;"


def address(**settings: object) -> str:
    return f"#{urlencode(settings)}"


def settings_of(page: Page, side: str = "A") -> Locator:
    return page.get_by_label(f"Settings {side}")


def cells(page: Page, kind: str, canvas: str = "A") -> list[str]:
    return page.get_by_label(f"Canvas {canvas}").locator(f".cells .{kind}").all_text_contents()


def see_pass(page: Page, number: int) -> None:
    page.get_by_label("Forward pass").fill(str(number))


def test_a_continuation_appears_token_by_token(server: Server, open_page: OpenPage) -> None:
    page = open_page(address(**PROSE))
    run(page)
    answer = server.answer("/generate", {name: value for name, value in PROSE.items() if name != "mode"})
    assert "".join(cells(page, "text:not(.special)")) == answer["generated_text"]
    assert cells(page, "mask") == []
    assert number(page, PASSES) == str(answer["metadata"]["denoising_steps"])
    assert number(page, "ended by") == answer["metadata"]["finish_reason"]
    assert number(page, "answered by") == "llada, cpu"
    assert number(page, "seed") == "1"
    assert float(number(page, "tokens / s")) > 0
    page.get_by_role("button", name="Copy text").click()
    expect(page.get_by_role("status")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == answer["generated_text"]


def test_a_gap_grows_where_the_model_asks_for_room(server: Server, open_page: OpenPage) -> None:
    """The page opens with this gap, as an example."""
    page = open_page()
    settings_of(page).get_by_label("initial_masks").fill("1")
    run(page)
    answer = server.answer("/infill", {**GAP, "initial_masks": 1})
    assert "".join(cells(page, "text")) == answer["infilled_text"]
    assert page.get_by_label("Canvas A").text_content() == GAP["prefix"] + answer["infilled_text"] + GAP["suffix"]
    for _ in range(20):  # a page on a busy machine may be too slow to see every step
        seen = new_masks_of_passes(page, answer["metadata"]["denoising_steps"])
        if 2 in seen:
            break
        run(page)
    assert 2 in seen


def new_masks_of_passes(page: Page, num_passes: int) -> set[int]:
    """The numbers of masks that the page shows for each pass."""
    numbers = set()
    for taken in range(num_passes):
        see_pass(page, taken)
        numbers.add(len(cells(page, "mask.new")))
    return numbers


def test_each_token_shows_its_confidence(page: Page) -> None:
    """A page that is slower than the engine is sent some passes as one, and does not know their confidences."""
    token = page.get_by_label("Canvas A").locator(".text").first
    for _ in range(5):
        run(page)
        if (confidence := token.get_attribute("data-number")) != "?":
            break
    assert token.get_attribute("title") == f"confidence {confidence}, written in pass 1"
    page.get_by_label("show the numbers").check()
    assert token.evaluate("token => getComputedStyle(token, '::after').content") == f'"{confidence}"'


def test_the_replay_obeys_the_keyboard(page: Page) -> None:
    run(page)
    slider, reading, last = page.get_by_label("Forward pass"), page.locator("#pass-reading"), number(page, PASSES)
    slider.focus()
    page.keyboard.press("Home")
    expect(reading).to_have_text(f"pass 0 of {last}")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(reading).to_have_text(f"pass 2 of {last}")
    assert slider.get_attribute("aria-valuetext") == f"forward pass 2 of {last}"
    page.get_by_role("button", name="Play", exact=True).press("Enter")
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    expect(reading).to_have_text(f"pass {last} of {last}")


@pytest.mark.parametrize("order", ["In turn", "At once"])
def test_two_settings_stand_side_by_side(server: Server, open_page: OpenPage, order: str) -> None:
    """A page that is slower than the engine is sent some passes as one, and shows the last that it saw till then."""
    page = open_page(address(**PROSE))
    page.get_by_label(order).check()
    page.locator("#sides").get_by_label("B").check()
    settings_of(page, "B").get_by_label("max_length").fill("5")
    run(page)
    asked = {name: value for name, value in PROSE.items() if name != "mode"}
    answers = [server.answer("/generate", {**asked, **own}) for own in ({}, {"max_length": 5, "decoding": "fast"})]
    passes = [answer["metadata"]["denoising_steps"] for answer in answers]
    assert [number(page, PASSES, row) for row in (1, 2)] == [str(count) for count in passes]
    assert page.locator("#numbers [scope=row]").all_text_contents() == ["A", "B"]
    see_pass(page, passes[1])
    assert 12 - passes[1] <= len(cells(page, "mask", "A")) <= 12
    assert cells(page, "mask", "B") == []
    see_pass(page, passes[0])
    assert cells(page, "mask", "A") == []


def test_the_code_really_asks_the_same(server: Server, open_page: OpenPage) -> None:
    text = 'It\'s "quoted" \\ $HOME\n`x`'
    penalties = {"frequency_penalty": 1.5, "presence_penalty": -0.5, "min_p": 0.1, "no_repeat_ngram_size": 3}
    typed = {"text": text, "stop": "\\n\nThe end", "logit_bias": "5=-100\n 7 = 2.5\n", **penalties}
    page = open_page(address(**{**PROSE, **typed}))
    page.get_by_role("button", name="As code").click()
    curl, python = page.locator("#curl").text_content() or "", page.locator("#python").text_content() or ""
    asked = {name: value for name, value in PROSE.items() if name != "mode"}
    body = {**asked, **penalties, "text": text, "stop": ["\n", "The end"], "logit_bias": {"5": -100, "7": 2.5}}
    expected = server.answer("/generate", body)["generated_text"]
    printed = subprocess.run(["bash", "-c", f"{curl} --silent --fail"], capture_output=True, check=True).stdout
    assert json.loads(printed)["generated_text"] == expected
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(python, {})
    assert output.getvalue() == f"{expected}\n"
    page.get_by_role("button", name="Copy curl").click()
    expect(page.locator("#copy-curl")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == curl
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()


@pytest.mark.parametrize("way", ["Escape", "Stop"])
def test_stopping_frees_the_slot(server: Server, open_page: OpenPage, way: str) -> None:
    page = open_page(address(**LONG))
    before = server.wait_until_idle()
    page.get_by_role("button", name="Denoise").click()
    expect(page.locator(".sheet .text").first).to_be_visible()
    if way == "Escape":
        page.keyboard.press("Escape")
    else:
        page.get_by_role("button", name="Stop").click()
    wait_for_end(page, "stopped")
    after = server.wait_until_idle()
    assert after["cancelled_requests"] == before["cancelled_requests"] + 1
    assert number(page, "ended by") == "you"
    expect(page.get_by_role("button", name="Stop")).to_be_disabled()


def test_a_new_request_cancels_the_running_one(server: Server, open_page: OpenPage) -> None:
    page = open_page(address(**LONG, compare="after", **{f"b.{name}": value for name, value in LONG.items()}))
    before = server.wait_until_idle()
    page.get_by_role("button", name="Denoise").click()
    expect(page.locator(".sheet .text").first).to_be_visible()
    for side in "AB":
        page.locator("#sides").get_by_label(side).check()
        settings_of(page, side).get_by_label("max_length").fill("3")
    run(page)
    after = server.wait_until_idle()
    counts = [after[name] - before[name] for name in ("total_requests", "cancelled_requests", "successful_requests")]
    assert counts == [3, 1, 2]


def test_a_wrong_value_is_explained_beside_its_field(open_page: OpenPage) -> None:
    page = open_page(address(**{**PROSE, "temperature": 3}))
    run(page, "failed")
    field, sentence = settings_of(page).get_by_label("temperature"), "temperature=3 is above the maximum of 2"
    expect(page.locator(".problem").first).to_have_text(f"A value is not allowed: {sentence}")
    expect(field).to_be_focused()
    assert field.get_attribute("aria-invalid") == "true"
    expect(page.locator("#a-temperature-complaint")).to_have_text(sentence)
    field.fill("1")
    assert field.get_attribute("aria-invalid") is None
    settings_of(page).get_by_label("logit_bias").fill("5=x")
    run(page, "failed")
    expect(page.locator("#a-logit_bias-complaint")).to_have_text("logit_bias.5='x' must be a number")
    page.locator("#text").fill("")
    run(page, "failed")
    expect(page.locator("#text")).to_be_focused()


def test_the_page_shows_the_fields_that_the_model_takes(server: Server, page: Page) -> None:
    settings = settings_of(page)
    expect(settings.get_by_label("initial_masks")).to_be_visible()
    expect(settings.get_by_label("block_length", exact=True)).to_be_hidden()
    settings.get_by_label("model_id").select_option("llada")
    expect(settings.get_by_label("block_length", exact=True)).to_be_visible()
    expect(settings.get_by_label("initial_masks")).to_be_hidden()
    config = server.get("/config").json()
    for name in ("max_length", "temperature", "top_p", "top_k", "repetition_penalty"):
        assert settings.get_by_label(name).get_attribute("placeholder") == str(config[name])
    assert settings.get_by_label("max_length").get_attribute("max") == "1024"


def test_a_stand_in_is_named(open_page: OpenPage) -> None:
    page = open_page(address(**{**PROSE, "model_id": "absent"}))
    run(page)
    expect(page.locator(".notice").first).to_have_text("absent cannot be had now; dreamon answers instead.")


def test_a_server_that_is_switched_off_says_so(server: Server, open_page: OpenPage) -> None:
    with server.configured(enabled=False):
        page = open_page()
        expect(page.get_by_role("alert")).to_contain_text("switched off")
        run(page, "failed")
        expect(page.locator(".problem").first).to_contain_text("The service is switched off")


def test_the_address_carries_the_settings_and_nothing_else(open_page: OpenPage) -> None:
    page = open_page()
    page.get_by_label("Continue a text").check()
    page.get_by_label("text", exact=True).fill("a + b & c = #\n")
    settings_of(page).get_by_label("top_k").fill("7")
    settings_of(page).get_by_label("max_length").fill("4")
    run(page)
    shared = open_page(page.url.partition("/#")[2].join(["#", ""]))
    expect(shared.get_by_label("text", exact=True)).to_have_value("a + b & c = #\n")
    expect(settings_of(shared).get_by_label("top_k")).to_have_value("7")
    names = {part.partition("=")[0] for part in page.url.partition("#")[2].split("&")}
    assert names == {"mode", "text", "model_id", "decoding", "max_length", "initial_masks", "temperature", "top_k"}


def test_a_kept_seed_gives_the_text_again(open_page: OpenPage) -> None:
    page = open_page(address(**{**PROSE, "seed": ""}))
    run(page)
    first = cells(page, "text")
    page.get_by_role("button", name="Keep this seed").click()
    assert settings_of(page).get_by_label("seed").input_value() == number(page, "seed")
    run(page)
    assert cells(page, "text") == first


def test_markup_stays_text(open_page: OpenPage) -> None:
    page = open_page(address(mode="infill", prefix=MARKUP, suffix=MARKUP, model_id="dreamon", max_length=4))
    run(page)
    assert page.get_by_label("Canvas A").locator(".given").all_text_contents() == [MARKUP, MARKUP]


def test_steps_that_were_missed_leave_no_trace(page: Page) -> None:
    """A slow reader gets the newest canvas only: what it recognises keeps its confidence, the rest has none."""
    drawn = page.evaluate("""async () => {
        const { blank, frameAfter } = await import("/playground/frames.js");
        const committed = [{ index: 0, text: "a", confidence: 0.5 }];
        const first = frameAfter(blank(3), { canvas: ["a", null, null], committed, expanded: [], deleted: [], nfe: 1 });
        const canvas = ["a", "b", null, null, "e"];
        const last = frameAfter(first, { canvas, committed: [], expanded: [], deleted: [], nfe: 9 });
        return last.cells.map(({ kind, text, confidence }) => [kind, text, confidence]);
    }""")
    assert drawn == [["text", "a", 0.5], ["text", "b", None], ["mask", "", None], ["mask", "", None],
                     ["text", "e", None]]  # fmt: skip


KEY = "the-key"


@pytest.fixture(scope="module")
def keyed(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("keyed"), API_KEYS=KEY, ADMIN_TOKEN="token") as running:
        running.wait_until_ready(headers={"Authorization": "Bearer token"})
        yield running


def test_a_key_is_asked_for_and_stays_in_the_tab(browser: Browser, keyed: Server) -> None:
    with visiting(browser, keyed) as open_page:
        page = open_page(address(**PROSE))
        field = page.get_by_label("This server asks for an API key")
        expect(field).to_be_focused()
        expect(page.get_by_role("alert")).to_contain_text("An API key is required")
        for given in ("wrong", KEY):
            field.fill(given)
            field.press("Enter")
        expect(page.get_by_role("button", name="Denoise")).to_be_enabled()
        run(page)
        assert page.evaluate("Object.values(sessionStorage)") == [KEY]
        assert KEY not in page.url
        page.get_by_role("button", name="As code").click()
        assert KEY not in page.inner_text("body")
        expect(page.locator("#curl")).to_contain_text('-H "X-API-Key: $API_KEY"')
        page.reload()
        expect(page.get_by_role("button", name="Denoise")).to_be_enabled()


def test_a_model_that_cannot_infill_is_offered_no_gap(open_page: OpenPage) -> None:
    page = open_page(address(**PROSE))

    def without_infilling(route: Route) -> None:
        answer = route.fetch()
        models = [
            {**model, "capabilities": ["generate", "chat"]} if model["model_id"] == "llada" else model
            for model in answer.json()["models"]
        ]
        route.fulfill(response=answer, json={"models": models})

    page.route("**/api/diffusion/admin/models", without_infilling)
    page.goto(f"/?{address(**{**PROSE, 'mode': 'infill', 'prefix': 'x'})}")
    task, text, suffix = (page.locator(selector) for selector in ("#task", "#text", "#suffix"))
    expect(text).to_be_visible()
    expect(suffix).to_be_hidden()
    expect(task).to_be_hidden()
    run(page)
    settings_of(page).get_by_label("model_id").select_option("dreamon")
    expect(task).to_be_visible()
    page.get_by_role("radio", name="Fill a gap").check()
    expect(suffix).to_be_visible()
    settings_of(page).get_by_label("model_id").select_option("llada")
    expect(suffix).to_be_hidden()


def test_a_constraint_is_obeyed_and_complained_of(server: Server, open_page: OpenPage) -> None:
    page = open_page(address(**PROSE))
    settings = settings_of(page)
    settings.get_by_label("constraint_kind").select_option("choices")
    settings.get_by_label("constraint", exact=True).fill("always\nnever")
    run(page)
    assert "".join(cells(page, "text:not(.special)")) in ("always", "never")
    settings.get_by_label("max_length").fill("1")
    settings.get_by_label("constraint", exact=True).fill("q")
    run(page)
    forced = page.get_by_label("Canvas A").locator(".cells .forced")
    expect(forced).to_have_text(["q"])
    expect(forced).to_have_attribute("title", "forced: the constraint left no other token; written in pass 1")
    expect(page.get_by_role("status")).to_contain_text("The constraint forced 1 of what stands there.")
    settings.get_by_label("constraint_kind").select_option("json_schema")
    settings.get_by_label("constraint", exact=True).fill("{")
    run(page, "failed")
    expect(page.locator("#a-constraint-complaint")).to_contain_text("must be an object")
    settings.get_by_label("constraint", exact=True).fill('{"const": true}')
    page.get_by_role("button", name="As code").first.click()
    assert '"const": True' in (page.get_by_label("Python", exact=True).text_content() or "")
