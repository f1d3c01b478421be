"""Block-causal models over HTTP: constraints and likelihoods, from small checkpoints in their published files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from openai import OpenAI

from app.text import Tokenizer
from tests.api.serving import CHECKPOINTS, Json, Server
from tests.api.test_constraints import CHAT, CONSTRAINTS, SCHEMA, check, text_of

FOLDERS = {"sdar": "sdar-tiny", "diffcoder": "stable-diffcoder-tiny", "fast": "fast-dllm-v2-tiny"}

every_model = pytest.mark.parametrize("model", FOLDERS)


@pytest.fixture(scope="module")
def block_causal(server: Server) -> Iterator[Server]:
    """The server with a model of each family."""
    extra = ",".join(f"{name}={CHECKPOINTS / 'block' / folder}" for name, folder in FOLDERS.items())
    assert server.post("/config", {"extra_models": extra}).status_code == 200
    yield server
    assert server.post("/config", {"extra_models": ""}).status_code == 200


@every_model
@pytest.mark.parametrize("constraint", CONSTRAINTS)
def test_each_answer_is_valid_and_the_same_in_a_stream(block_causal: Server, model: str, constraint: Json) -> None:
    body = {"text": "Once", "model_id": model, "max_length": 64, "seed": 3, "constraint": constraint}
    answer = block_causal.answer("/generate", body)
    check(answer["generated_text"], constraint)
    assert (answer["model_id"], answer["metadata"]["finish_reason"]) == (model, "stop")
    events = block_causal.events("/generate/stream", {**body, "stream_mode": "canvas"})
    assert text_of(events) == answer["generated_text"]
    for step in (event["data"] for event in events if event["type"] == "step"):
        assert {*step["forced"]} <= {commit["index"] for commit in step["committed"]}


@every_model
def test_biases_and_filters_have_their_meaning(block_causal: Server, model: str) -> None:
    tokenizer = Tokenizer.load(CHECKPOINTS / "block" / FOLDERS[model])
    token_id = tokenizer.encode("a")[0]
    body = {"text": "Once", "model_id": model, "max_length": 12, "seed": 3, "logit_bias": {str(token_id): 100}}
    for sampling in ({"temperature": 0}, {"temperature": 1, "min_p": 0.5}, {"frequency_penalty": 2}):
        answer = block_causal.answer("/generate", {**body, **sampling})
        assert answer["generated_text"] == tokenizer.decode([token_id]) * 12


@every_model
def test_openais_clients_get_what_they_ask_for(block_causal: Server, model: str) -> None:
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}
    with OpenAI(base_url=f"{block_causal.url}/v1", api_key="none is needed", max_retries=0) as client:
        common: Any = {"model": model, "messages": CHAT, "max_tokens": 64, "seed": 1}
        said = client.chat.completions.create(**common, response_format=wanted).choices[0]
    check(said.message.content or "", CONSTRAINTS[0])


@every_model
def test_a_constraint_between_two_texts_is_refused_as_any_gap_is(block_causal: Server, model: str) -> None:
    body = {"prefix": "x", "suffix": "y", "model_id": model, "constraint": CONSTRAINTS[1]}
    refused = block_causal.post("/infill", body)
    assert (refused.status_code, refused.json()["code"]) == (422, "unsupported_operation")


@pytest.mark.parametrize("model", ["sdar", "diffcoder"])
def test_each_text_has_one_likelihood_whatever_stands_beside_it(block_causal: Server, model: str) -> None:
    body: Json = {"model_id": model, "prefix": "Once", "texts": [" upon", " a time, there was"], "num_samples": 4}
    answer = block_causal.answer("/likelihood", body)
    assert answer["model_id"] == model
    for text, found in zip(body["texts"], answer["likelihoods"], strict=True):
        assert found["log_likelihood"] < 0
        assert block_causal.answer("/likelihood", {**body, "texts": [text]})["likelihoods"] == [found]


def test_a_model_without_such_a_bound_says_so(block_causal: Server) -> None:
    refused = block_causal.post("/likelihood", {"model_id": "fast", "texts": ["a"]})
    assert refused.status_code == 422
    (error,) = refused.json()["errors"]
    assert (error["field"], "the first token of each block" in error["message"]) == ("model_id", True)
