"""Counting: a client's mistake never counts as the server's failure, wherever it is found."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.scraping import samples, scrape, value
from tests.api.serving import Json, Server

TEXT: Json = {"text": "x", "model_id": "words"}
GENERATE, STREAM, INFILL = "/api/diffusion/generate", "/api/diffusion/generate/stream", "/api/diffusion/infill"

MISTAKES: dict[str, tuple[str, Any, int, str]] = {
    # noticed by whoever reads the body
    "no JSON": (GENERATE, b"{", 400, "malformed_body"),
    "nothing": (GENERATE, b"", 400, "malformed_body"),
    "no object": (GENERATE, b"[]", 422, "invalid_parameters"),
    "too large": (GENERATE, b" " * 4_300_000, 413, "body_too_large"),
    # by the fields' own bounds
    "a bound": (GENERATE, {**TEXT, "temperature": 9}, 422, "invalid_parameters"),
    "an unknown field": (STREAM, {**TEXT, "x": 1}, 422, "invalid_parameters"),
    "too long a stop": (STREAM, {**TEXT, "stop": "s" * 201}, 422, "invalid_parameters"),
    # by the service
    "an unknown model": (GENERATE, {**TEXT, "model_id": "none"}, 404, "unknown_model"),
    "the same, streamed": (STREAM, {**TEXT, "model_id": "none"}, 404, "unknown_model"),
    # by the model that was chosen
    "what the model cannot": (
        INFILL,
        {"prefix": "x", "suffix": "y", "model_id": "silent"},
        422,
        "unsupported_operation",
    ),
    "its algorithm": (GENERATE, {**TEXT, "algorithm": "none"}, 422, "invalid_parameters"),
    # by the engine of a real model
    "an engine's bound": (GENERATE, {**TEXT, "model_id": "llada", "max_length": 1025}, 422, "invalid_parameters"),
    "an engine's rule": (GENERATE, {**TEXT, "model_id": "llada", "initial_masks": 4}, 422, "invalid_parameters"),
    # on the other faces, by one and by many generations
    "OpenAI's bound": ("/v1/completions", {"prompt": "x", "temperature": 9}, 400, "invalid_parameters"),
    "OpenAI's model": ("/v1/completions", {"prompt": "x", "model": "none", "n": 4}, 404, "unknown_model"),
    "OpenAI's engine": (
        "/v1/completions",
        {"prompt": ["x", "y"], "model": "llada", "initial_masks": 4, "n": 3},
        400,
        "invalid_parameters",
    ),
    "the same in a chat, streamed": (
        "/v1/chat/completions",
        {"messages": [{"role": "user", "content": "x"}], "model": "llada", "initial_masks": 4, "n": 3, "stream": True},
        400,
        "invalid_parameters",
    ),
    "llama.cpp's model": ("/infill", {"input_prefix": "x", "model": "none"}, 404, "unknown_model"),
    "Ollama's model": ("/api/generate", {"prompt": "x", "model": "none"}, 404, "unknown_model"),
    "Ollama's option": ("/api/chat", {"options": {"temperature": "hot"}}, 400, "invalid_parameters"),
    "what Ollama's clients may ask elsewhere": ("/api/pull", {"model": "none"}, 400, "unsupported_operation"),
    "an unknown path": ("/v1/nowhere", {}, 404, "not_found"),
    "a path that is only read": ("/v1/models", {}, 405, "method_not_allowed"),
}


def send(server: Server, path: str, body: Any) -> int:
    as_bytes = {"data": body, "headers": {"Content-Type": "application/json"}}
    given: Any = as_bytes if isinstance(body, bytes) else {"json": body}
    return int(server.session.post(f"{server.url}{path}", timeout=60, **given).status_code)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_counts_as_one_refusal_wherever_it_is_found(server: Server, mistake: str) -> None:
    path, body, status, code = MISTAKES[mistake]
    before = server.wait_until_idle()
    assert send(server, path, body) == status
    after = server.wait_until_idle()
    same = ("total_requests", "successful_requests", "failed_requests", "cancelled_requests", "error_rate", "failures")
    assert {name: after[name] for name in same} == {name: before[name] for name in same}
    assert after["refused_requests"] == before["refused_requests"] + 1
    assert after["refusals"][code] == before["refusals"].get(code, 0) + 1


def test_the_metrics_agree_and_show_no_failure(server: Server) -> None:
    before = scrape(server)
    for path, body, _, _ in MISTAKES.values():
        send(server, path, body)
    statistics, after = server.wait_until_idle(), scrape(server)
    told = {sample.labels["code"]: sample.value for sample in samples(after, "refused_requests_total")}
    assert told == statistics["refusals"]
    assert sum(told.values()) == value(before, "refused_requests_total") + len(MISTAKES)
    for name in ("request_failures_total", "requests_total"):
        assert value(after, name) == value(before, name)


def test_calls_of_an_administrator_are_not_counted_as_requests(server: Server) -> None:
    before = server.wait_until_idle()
    assert server.post("/config", {"temperature": 99}).status_code == 422
    assert server.post("/admin/models/none/reload").status_code == 404
    assert server.session.get(f"{server.url}/v1/models/none", timeout=60).status_code == 404
    assert server.wait_until_idle() == before


def test_server_errors_count_as_failures_by_their_code(server: Server) -> None:
    before = server.wait_until_idle()
    with server.configured(timeout_seconds=0.1):
        assert send(server, GENERATE, {"text": "x", "model_id": "silent"}) == 504
    assert send(server, GENERATE, {"text": "x", "model_id": "breaks-at-once"}) == 500
    after = server.wait_until_idle()
    assert after["failed_requests"] == before["failed_requests"] + 2
    grown = {code: count - before["failures"].get(code, 0) for code, count in after["failures"].items()}
    assert (grown["timeout"], grown["generation_failed"]) == (1, 1)
    assert after["refused_requests"] == before["refused_requests"]
