"""Errors as OpenAI's package raises them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.api.serving import Server, serving

ASKED: dict[str, Any] = {"model": "words", "prompt": "a", "max_tokens": 2}


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.url}/v1", api_key="none is needed", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, plugin: Path) -> Iterator[Server]:
    """A server that not everybody may use, and nobody for long texts."""
    settings = {"API_KEYS": "right", "MAX_BODY_BYTES": "1024", "DEFAULT_MODEL": "words", "PRELOAD": "default"}
    with serving(tmp_path_factory.mktemp("guarded"), plugin, **settings) as running:
        yield running


@pytest.mark.parametrize(
    ("asked", "param", "message"),
    [
        ({"temperature": 2.5}, "temperature", "temperature=2.5 is above the maximum of 2"),
        ({"max_tokens": 0}, "max_tokens", "max_tokens=0 is below the minimum of 1"),
        ({"prompt": ""}, "prompt", "prompt is empty; at least 1 character is needed"),
        ({"prompt": ["a", ""]}, "prompt[1]", "prompt[1] is empty; at least 1 character is needed"),
        ({"seed": 2**63}, "seed", f"seed={2**63} is above the maximum of {2**63 - 1}"),
        ({"extra_body": {"stream_options": {"foo": 1}}}, "stream_options.foo", "unknown field 'stream_options.foo'"),
        ({"extra_body": {"stop": ["a", 5]}}, "stop[1]", "stop[1]=5 must be a string"),
        ({"prompt": "a" * 10_001}, "prompt", "prompt has 10001 characters, more than the maximum of 10000"),
        ({"frequency_penalty": -3}, "frequency_penalty", "frequency_penalty=-3 is below the minimum of -2"),
        ({"logit_bias": {"5": 101}}, "logit_bias.5", "logit_bias.5=101 is above the maximum of 100"),
        ({"logit_bias": {"x": 1}}, "logit_bias.x", "logit_bias.x='x' must be an integer"),
        ({"logit_bias": {"5": 1}}, "logit_bias", "logit_bias names token ids, which model 'words' does not take"),
        ({"model": "llada", "logit_bias": {"1000000": -1}}, "logit_bias", "logit_bias has 1000000, which is no token"),
        ({"logit_bias": [[5, False]]}, "logit_bias", "logit_bias names token ids, which model 'words' does not take"),
        ({"logit_bias": [["a", 1]]}, "model", "model 'words' shows no tokens"),
        ({"extra_body": {"typical_p": 0.5}}, "typical_p", "unknown field 'typical_p'"),
        ({"extra_body": {"max_length": 5}}, "max_length", "unknown field 'max_length'"),
        ({"extra_body": {"text": "a"}}, "text", "unknown field 'text'"),
        ({"logprobs": 1}, "logprobs", "model 'words' gives no logprobs"),
        ({"extra_body": {"temprature": 1}}, "temprature", "unknown field 'temprature'"),
        ({"model": "llada", "extra_body": {"initial_masks": 1}}, "initial_masks", "initial_masks"),
        ({"model": "silent", "suffix": "b"}, "suffix", "model 'silent' cannot infill: it sees no text"),
    ],
)
def test_an_impossible_value_is_a_bad_request(client: OpenAI, asked: dict[str, Any], param: str, message: str) -> None:
    with pytest.raises(openai.BadRequestError) as refusal:
        client.completions.create(**{**ASKED, **asked})
    body: Any = refusal.value.body
    assert (refusal.value.param, refusal.value.type) == (param, "invalid_request_error")
    assert body["message"].startswith(message)


@pytest.mark.parametrize(
    ("turn", "param", "message"),
    [
        ({"role": "user"}, "messages[0].content", "messages[0].content is missing"),
        ("hi", "messages[0]", "messages[0]='hi' must be an object"),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]},
            "messages[0].content[0].type",
            "messages[0].content[0].type='image_url' must be 'text'",
        ),
    ],
)
def test_a_wrong_turn_is_named(client: OpenAI, turn: Any, param: str, message: str) -> None:
    with pytest.raises(openai.BadRequestError) as refusal:
        client.chat.completions.create(model="words", messages=[turn])
    body: Any = refusal.value.body
    assert (refusal.value.param, body["message"]) == (param, message)


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tool_choice"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": "a" * 100_000}]}, "messages"),
        ({"messages": [{"role": "user", "content": "a"}] * 1_001}, "messages"),
    ],
)
def test_chat_refuses_by_name_too(client: OpenAI, asked: dict[str, Any], name: str) -> None:
    with pytest.raises(openai.BadRequestError) as refusal:
        client.chat.completions.create(**{"model": "words", "messages": [{"role": "user", "content": "a"}], **asked})
    assert refusal.value.param == name


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("words", {"enable_thinking": True}, "model 'words' has no chat template that could read 'enable_thinking'"),
        ("dreamon", {"style": "brief"}, "this model has no chat template that could read 'style'; leave it out"),
        ("llada", {"enable_thinking": True}, "the chat template of this model does not read 'enable_thinking'"),
        ("llada", {"messages": []}, "must be true or false or an integer"),
        ("llada", {"tools": "x"}, "'tools' is set by the server, and is no option of a chat template; leave it out"),
        ("llada", {"bos_token": False}, "'bos_token' is set by the server"),
        ("llada", {"raise_exception": 0}, "'raise_exception' is set by the server"),
        ("llada", {"a b": 1}, "has 'a b', which is no name of an option: a letter, then at most 63 letters"),
    ],
)
def test_an_option_that_no_template_reads_is_refused_by_name(
    client: OpenAI, model: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(openai.BadRequestError, match=re.escape(message)) as refusal:
        client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "a"}], extra_body={"chat_template_kwargs": options}
        )
    assert (refusal.value.param or "").startswith("chat_template_kwargs")


@pytest.mark.parametrize("options", [{}, {"enable_thinking": False}, {"style": "", "level": 0, "other": None}])
@pytest.mark.parametrize("model", ["words", "llada"])
def test_an_option_that_asks_for_nothing_passes(client: OpenAI, model: str, options: dict[str, Any]) -> None:
    client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": "a"}],
        max_tokens=1,
        extra_body={"chat_template_kwargs": options, "enable_thinking": False},
    )


def test_an_unknown_model_lists_the_known_ones(client: OpenAI) -> None:
    for ask in (lambda: client.completions.create(**{**ASKED, "model": "gpt-4o"}), lambda: client.models.retrieve("x")):
        with pytest.raises(openai.NotFoundError, match="dreamon, llada") as refusal:
            ask()
        assert refusal.value.code == "model_not_found"


def test_too_many_calls(client: OpenAI, server: Server) -> None:
    with server.configured(rate_limit="1/hour"):
        client.completions.create(**ASKED)
        with pytest.raises(openai.RateLimitError) as refusal:
            client.completions.create(**ASKED)
    assert refusal.value.code == "rate_limit_exceeded"
    assert int(refusal.value.response.headers["retry-after"]) > 0


def test_unavailability_is_an_error_with_its_code(client: OpenAI, server: Server) -> None:
    with server.configured(enabled=False), pytest.raises(openai.InternalServerError) as refusal:
        client.completions.create(**ASKED)
    assert (refusal.value.status_code, refusal.value.code) == (503, "disabled")
    with server.configured(timeout_seconds=0.2), pytest.raises(openai.InternalServerError) as refusal:
        client.completions.create(**{**ASKED, "model": "silent"})
    assert (refusal.value.status_code, refusal.value.code) == (504, "timeout")
    with pytest.raises(openai.InternalServerError) as refusal:
        client.completions.create(**{**ASKED, "model": "breaks-at-once"})
    assert (refusal.value.status_code, refusal.value.code) == (500, "generation_failed")
    assert "cause that no client may read" not in refusal.value.response.text


def test_a_request_that_ran_out_of_time_is_not_sent_again(client: OpenAI, server: Server) -> None:
    """As the client does by default with whatever fails with 5xx."""
    eager = client.with_options(max_retries=openai.DEFAULT_MAX_RETRIES)
    before = server.wait_until_idle()
    with server.configured(timeout_seconds=0.2), pytest.raises(openai.InternalServerError) as refusal:
        eager.completions.create(**{**ASKED, "model": "silent"})
    assert (refusal.value.status_code, refusal.value.code) == (504, "timeout")
    assert server.wait_until_idle()["total_requests"] == before["total_requests"] + 1


def test_more_choices_than_can_ever_wait(client: OpenAI, server: Server) -> None:
    with server.configured(max_concurrent_requests=1, max_queued_requests=1):
        with pytest.raises(openai.BadRequestError, match="ask for at most 2") as refusal:
            client.completions.create(**{**ASKED, "model": "endless", "n": 3})
        assert refusal.value.param == "n"
        assert len(client.completions.create(**{**ASKED, "n": 2}).choices) == 2


def test_more_choices_than_may_wait_now(client: OpenAI, server: Server) -> None:
    with server.configured(max_concurrent_requests=1, max_queued_requests=2):
        with client.completions.create(**{**ASKED, "model": "endless", "stream": True}) as stream:
            assert next(iter(stream)).choices
            with pytest.raises(openai.InternalServerError) as refusal:
                client.completions.create(**{**ASKED, "model": "endless", "n": 3})
            assert refusal.value.code == "queue_full"
        server.wait_until_idle()


def test_a_wrong_key(guarded: Server) -> None:
    with OpenAI(base_url=f"{guarded.url}/v1", api_key="wrong", max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError) as refusal:
            client.models.list()
        assert refusal.value.code == "invalid_api_key"
    with OpenAI(base_url=f"{guarded.url}/v1", api_key="right", max_retries=0) as client:
        assert client.completions.create(**ASKED).choices[0].text


def test_too_much_text(guarded: Server) -> None:
    client = OpenAI(base_url=f"{guarded.url}/v1", api_key="right", max_retries=0)
    with client, pytest.raises(openai.APIStatusError) as refusal:
        client.completions.create(**{**ASKED, "prompt": "a" * 2_000})
    assert (refusal.value.status_code, refusal.value.code) == (413, "body_too_large")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/no-such", 404, "not_found"),
        ("POST", "/v1", 404, "not_found"),
        ("GET", "/v1/completions", 405, "method_not_allowed"),
        ("POST", "/v1/completions", 400, "malformed_body"),
        ("POST", "/infill", 400, "malformed_body"),
    ],
)
def test_calls_that_no_client_makes_get_an_error(
    server: Server, method: str, path: str, status: int, code: str
) -> None:
    response = server.session.request(method, server.url + path, headers={"Content-Type": "application/json"})
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (status, code)
    assert status != 404 or error["message"].startswith(f"there is no {path} here; ")
