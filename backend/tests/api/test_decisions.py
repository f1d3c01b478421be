"""Typed decisions over HTTP, by the clients of those who defined their words, and as bare JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from openai import BadRequestError, OpenAI

from tests.api.serving import Json, Server

NOUL = {"type": "noul", "instructions": "Is it urgent?"}
CHOICE = {"type": "choice", "instructions": "Which team?", "criteria": {"sales": "money", "help": None}}
SCORE = {"type": "score", "instructions": "How upset?", "criteria": ["calm", {"mood": "furious"}]}
QUESTIONS = {"urgent": NOUL, "team": CHOICE, "tone": SCORE}
LISTED: list[Any] = [
    {"type": "predicate", "name": "urgent", "instructions": "Is it urgent?"},
    {"type": "choice", "instructions": "Which team?", "choices": [{"value": "sales"}, {"value": True}]},
    {"type": "score", "instructions": "How upset?", "levels": [{"label": "calm"}, {"label": "furious"}]},
]
NAMED: list[Json] = [
    {"id": "urgent", "type": "yes_no", "question": "Is it urgent?"},
    {"id": "team", "type": "choice", "question": "Which team?", "options": [{"name": "sales"}, {"name": "help"}]},
    {"id": "tone", "type": "score", "question": "How upset?", "levels": ["calm", "furious"]},
]


def post(server: Server, path: str, body: Any) -> requests.Response:
    return server.session.post(f"{server.url}/v1/{path}", json=body, timeout=120)


def answered(server: Server, path: str, body: Json) -> Json:
    response = post(server, path, body)
    assert response.status_code == 200, response.text
    answer: Json = response.json()
    return answer


def has_four_decimals(value: float) -> bool:
    return round(value, 4) == value


@pytest.mark.parametrize("model", ["llada", "dreamon"])
def test_systemone_answers_each_question_by_its_type(server: Server, model: str) -> None:
    answer = answered(server, "systemone", {"model": model, "state": {"mail": "Help"}, "questions": QUESTIONS})
    urgent, team, tone = (answer["answers"][name] for name in QUESTIONS)
    assert urgent.keys() == {"type", "noul"}
    assert team.keys() == {"type", "choice", "confidence", "probabilities"}
    assert team["choice"] == max(team["probabilities"], key=team["probabilities"].__getitem__)
    assert tone.keys() == {"type", "score", "confidence", "legend", "probabilities"}
    assert tone["legend"] == {"0": "calm", "1": {"mood": "furious"}}
    assert tone["score"] == pytest.approx(tone["probabilities"]["1"], abs=1e-4)
    assert sum(team["probabilities"].values()) == pytest.approx(1.0, abs=2e-4)
    assert all(map(has_four_decimals, [urgent["noul"], team["confidence"], tone["score"]]))
    assert answer["usage"]["input_tokens"] > 0
    assert (answer["model"], answer["calibrated"], answer["usage"]["output_tokens"]) == (model, False, 0)
    assert answer["prompt_format_version"] == 1
    assert all(0.0 < each["label_mass"] <= 1.0 for each in answer["diagnostics"].values())


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("systemone", {"state": "Help", "questions": QUESTIONS}),
        ("decisions", {"input": "Help", "questions": LISTED}),
        ("decisions", {"input": "Help", "questions": NAMED}),
    ],
)
def test_an_empty_model_is_the_default_one(server: Server, path: str, asked: Json) -> None:
    assert answered(server, path, {**asked, "model": ""}) == answered(server, path, asked)


@pytest.fixture
def client(server: Server) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.url}/v1", api_key="none is needed", max_retries=0) as client:
        yield client


def test_openais_client_decides(client: OpenAI) -> None:
    messages: Any = [{"role": "user", "content": [{"type": "input_text", "text": "Help"}]}]
    decision = client.decisions.create(model="llada", input=messages, questions=LISTED)
    urgent, team, tone = decision.answers
    assert (urgent.type, team.type, tone.type) == ("predicate", "choice", "score")
    assert [urgent.name, team.name, tone.name] == ["urgent", None, None]
    assert team.type == "choice"
    assert [each.value for each in team.probabilities] == ["sales", True]
    assert tone.type == "score"
    assert [(each.value, each.label) for each in tone.probabilities] == [(0, "calm"), (1, "furious")]
    assert decision.usage.total_tokens == decision.usage.input_tokens > 0
    plain = client.decisions.create(model="llada", input="Help", questions=LISTED)
    assert plain.answers == decision.answers


def test_openais_client_gets_an_error_that_names_the_field(client: OpenAI) -> None:
    questions: list[Any] = [{**LISTED[0], "mood": 1}]
    with pytest.raises(BadRequestError) as refused:
        client.decisions.create(model="llada", input="Help", questions=questions)
    assert (refused.value.param, refused.value.code) == ("questions[0].mood", "unknown_field")


def test_questions_with_ids_are_answered_by_these(server: Server) -> None:
    body = {"model": "llada", "input": {"mail": "Help"}, "questions": NAMED, "prompt_format_version": 1}
    answer = answered(server, "decisions", body)
    urgent, team, tone = (answer["answers"][question["id"]] for question in NAMED)
    assert urgent["probabilities"].keys() == {"yes", "no"}
    assert team["choice"] in team["probabilities"]
    assert tone["score"] == pytest.approx(tone["probabilities"]["1"], abs=1e-4)
    assert all(0.0 < each["label_mass"] <= 1.0 for each in (urgent, team, tone))
    assert answer["prompt_format_version"] == 1
    assert answer["usage"]["total_tokens"] == answer["usage"]["prompt_tokens"]


def test_all_words_get_the_same_probabilities(server: Server) -> None:
    state = {"model": "llada", "state": "Help", "questions": {"q": NOUL}}
    listed = {"model": "llada", "input": "Help", "questions": [LISTED[0]]}
    named = {"model": "llada", "input": "Help", "questions": [NAMED[0]]}
    by_state = answered(server, "systemone", state)["answers"]["q"]["noul"]
    by_list = answered(server, "decisions", listed)["answers"][0]["probability"]
    by_id = answered(server, "decisions", named)["answers"]["urgent"]["probabilities"]["yes"]
    assert by_state == by_list == by_id


def test_decisions_at_the_same_time_beside_a_generation_are_those_of_one_alone(server: Server) -> None:
    asked: dict[str, Json] = {
        "systemone": {"model": "llada", "state": "Help", "questions": {"q": CHOICE}, "permutations": 2},
        "decisions": {"model": "llada", "input": "Help", "questions": LISTED},
    }
    alone = {path: answered(server, path, body) for path, body in asked.items()}
    with ThreadPoolExecutor(9) as pool:
        writing = pool.submit(server.answer, "/generate", {"text": "Once", "model_id": "llada", "max_length": 32})
        answers = list(pool.map(lambda path: (path, answered(server, path, asked[path])), [*asked] * 4))
        assert writing.result()["success"]
    assert all(answer == alone[path] for path, answer in answers)


@pytest.mark.parametrize(
    ("changes", "status", "complaint"),
    [
        ({"mood": 1}, 400, "unknown field 'mood'"),
        ({"questions": {"q": {**NOUL, "mood": 1}}}, 400, "unknown field 'questions.q.mood'"),
        ({"questions": {"q": {"type": "box"}}}, 422, "questions.q.type='box' must be one of"),
        ({"questions": {"q": {"instructions": "x"}}}, 422, "questions.q.type is missing"),
        ({"questions": {"q": {"type": "noul"}}}, 422, "questions.q has neither instructions nor criteria"),
        ({"questions": {"q": {**CHOICE, "criteria": {}}}}, 422, "questions.q.criteria is empty"),
        ({"questions": {"q": {**CHOICE, "criteria": dict.fromkeys(map(str, range(256)))}}}, 422, "maximum of 255"),
        ({"questions": {"q": {**SCORE, "criteria": ["x"] * 11}}}, 422, "more than the maximum of 10"),
        ({"questions": {"q": {**NOUL, "instructions": "x" * 20_001}}}, 422, "more than the maximum of 20000"),
        ({"questions": {str(number): NOUL for number in range(65)}}, 422, "more than the maximum of 64"),
        ({"questions": {}}, 422, "questions is empty"),
        ({"questions": {"": NOUL}}, 422, "questions. is empty; at least 1 character is needed"),
        ({"state": " "}, 422, "state says nothing"),
        ({"state": "x" * 200_001}, 422, "more than the maximum of 200000"),
        ({"state": "word " * 30_000}, 422, "tokens, and the model sees"),
        ({"permutations": 17}, 422, "above the maximum of 16"),
        ({"model": "nobody"}, 404, "there is no model 'nobody'"),
        ({"model": "words"}, 422, "ask another model"),
    ],
)
def test_systemone_refuses_a_mistake_in_its_own_form(
    server: Server, changes: Json, status: int, complaint: str
) -> None:
    body = {"model": "llada", "state": "Help", "questions": {"q": NOUL}, **changes}
    response = post(server, "systemone", body)
    assert response.status_code == status, response.text
    (detail,) = response.json().values()
    assert detail.keys() == {"error_type", "message"}
    assert complaint in detail["message"]


@pytest.mark.parametrize(
    ("changes", "param", "complaint"),
    [
        ({"mood": 1}, "mood", "unknown field 'mood'"),
        ({"questions": []}, "questions", "questions is empty"),
        ({"questions": [*LISTED, NAMED[0]]}, "questions[3]", "must be one of"),
        ({"questions": [{**LISTED[1], "choices": [{"value": "x"}]}]}, "questions[0].choices", "at least 2 are needed"),
        ({"questions": [{**LISTED[1], "choices": [{"value": "x"}] * 2}]}, "questions[0]", "the same value twice"),
        ({"questions": [{**NAMED[1], "options": [{"name": "x"}] * 2}]}, "questions[0]", "of the same name"),
        ({"questions": [{**NAMED[1], "options": [{"name": "x"}] * 27}]}, "questions[0].options", "maximum of 26"),
        ({"questions": NAMED, "prompt_format_version": 2}, "prompt_format_version", "is not served"),
        ({"questions": [*NAMED, NAMED[0]]}, "questions", "two of the name 'urgent'"),
        ({"input": "x" * 200_001}, "input", "input has 200001 characters"),
        ({"input": "word " * 30_000}, "input", "tokens, and the model sees"),
    ],
)
def test_decisions_refuses_a_mistake_in_openais_form(server: Server, changes: Json, param: str, complaint: str) -> None:
    response = post(server, "decisions", {"model": "llada", "input": "Help", "questions": LISTED, **changes})
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert error["param"] == param
    assert complaint in error["message"]


def test_a_state_of_escaped_characters_is_within_the_limit_of_bodies(server: Server) -> None:
    body = json.dumps({"model": "llada", "state": "😀" * 200_000, "questions": {"q": NOUL}})
    headers = {"Content-Type": "application/json"}
    url = f"{server.url}/v1/systemone"
    response = server.session.post(url, data=body, headers=headers, timeout=120)
    assert response.status_code == 422
    assert "tokens, and the model sees" in response.json()["detail"]["message"]


def test_decisions_are_counted_as_reads(server: Server) -> None:
    before = server.wait_until_idle()
    answered(server, "systemone", {"model": "llada", "state": "Help", "questions": {"q": NOUL}})
    assert post(server, "systemone", {"state": "Help"}).status_code == 422
    after = server.wait_until_idle()
    assert after["successful_requests"] == before["successful_requests"] + 1
    assert after["refused_requests"] == before["refused_requests"] + 1
