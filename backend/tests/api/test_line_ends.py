"""Files of other systems get the same answers on every face, with their own line ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.api.serving import ANSWER_TIMEOUT_S, Json, Server

PREFIX = "class A:\n    def __init__(self, name):\n        "
SUFFIX = "\n        self.other = None\n\n    def items(self):\n"
SAMPLED = {"temperature": 0.8, "seed": 1}

Ask = Callable[[Server, str, str], tuple[str, Any]]


def posted(server: Server, path: str, body: Json) -> Json:
    response = server.session.post(server.url + path, json=body, timeout=ANSWER_TIMEOUT_S)
    assert response.status_code == 200, response.text
    answer: Json = response.json()
    return answer


def native_generate(server: Server, prefix: str, suffix: str) -> tuple[str, Any]:
    body = {"text": prefix, "model_id": "llada", "max_length": 32, **SAMPLED}
    answer = server.answer("/generate", body)
    pieces = [event["data"] for event in server.events("/generate/stream", body) if event["type"] == "token"]
    assert "".join(pieces) == answer["generated_text"]
    return answer["generated_text"], answer["metadata"]["prompt_tokens"]


def native_infill(server: Server, prefix: str, suffix: str) -> tuple[str, Any]:
    body = {"prefix": prefix, "suffix": suffix, "model_id": "dreamon", "max_length": 32, **SAMPLED}
    answer = server.answer("/infill", body)
    pieces = [event["data"] for event in server.events("/infill/stream", body) if event["type"] == "token"]
    assert "".join(pieces) == answer["infilled_text"]
    return answer["infilled_text"], answer["metadata"]["prompt_tokens"]


def llama_cpp(server: Server, prefix: str, suffix: str) -> tuple[str, Any]:
    body = {"input_prefix": prefix, "input_suffix": suffix, "n_predict": 32, **SAMPLED}
    answer = posted(server, "/infill", body)
    return answer["content"], answer["tokens_evaluated"]


def completions(server: Server, prefix: str, suffix: str) -> tuple[str, Any]:
    body = {"model": "dreamon", "prompt": prefix, "suffix": suffix, "max_tokens": 32, "logprobs": 1, **SAMPLED}
    answer = posted(server, "/v1/completions", body)
    [choice] = answer["choices"]
    noted = choice["logprobs"]
    for token, offset in zip(noted["tokens"], noted["text_offset"], strict=True):
        assert choice["text"].startswith(token, offset) or not token.isspace()
    return choice["text"], answer["usage"]


def fim(server: Server, prefix: str, suffix: str) -> tuple[str, Any]:
    body = {"model": "dreamon", "prompt": prefix, "suffix": suffix, "max_tokens": 32, **SAMPLED}
    answer = posted(server, "/v1/fim/completions", body)
    return answer["choices"][0]["text"], answer["usage"]


def chat(server: Server, prefix: str, suffix: str) -> tuple[str, Any]:
    messages = [{"role": "user", "content": prefix + suffix}]
    body = {"model": "llada", "messages": messages, "max_tokens": 32, **SAMPLED, "seed": 9}
    answer = posted(server, "/v1/chat/completions", body)
    return answer["choices"][0]["message"]["content"], answer["usage"]


@pytest.mark.parametrize("ask", [native_generate, native_infill, llama_cpp, completions, fim, chat])
@pytest.mark.parametrize("line_end", ["\r\n", "\r"])
def test_other_line_ends_give_the_same_answer_with_these(server: Server, ask: Ask, line_end: str) -> None:
    plain, told = ask(server, PREFIX, SUFFIX)
    other, told_other = ask(server, PREFIX.replace("\n", line_end), SUFFIX.replace("\n", line_end))
    assert "\n" in plain
    assert (other, told_other) == (plain.replace("\n", line_end), told)


def test_snippets_from_elsewhere_do_not_decide(server: Server) -> None:
    answers = {}
    for line_end in ("\n", "\r\n"):
        body = {
            "input_extra": [{"text": "import os\n" * 20}],
            "input_prefix": PREFIX.replace("\n", line_end),
            "input_suffix": SUFFIX.replace("\n", line_end),
            "n_predict": 32,
            **SAMPLED,
        }
        answers[line_end] = posted(server, "/infill", body)["content"]
    assert answers["\r\n"] == answers["\n"].replace("\n", "\r\n")
