"""Presets of decoding, and their parts, as a client asks for them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.api.serving import Server

GENERATE = {"text": "import os", "max_length": 40, "temperature": 0.8, "seed": 3}
INFILL = {"prefix": "def f(a):\n    ", "suffix": "\n    return a\n", "max_length": 24, "temperature": 0.8, "seed": 3}
PRESETS = ("exact", "balanced", "fast")
JOBS = [
    pytest.param(path, field, {**body, "model_id": model}, id=f"{model}{path}")
    for model in ("dreamon", "llada")
    for path, field, body in (("/generate", "generated_text", GENERATE), ("/infill", "infilled_text", INFILL))
]


@pytest.mark.parametrize(("path", "field", "body"), JOBS)
def test_every_preset_gives_the_same_text_alone_streamed_and_in_a_batch(
    server: Server, path: str, field: str, body: dict[str, Any]
) -> None:
    asked = [{**body, "decoding": preset} for preset in PRESETS]
    alone = [server.answer(path, each)[field] for each in asked]
    with ThreadPoolExecutor(6) as clients:
        together = list(clients.map(lambda each: server.answer(path, each)[field], asked * 2))
    assert together == alone * 2
    for each, text in zip(asked, alone, strict=True):
        events = server.events(f"{path}/stream", each)
        assert "".join(event["data"] for event in events if event["type"] == "token") == text


def test_exact_is_the_default_until_it_is_configured(server: Server) -> None:
    body = {**GENERATE, "model_id": "llada"}
    exact, fast = (
        server.answer("/generate", {**body, "decoding": name})["generated_text"] for name in ("exact", "fast")
    )
    assert exact != fast, "the presets would be the same"
    assert server.answer("/generate", body)["generated_text"] == exact
    with server.configured(decoding="fast"):
        assert server.answer("/generate", body)["generated_text"] == fast
        assert server.answer("/generate", {**body, "decoding": "exact"})["generated_text"] == exact


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"decoding": "turbo"}, "decoding"),
        ({"cache": "triple"}, "cache"),
        ({"cache": "prefix"}, "cache"),
        ({"cache_refresh": 0}, "cache_refresh"),
        ({"cache_refresh": 2}, "cache_refresh"),
    ],
)
def test_a_parameter_that_the_family_lacks_is_refused_by_name(
    server: Server, changes: dict[str, Any], field: str
) -> None:
    response = server.post("/infill", {**INFILL, "model_id": "dreamon", **changes})
    assert response.status_code == 422
    assert [error["field"] for error in response.json()["errors"]] == [field]


def test_no_request_takes_more_steps_than_it_asks_for(server: Server) -> None:
    for changes in ({"confidence_threshold": 0.99}, {"block_length": 2}, {"confidence_factor": 0.01, "cache": "dual"}):
        body = {**GENERATE, "model_id": "llada", "max_length": 16, "steps": 3, **changes}
        assert server.answer("/generate", body)["metadata"]["denoising_steps"] <= 3
