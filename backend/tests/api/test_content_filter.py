"""The content filter over HTTP: nothing that it forbids reaches a model or leaves, in any framing, at any time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.serving import Json, Server, serving
from tests.api.test_errors import check_problem
from tests.api.test_start import refusal

RULES = """
[[rule]]
name = "names"
terms = ["Osiris", "Anubis two"]
action = "mask"
applies_to = ["output"]

[[rule]]
name = "codes"
pattern = '\\d{4}-\\d{4}'
action = "mask"
mask = "[code]"

[[rule]]
name = "curses"
terms = ["abracadabra"]

[[rule]]
name = "said aloud"
terms = ["open sesame"]
applies_to = ["output"]
"""

SAID = "It was osiris, or anubis  two, with 1234-5678; Osirisian."
SHOWN = "It was ******, or ***********, with [code]; Osirisian."


@pytest.fixture
def rules(tmp_path: Path) -> str:
    file = tmp_path / "rules.toml"
    file.write_text(RULES, encoding="utf-8")
    return str(file)


@pytest.fixture
def filtering(server: Server, rules: str) -> Iterator[Server]:
    """The server with the rules in force."""
    with server.configured(content_filter=rules):
        yield server


def said(text: str, **more: object) -> Json:
    return {"text": text, "model_id": "parrot", "seed": 1, **more}


def text_of(events: list[Json]) -> str:
    return "".join(event["data"] for event in events if event["type"] == "token")


@pytest.mark.parametrize("accept", ["*/*", "text/event-stream"])
def test_a_term_split_over_events_does_not_slip_through(filtering: Server, accept: str) -> None:
    codeless = SAID.replace("1234-5678", "12 34")
    events = filtering.events("/generate/stream", said(codeless), accept)
    assert text_of(events) == SHOWN.replace("[code]", "12 34")
    assert max(len(event["data"]) for event in events if event["type"] == "token") < 20
    assert filtering.answer("/generate", said(codeless))["generated_text"] == text_of(events)
    assert events[-1]["metadata"]["tokens_generated"] == (len(codeless) + 1) // 2


def test_the_model_sees_a_masked_request(filtering: Server) -> None:
    answer = filtering.answer("/generate", said("call 1234-5678 now"))
    assert answer["generated_text"] == "call [code] now"
    infilled = filtering.answer("/infill", {"prefix": "1234-5678", "model_id": "parrot"})
    assert infilled["infilled_text"] == "[code]"


@pytest.mark.parametrize("path", ["/generate", "/generate/stream"])
def test_a_refused_request_names_field_and_rule_and_not_the_word(filtering: Server, path: str) -> None:
    problem = check_problem(filtering.post(path, said("say AbraCadabra")), 422, "content_rejected")
    assert problem["detail"] == "text is refused by the rule 'curses' of the content filter"
    assert [error["field"] for error in problem["errors"]] == ["text"]
    assert "adabra" not in json.dumps(problem)


def test_a_refused_request_is_refused_whichever_model_is_asked(filtering: Server) -> None:
    for model_id in ("dreamon", "llada", ""):
        response = filtering.post("/infill", {"suffix": "abracadabra", "model_id": model_id})
        assert check_problem(response, 422, "content_rejected")["errors"][0]["field"] == "suffix"


CURSE = "abracadabra"


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/api/generate", {"prompt": CURSE}, "prompt"),
        ("/api/generate", {"prompt": CURSE, "system": "s"}, "prompt"),
        ("/api/generate", {"prompt": "a", "system": CURSE}, "system"),
        ("/api/generate", {"prompt": CURSE, "raw": True}, "prompt"),
        ("/api/generate", {"prompt": CURSE, "suffix": "b"}, "prompt"),
        ("/api/generate", {"prompt": "a", "suffix": CURSE}, "suffix"),
        ("/api/chat", {"messages": [{"role": "user", "content": CURSE}]}, "messages[0]"),
        ("/v1/completions", {"prompt": CURSE}, "prompt"),
        ("/v1/completions", {"prompt": CURSE, "suffix": "b"}, "prompt"),
        ("/v1/fim/completions", {"prompt": "a", "suffix": CURSE}, "suffix"),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": CURSE}]}, "messages[0]"),
        ("/infill", {"input_prefix": CURSE, "input_suffix": "b"}, "input_prefix"),
        ("/infill", {"input_prefix": "a", "input_suffix": CURSE}, "input_suffix"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_refusal_names_the_field_as_its_client_does(
    filtering: Server, path: str, body: Json, field: str, stream: bool
) -> None:
    response = filtering.session.post(filtering.url + path, json={"model": "dreamon", **body, "stream": stream})
    error = response.json()["error"]
    said = error if isinstance(error, str) else error["message"]
    assert (response.status_code, said) == (400, f"{field} is refused by the rule 'curses' of the content filter")


def test_a_refused_answer_is_an_error_in_both_ways(filtering: Server) -> None:
    before = filtering.statistics()
    problem = check_problem(filtering.post("/generate", said("well: open sesame!")), 422, "content_rejected")
    assert problem["detail"] == "the answer is refused by the rule 'said aloud' of the content filter"
    assert "errors" not in problem
    events = filtering.events("/generate/stream", said("well: open sesame!"))
    assert text_of(events) == "well: "
    assert events[-1]["type"] == "error"
    assert events[-1]["metadata"]["code"] == "content_rejected"
    after = filtering.statistics()
    assert after["refused_requests"] == before["refused_requests"] + 2
    assert after["failed_requests"] == before["failed_requests"]
    assert after["total_requests"] == before["total_requests"]


@pytest.mark.parametrize("seed", range(5))
def test_no_canvas_shows_more_than_the_text(filtering: Server, seed: int) -> None:
    body = said("so Osiris came", seed=seed, stream_mode="canvas")
    events = filtering.events("/generate/stream", body)
    steps = [event["data"] for event in events if event["type"] == "step"]
    assert steps
    shown = {piece for step in steps for piece in step["canvas"]} - {None, "▒"}
    assert shown <= {"so", "s ", "ca", "me", " c"}
    assert {commit["text"] for step in steps for commit in step["committed"]} <= shown | {"▒"}
    assert text_of(events) == "so ****** came"


def test_a_built_in_model_is_filtered_too(server: Server, tmp_path: Path) -> None:
    body = {"text": "Once upon a time", "model_id": "llada", "seed": 3, "max_length": 48, "stream_mode": "canvas"}
    plain = server.answer("/generate", body)["generated_text"]
    letter = next(letter for letter in plain if letter.isascii() and letter.isalpha())
    file = tmp_path / "rules.toml"
    file.write_text(f"[[rule]]\nname = 'letter'\npattern = '{letter}'\naction = 'mask'\napplies_to = ['output']\n")
    with server.configured(content_filter=str(file)):
        events = server.events("/generate/stream", body)
    assert text_of(events) == "".join("*" if character.lower() == letter.lower() else character for character in plain)
    shown = [piece for event in events if event["type"] == "step" for piece in event["data"]["canvas"] if piece]
    assert len(shown) > len(set(shown) - {"▒"}) > 0
    assert not any(letter.lower() in piece.lower() for piece in shown)


def test_the_partial_text_of_a_timeout_is_filtered(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "rules.toml"
    file.write_text("[[rule]]\nname = 'on'\nterms = ['on']\naction = 'mask'\n")
    with server.configured(content_filter=str(file), timeout_seconds=0.2):
        problem = server.post("/generate", {"text": "x", "model_id": "endless"}).json()
    assert problem["code"] == "timeout"
    assert set(problem["generated_text"].split()) == {"**"}


def test_the_file_is_read_again_when_it_is_posted(server: Server, rules: str) -> None:
    with server.configured(content_filter=rules):
        Path(rules).write_text("[[rule]]\nname = 'new'\nterms = ['was']\naction = 'mask'\n")
        assert server.answer("/generate", said(SAID))["generated_text"].startswith("It was ******")
        assert server.answer("/config", {"content_filter": rules})["updated"] == {"content_filter": rules}
        assert server.answer("/generate", said(SAID))["generated_text"].startswith("It *** osiris")
    assert server.answer("/generate", said(SAID))["generated_text"] == SAID


def test_a_wrong_file_changes_nothing(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "rules.toml"
    file.write_text("[[rule]]\nname = 'ok'\nterms = ['x']\n\n[[rule]]\nname = 'odd'\npattern = '('\n")
    before = server.get("/config").json()
    response = server.post("/config", {"content_filter": str(file), "temperature": 0.1})
    problem = check_problem(response, 422, "invalid_parameters")
    assert [error["field"] for error in problem["errors"]] == ["content_filter"]
    assert f"{file}: line 5: rule 2 ('odd'): pattern: missing )" in problem["detail"]
    assert server.get("/config").json() == before


def test_hits_are_in_the_metrics(filtering: Server) -> None:
    def hits() -> dict[str, float]:
        lines = filtering.session.get(f"{filtering.url}/metrics").text.splitlines()
        counted = [line.rsplit(" ", 1) for line in lines if line.startswith("reynard_filter_hits")]
        return {series: float(count) for series, count in counted}

    series = 'reynard_filter_hits_total{action="mask",direction="output",rule="names"}'
    before = hits().get(series, 0)
    filtering.answer("/generate", said("Osiris, Osiris"))
    assert hits()[series] == before + 2


def test_a_wrong_file_stops_the_start_with_one_line(tmp_path: Path) -> None:
    file = tmp_path / "rules.toml"
    file.write_text("[[rule]]\nname = 'x'\nterms = ['a']\naction = 'hide'\n")
    code, said = refusal(tmp_path, CONTENT_FILTER=str(file))
    assert code == 2
    assert said.startswith(f"DIFFUSION_CONTENT_FILTER: content_filter: {file}: line 1: rule 1 ('x'): action='hide'")
    assert said.count("\n") == 1


def test_the_rules_are_in_force_from_the_start(tmp_path: Path, plugin: Path, rules: str) -> None:
    with serving(tmp_path / "filtering", plugin, CONTENT_FILTER=rules, DEFAULT_MODEL="parrot") as filtering:
        assert filtering.answer("/generate", {"text": SAID.replace("1234-5678", "[code]")})["generated_text"] == SHOWN
    assert "siris" not in filtering.log
