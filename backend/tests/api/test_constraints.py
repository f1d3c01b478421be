"""Constrained answers over HTTP: on every face each 200 is valid, streams equal answers, and bad input is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest
from jsonschema import Draft202012Validator
from openai import OpenAI

from tests.api.serving import ANSWER_TIMEOUT_S, Json, Server

SCHEMA: Json = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 6},
        "kind": {"enum": ["fox", "hen"]},
        "age": {"type": "integer", "minimum": 0, "maximum": 99},
    },
    "required": ["name", "kind", "age"],
    "additionalProperties": False,
}
PATTERN = r"[a-z]{2,5}(-[0-9]{2}){1,2}"
CHOICES = ["yes", "yes, but", "no"]
CONSTRAINTS: list[Json] = [{"json_schema": SCHEMA}, {"regex": PATTERN}, {"choices": CHOICES}]
CHAT: list[Any] = [{"role": "user", "content": "What is a fox?"}]
TOOL: Any = {"type": "function", "function": {"name": "note", "parameters": SCHEMA}}
NAMED: Any = {"type": "function", "function": {"name": "note"}}

every_model = pytest.mark.parametrize("model", ["llada", "dreamon"])


def check(text: str, constraint: Json) -> None:
    if "json_schema" in constraint:
        Draft202012Validator(constraint["json_schema"]).validate(json.loads(text))
    elif "regex" in constraint:
        assert re.fullmatch(constraint["regex"], text)
    else:
        assert text in constraint["choices"]


def text_of(events: list[Json]) -> str:
    return "".join(event["data"] for event in events if event["type"] == "token")


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.url}/v1", api_key="none is needed", max_retries=0) as client:
        yield client


@every_model
@pytest.mark.parametrize("constraint", CONSTRAINTS)
def test_each_answer_is_valid_and_the_same_in_a_stream(server: Server, model: str, constraint: Json) -> None:
    common = {"model_id": model, "max_length": 64, "seed": 3, "constraint": constraint}
    for path, field, body in (
        ("/generate", "generated_text", {"text": "Once\r\n", **common}),
        ("/infill", "infilled_text", {"prefix": "x = ", "suffix": "\r\n", **common}),
    ):
        answer = server.answer(path, body)
        check(answer[field], constraint)
        assert answer["metadata"]["finish_reason"] == "stop"
        events = server.events(f"{path}/stream", {**body, "stream_mode": "canvas"})
        assert text_of(events) == answer[field]


@every_model
def test_forced_tokens_are_marked_in_steps_and_log_probabilities(server: Server, model: str) -> None:
    """The one token that spells the one text, in a canvas of one token."""
    body = {"text": "x", "model_id": model, "max_length": 1, "logprobs": 0}
    only = {**body, "constraint": {"choices": ["q"]}}
    for asked, expected in ((only, [0]), ({**body, "constraint": {"choices": ["q", "z"]}}, []), (body, None)):
        events = server.events("/generate/stream", {**asked, "stream_mode": "canvas"})
        assert [event["data"].get("forced") for event in events if event["type"] == "step"] == [expected]
    (noted,) = server.answer("/generate", only)["metadata"]["logprobs"]
    assert (noted["token"], noted["forced"]) == ("q", True)
    assert all("forced" not in each for each in server.answer("/generate", body)["metadata"]["logprobs"])


@every_model
def test_each_answer_of_many_at_once_is_valid(server: Server, model: str) -> None:
    def answered(seed: int) -> str:
        body = {"text": "Once", "model_id": model, "max_length": 48, "seed": seed, "constraint": CONSTRAINTS[seed % 3]}
        return str(server.answer("/generate", body)["generated_text"])

    with ThreadPoolExecutor(6) as pool:
        texts = list(pool.map(answered, range(6)))
    for seed, text in enumerate(texts):
        check(text, CONSTRAINTS[seed % 3])
    assert texts[4] == answered(4)


@pytest.mark.parametrize(
    ("asked", "constraint"),
    [
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}}, CONSTRAINTS[0]),
        ({"response_format": {"type": "json_object"}}, {"json_schema": {"type": "object"}}),
        ({"response_format": {"type": "json_object", "value": SCHEMA}}, CONSTRAINTS[0]),
        ({"guided_json": json.dumps(SCHEMA)}, CONSTRAINTS[0]),
        ({"guided_regex": PATTERN}, CONSTRAINTS[1]),
        ({"structured_outputs": {"choice": CHOICES}}, CONSTRAINTS[2]),
        ({"json_schema": SCHEMA}, CONSTRAINTS[0]),
        ({"regex": PATTERN}, CONSTRAINTS[1]),
    ],
)
def test_other_servers_words_mean_the_same(client: OpenAI, asked: Json, constraint: Json) -> None:
    common: Any = {"model": "llada", "max_tokens": 64, "seed": 2, "extra_body": asked}
    said = client.chat.completions.create(messages=CHAT, **common).choices[0]
    check(said.message.content or "", constraint)
    assert said.finish_reason == "stop"
    pieces = list(client.chat.completions.create(messages=CHAT, stream=True, **common))
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == said.message.content
    check(client.completions.create(prompt="Once", **common).choices[0].text, constraint)


@pytest.mark.parametrize(("choice", "reason"), [(NAMED, "stop"), ("required", "tool_calls")])
def test_a_forced_function_is_called_with_valid_arguments(client: OpenAI, choice: Any, reason: str) -> None:
    common: Any = {"model": "llada", "messages": CHAT, "max_tokens": 64, "seed": 1, "tools": [TOOL]}
    said = client.chat.completions.create(tool_choice=choice, **common).choices[0]
    (call,) = list(said.message.tool_calls or [])
    assert (call.function.name, said.message.content, said.finish_reason) == ("note", None, reason)
    check(call.function.arguments, CONSTRAINTS[0])
    chunks = list(client.chat.completions.create(tool_choice=choice, stream=True, **common))
    (first, *others) = [each for chunk in chunks for each in chunk.choices[0].delta.tool_calls or ()]
    assert (first.id is not None, first.function.name, first.function.arguments) == (True, "note", "")
    assert "".join(each.function.arguments for each in others) == call.function.arguments
    assert {(each.id, each.function.name) for each in others} == {(None, None)}
    assert chunks[-1].choices[0].finish_reason == reason
    answered: Any = {"role": "tool", "tool_call_id": call.id, "content": "done"}
    turns: Any = [*CHAT, said.message.model_dump(), answered]
    assert client.chat.completions.create(model="llada", messages=turns, max_tokens=4).choices


def test_a_function_of_the_models_choice_is_called_with_its_own_arguments(client: OpenAI) -> None:
    other: Any = {"type": "function", "function": {"name": "wait", "description": "Waits."}}
    common: Any = {"model": "llada", "messages": CHAT, "max_tokens": 64, "seed": 1, "n": 4, "stop": ["Observation:"]}
    common |= {"tools": [other, TOOL], "tool_choice": "required"}
    said = client.chat.completions.create(**common)
    calls = [call for choice in said.choices for call in choice.message.tool_calls or ()]
    assert len(calls) == 4
    for call in calls:
        check(call.function.arguments, CONSTRAINTS[0] if call.function.name == "note" else {"choices": ["{}"]})
    assert {choice.finish_reason for choice in said.choices} == {"tool_calls"}
    streamed: dict[int, list[Any]] = {index: [] for index in range(4)}
    for chunk in client.chat.completions.create(stream=True, **common):
        for choice in chunk.choices:
            streamed[choice.index] += choice.delta.tool_calls or ()
    for call, (first, *others) in zip(calls, streamed.values(), strict=True):
        assert (first.id is not None, first.function.name) == (True, call.function.name)
        assert "".join(each.function.arguments for each in (first, *others)) == call.function.arguments
        assert {(each.id, each.function.name) for each in others} <= {(None, None)}


def test_llama_cpps_clients_get_json(server: Server) -> None:
    body = {"input_prefix": "x = ", "json_schema": SCHEMA, "n_predict": 64, "seed": 4, "model": "dreamon"}
    answer = server.session.post(f"{server.url}/infill", json=body, timeout=ANSWER_TIMEOUT_S).json()
    check(answer["content"], CONSTRAINTS[0])
    for wrong, param in (({"n_predict": 2}, "n_predict"), ({"json_schema": {"not": {}}}, "json_schema")):
        refused = server.session.post(f"{server.url}/infill", json={**body, **wrong}, timeout=ANSWER_TIMEOUT_S)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize(
    "constraint",
    [
        {"json_schema": {"type": "array", "uniqueItems": True}},
        {"json_schema": {"not": {"type": "string"}}},
        {"json_schema": False},
        {"json_schema": {"type": "string", "minLength": 5, "maxLength": 2}},
        {"json_schema": {"enum": []}},
        {"json_schema": {"$ref": "#/$defs/nowhere"}},
        {"regex": "a(?=a)a"},
        {"json_schema": {"type": "string", "pattern": "(?!a)b"}},
        {"regex": r"(a)\1"},
        {"regex": "(a"},
        {"regex": "[^\\s\\S]"},
        {"regex": "(((a{1,100}){1,100}){1,100}){1,100}"},
        {"choices": [""]},
        {"choices": []},
        {"regex": "a", "choices": ["a"]},
        {},
    ],
)
def test_a_constraint_that_cannot_be_is_refused_by_name(server: Server, constraint: Json) -> None:
    response = server.post("/generate", {"text": "x", "model_id": "llada", "constraint": constraint})
    assert response.status_code == 422, response.text
    (error,) = response.json()["errors"]
    assert error["field"].startswith("constraint")
    assert response.json()["code"] == "invalid_parameters"


def test_a_length_that_is_too_short_is_refused_before_anything_is_written(server: Server, client: OpenAI) -> None:
    body = {"text": "x", "model_id": "llada", "max_length": 2, "constraint": {"json_schema": SCHEMA}}
    response = server.post("/generate", body)
    assert response.status_code == 422, response.text
    assert response.json()["errors"][0]["field"] == "max_length"
    with pytest.raises(openai.BadRequestError) as refusal:
        client.chat.completions.create(
            model="llada", messages=CHAT, max_tokens=2, tools=[TOOL], tool_choice=NAMED, stream=True
        )
    assert refusal.value.param == "max_tokens"


def test_refusals_of_a_schema_are_in_the_clients_words(client: OpenAI) -> None:
    tool: Any = {"type": "function", "function": {"name": "note", "parameters": {"not": {}}}}
    with pytest.raises(openai.BadRequestError, match="not") as refusal:
        client.chat.completions.create(model="llada", messages=CHAT, tools=[tool], tool_choice="required")
    assert refusal.value.param == "tools[0].function.parameters"
    assert "tools[0].function.parameters: The schema's not at #" in refusal.value.message
    form: Any = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"not": {}}}}
    with pytest.raises(openai.BadRequestError, match="not") as refusal:
        client.chat.completions.create(model="llada", messages=CHAT, response_format=form)
    assert refusal.value.param == "response_format.json_schema.schema"


def test_a_model_that_does_not_obey_refuses_and_others_are_named(server: Server) -> None:
    response = server.post("/generate", {"text": "x", "model_id": "words", "constraint": {"regex": "a"}})
    assert (response.status_code, response.json()["code"]) == (422, "unsupported_operation")
    assert "llada" in response.json()["detail"].partition("ask another model: ")[2]


def test_ten_thousand_choices_are_choices(server: Server) -> None:
    choices = [f"number {index}" for index in range(10_000)]
    body = {"text": "x", "model_id": "llada", "max_length": 32, "constraint": {"choices": choices}}
    assert server.answer("/generate", body)["generated_text"] in choices
