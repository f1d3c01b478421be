"""Biases, penalties, bans of repetitions and min_p, as clients ask for them of each model."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from app.text import Tokenizer
from tests.api.serving import CHECKPOINTS, Json, Server

LLADA, DREAMON = (Tokenizer.load(CHECKPOINTS / name) for name in ("llada-tiny", "dreamon-tiny"))
GREEDY: Json = {"text": "It was", "model_id": "llada", "max_length": 24, "temperature": 0, "repetition_penalty": 1}
A, B = (LLADA.encode(text)[0] for text in ("a", "b"))


def ids_within(text: str) -> list[int]:
    """The tokens with which a text may begin."""
    return [token_id for token_id in range(LLADA.vocab_size) if (t := LLADA.decode([token_id])) and text.startswith(t)]


@pytest.mark.parametrize("model", ["llada", "dreamon"])
@pytest.mark.parametrize(
    ("path", "field", "given"),
    [
        ("/generate", "generated_text", {"text": "import os"}),
        ("/infill", "infilled_text", {"prefix": "def f(a):\n    ", "suffix": "\n"}),
    ],
)
def test_a_seed_fixes_the_text_alone_streamed_and_in_a_batch(
    server: Server, model: str, path: str, field: str, given: Json
) -> None:
    common = {**given, "model_id": model, "max_length": 16, "temperature": 0.8, "seed": 3}
    changes: list[Json] = [
        {},
        {"min_p": 0.2},
        {"frequency_penalty": -2, "presence_penalty": -2},
        {"logit_bias": {str(A): 20, str(B): -100}},
        {"logit_bias": {str(A): 20, str(B): -100}, "no_repeat_ngram_size": 1},
    ]
    asked = [{**common, **change} for change in changes]
    alone = [server.answer(path, each)[field] for each in asked]
    assert len(set(alone)) == len(alone), "each of them makes another text"
    with ThreadPoolExecutor(8) as clients:
        assert list(clients.map(lambda each: server.answer(path, each)[field], asked * 2)) == alone * 2
    for each, text in zip(asked, alone, strict=True):
        events = server.events(f"{path}/stream", each)
        assert "".join(event["data"] for event in events if event["type"] == "token") == text


def test_a_bias_of_a_hundred_is_the_only_token_and_log_probabilities_are_the_models_own(server: Server) -> None:
    answer = server.answer("/generate", {**GREEDY, "logit_bias": {str(A): 100}, "logprobs": 0})
    assert answer["generated_text"] == LLADA.decode([A]) * 24
    assert all(token["logprob"] < -0.01 for token in answer["metadata"]["logprobs"])
    drawn = server.answer("/generate", {**GREEDY, "logit_bias": {str(A): 100}, "temperature": 2, "top_p": 1})
    assert drawn["generated_text"] == answer["generated_text"]


def test_penalties_spread_what_is_written_over_all_positions(server: Server) -> None:
    only = {"logit_bias": {str(A): 100, str(B): 100}}
    for penalty in ({"frequency_penalty": 2}, {"frequency_penalty": 2, "presence_penalty": 2}):
        text = server.answer("/generate", {**GREEDY, **only, **penalty})["generated_text"]
        assert text.count("a") + text.count("b") == 24
        assert min(text.count("a"), text.count("b")) >= 8
    rewarded = server.answer("/generate", {**GREEDY, **only, "frequency_penalty": -2})["generated_text"]
    assert max(rewarded.count("a"), rewarded.count("b")) >= 20


@pytest.mark.parametrize("size", [1, 2, 3])
def test_no_run_of_tokens_is_written_once_more(server: Server, size: int) -> None:
    biased: Json = {**GREEDY, "logit_bias": {str(A): 100, str(B): 80}}
    assert set(server.answer("/generate", biased)["generated_text"]) == {"a"}
    answer = server.answer("/generate", {**biased, "no_repeat_ngram_size": size, "logprobs": 0})
    tokens = [bytes(token["bytes"]) for token in answer["metadata"]["logprobs"]]
    runs = [tuple(tokens[start : start + size]) for start in range(len(tokens) - size + 1)]
    assert len(runs) == len(set(runs)) == 25 - size
    assert {b"a", b"b"} <= set(tokens)


def test_a_constraint_may_repeat_what_it_has_to(server: Server) -> None:
    body = {**GREEDY, "no_repeat_ngram_size": 1, "constraint": {"regex": "(ab){8}"}}
    assert server.answer("/generate", body)["generated_text"] == "ab" * 8


def test_under_a_constraint_biases_decide_among_what_is_allowed(server: Server) -> None:
    body = {**GREEDY, "max_length": 16, "constraint": {"choices": ["always", "never"]}}
    for banned, wanted in (
        (["always"], {"never"}),
        (["never"], {"always"}),
        (["always", "never"], {"always", "never"}),
    ):
        bias = {str(token_id): -100 for text in banned for token_id in ids_within(text)}
        answer = server.answer("/generate", {**body, "logit_bias": bias})
        assert answer["generated_text"] in wanted
        assert answer["metadata"]["finish_reason"] == "stop"


def test_dreamons_length_follows_the_biases_of_its_changes(server: Server) -> None:
    delete, expand = DREAMON.require("eos"), DREAMON.special_tokens["<|expand|>"]
    body: Json = {"prefix": "x = ", "suffix": "\n", "model_id": "dreamon", "max_length": 12, "initial_masks": 5}
    for bias, length in (
        ({delete: -100, expand: -100}, 5),
        ({delete: -100, expand: 100}, 12),
        ({delete: 100}, 0),
    ):
        named = {str(token_id): value for token_id, value in bias.items()}
        answer = server.answer("/infill", {**body, "seed": 1, "logit_bias": named})
        assert answer["tokens_generated"] == length


@pytest.mark.parametrize(
    ("bias", "message"),
    [
        ({LLADA.mask_id: 1}, f"logit_bias makes token {LLADA.mask_id} more probable, which is the mask"),
        (
            {LLADA.vocab_size: -1},
            f"logit_bias has {LLADA.vocab_size}, which is no token of this model; its {LLADA.vocab_size} ids are 0",
        ),
        (dict.fromkeys(range(301), 1), "logit_bias has 301 items, more than the maximum of 300"),
    ],
)
def test_a_bias_that_cannot_be_is_refused(server: Server, bias: dict[Any, float], message: str) -> None:
    refused = server.post("/generate", {**GREEDY, "logit_bias": {str(name): value for name, value in bias.items()}})
    assert refused.status_code == 422
    (error,) = refused.json()["errors"]
    assert error["field"] == "logit_bias"
    assert error["message"].startswith(message)


def test_a_bias_against_the_mask_and_for_the_end_is_taken(server: Server) -> None:
    bias = {str(LLADA.mask_id): -100, str(LLADA.require("eos")): 100}
    answer = server.answer("/generate", {**GREEDY, "logit_bias": bias})
    assert (answer["generated_text"], answer["metadata"]["finish_reason"]) == ("", "stop")


def test_every_face_asks_for_the_same(server: Server) -> None:
    penalties: Json = {"min_p": 0.05, "frequency_penalty": -1.5, "presence_penalty": 0.5}
    bias = {str(A): 20, str(B): -100}
    native: Json = {"text": "It was", "model_id": "llada", "max_length": 16, "seed": 3, **penalties}
    plain = server.answer("/generate", native)["generated_text"]
    biased = server.answer("/generate", {**native, "logit_bias": bias})["generated_text"]
    neutral = server.answer("/generate", {**native, **dict.fromkeys(penalties, 0)})["generated_text"]
    assert len({plain, biased, neutral}) == 3, "each has an effect"

    def asked(path: str, body: Json) -> Json:
        answer: Json = server.session.post(f"{server.url}{path}", json={"model": "llada", **body}).json()
        return answer

    openai: Json = {"prompt": "It was", "max_tokens": 16, "seed": 3, **penalties}
    assert asked("/v1/completions", openai)["choices"][0]["text"] == plain
    assert asked("/v1/completions", {**openai, "logit_bias": bias})["choices"][0]["text"] == biased
    pairs = [["a", 20], [B, False]]
    assert asked("/v1/completions", {**openai, "logit_bias": pairs})["choices"][0]["text"] == biased
    refused = server.post("/generate", {**native, "logit_bias": pairs}).json()["errors"]
    assert refused[0]["message"] == "logit_bias=a list of 2 must be an object"
    options: Json = {"num_predict": 16, "seed": 3, **penalties}
    ollama: Json = {"prompt": "It was", "raw": True, "stream": False}
    assert asked("/api/generate", {**ollama, "options": options})["response"] == plain
    assert asked("/api/generate", {**ollama, "options": {**options, "logit_bias": bias}})["response"] == biased
    gap: Json = {"max_length": 16, "seed": 3, **penalties}
    own: Json = {"prefix": "It was", "suffix": "x", "model_id": "llada", **gap}
    filled, shifted = (
        server.answer("/infill", {**own, **more})["infilled_text"] for more in ({}, {"logit_bias": bias})
    )
    assert filled != shifted
    editor: Json = {"input_prefix": "It was", "input_suffix": "x", "n_predict": 16, "seed": 3, **penalties}
    assert asked("/infill", editor)["content"] == filled
    for spelled in (bias, pairs):
        assert asked("/infill", {**editor, "logit_bias": spelled})["content"] == shifted
