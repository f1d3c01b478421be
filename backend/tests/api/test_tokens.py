"""Tokens of texts and texts of tokens, in the shapes of vLLM and of llama.cpp's server."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from app.text import Tokenizer
from tests.api.serving import ANSWER_TIMEOUT_S, CHECKPOINTS, Json, Server

TOKENIZERS = {name: Tokenizer.load(CHECKPOINTS / f"{name}-tiny") for name in ("llada", "dreamon")}
LLADA, DREAMON = TOKENIZERS["llada"], TOKENIZERS["dreamon"]
TEXT = "def f():\r\n\treturn 'ä' <|endoftext|> "
TURNS = [{"role": "user", "content": "How old is Anne?"}]


def post(server: Server, path: str, **body: Any) -> requests.Response:
    return server.session.post(server.url + path, json=body, timeout=ANSWER_TIMEOUT_S)


def answer(server: Server, path: str, **body: Any) -> Json:
    response = post(server, path, **body)
    assert response.status_code == 200, response.text
    told: Json = response.json()
    return told


def context_length(server: Server, model: str) -> Any:
    return server.session.get(f"{server.url}/v1/models/{model}").json()["context_length"]


@pytest.mark.parametrize("model", ["llada", "dreamon"])
def test_a_text_comes_back_from_its_tokens(server: Server, model: str) -> None:
    tokenizer = TOKENIZERS[model]
    for parses in (True, False):
        of_llama_cpp = answer(server, "/tokenize", model=model, content=TEXT, parse_special=parses)
        assert of_llama_cpp["tokens"] == tokenizer.encode(TEXT, parse_special=parses)
        of_vllm = answer(server, "/tokenize", model=model, prompt=TEXT, add_special_tokens=False, parse_special=parses)
        room = context_length(server, model)
        assert of_vllm == of_llama_cpp == {**of_vllm, "count": len(of_vllm["tokens"]), "max_model_len": room}
        text = answer(server, "/detokenize", model=model, tokens=of_vllm["tokens"])
        assert text == {"prompt": TEXT, "content": TEXT}


@pytest.mark.parametrize("model", ["llada", "dreamon"])
def test_tokens_of_a_prompt_are_those_that_the_model_sees(server: Server, model: str) -> None:
    tokens = answer(server, "/tokenize", model=model, prompt="It was")["tokens"]
    asked = {"model": model, "max_tokens": 4, "seed": 3}
    of_text, of_ids = (answer(server, "/v1/completions", prompt=prompt, **asked) for prompt in ("It was", tokens))
    assert of_ids["choices"] == of_text["choices"]
    assert of_ids["usage"] == of_text["usage"]
    turns = answer(server, "/tokenize", model=model, messages=TURNS)
    said = answer(server, "/v1/chat/completions", messages=TURNS, **asked)
    assert turns["count"] == len(turns["tokens"]) == said["usage"]["prompt_tokens"]


def test_a_text_begins_as_the_words_of_the_request_say(server: Server) -> None:
    bos, plain = DREAMON.require("bos"), DREAMON.encode("x")
    for body, tokens in (
        ({"prompt": "x"}, [bos, *plain]),
        ({"content": "x"}, plain),
        ({"content": "x", "add_special": True}, [bos, *plain]),
        ({"prompt": ""}, [bos]),
        ({"content": ""}, []),
    ):
        assert answer(server, "/tokenize", model="dreamon", **body)["tokens"] == tokens


def test_each_token_may_be_told_with_what_it_stands_for(server: Server) -> None:
    ids = LLADA.encode("a \N{GRINNING FACE}<|endoftext|>", parse_special=True)
    told = answer(
        server, "/tokenize", model="llada", content=LLADA.decode(ids, skip_special=False), with_pieces=True,
        return_token_strs=True,
    )  # fmt: skip
    assert [each["id"] for each in told["tokens"]] == ids
    pieces = [each["piece"] for each in told["tokens"]]
    octets = b"".join(piece.encode() if isinstance(piece, str) else bytes(piece) for piece in pieces)
    assert octets == "a \N{GRINNING FACE}<|endoftext|>".encode()
    assert any(isinstance(piece, list) for piece in pieces), "a token that is a part of a character"
    assert told["token_strs"] == [LLADA.token(token_id) for token_id in ids]


def test_a_tokenizer_is_described_as_the_harness_reads_it(server: Server) -> None:
    for model, tokenizer in TOKENIZERS.items():
        told = server.session.get(f"{server.url}/tokenizer_info", params={"model": model}).json()
        roles = {name: tokenizer.role_tokens.get(name) for name in ("bos_token", "eos_token", "pad_token")}
        room = context_length(server, model)
        assert told == {**told, **roles, "chat_template": tokenizer.chat_template, "model_max_length": room}
        assert told["vocab_size"] == tokenizer.vocab_size
        # The harness has no other way to learn the id.
        eos = answer(server, "/tokenize", model=model, prompt=told["eos_token"], add_special_tokens=False)
        assert eos["tokens"] == [tokenizer.require("eos")]
    default = server.session.get(f"{server.url}/tokenizer_info").json()
    assert default["eos_token"] == DREAMON.role_tokens["eos_token"]


@pytest.mark.parametrize(
    ("path", "body", "status", "param", "message"),
    [
        ("/tokenize", {}, 400, None, "give one of prompt, content and messages, and not none"),
        ("/tokenize", {"prompt": "a", "content": "a"}, 400, None, "and not prompt and content"),
        (
            "/tokenize", {"prompt": "a", "add_special": True, "add_special_tokens": False}, 400, "add_special",
            "add_special and add_special_tokens say the same in two ways; leave add_special_tokens out",
        ),
        ("/tokenize", {"prompt": 1}, 400, "prompt", "prompt=1 must be a string"),
        ("/tokenize", {"prompt": "a", "foo": 1}, 400, "foo", "unknown field 'foo'"),
        ("/tokenize", {"prompt": "a", "chat_template": "x"}, 400, "chat_template", "is not supported; leave it out"),
        ("/tokenize", {"prompt": "a" * 200_001}, 400, "prompt", "prompt has 200001 characters"),
        ("/tokenize", {"prompt": "a", "model": "gpt"}, 404, None, "there is no model 'gpt'; known models: "),
        ("/tokenize", {"prompt": "a", "model": "words"}, 400, "model", "model 'words' shows no tokens"),
        ("/detokenize", {}, 400, "tokens", "tokens is missing"),
        ("/detokenize", {"tokens": ["a"]}, 400, "tokens[0]", "tokens[0]='a' must be an integer"),
        ("/detokenize", {"tokens": [1, -1]}, 400, "tokens", "tokens has -1 at index 1, which is no token"),
        (
            "/detokenize", {"tokens": [DREAMON.vocab_size]}, 400, "tokens",
            f"which is no token of this model; its {DREAMON.vocab_size} ids are 0 to {DREAMON.vocab_size - 1}",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_by_name(
    server: Server, path: str, body: Json, status: int, param: str | None, message: str
) -> None:
    refused = post(server, path, **body)
    error = refused.json()["error"]
    assert (refused.status_code, error["param"]) == (status, param)
    assert message in error["message"]


def test_tokens_count_against_no_limit(server: Server) -> None:
    with server.configured(rate_limit="1/hour"):
        for _ in range(3):
            answer(server, "/tokenize", content="a")
