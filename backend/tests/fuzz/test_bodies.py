"""Whatever bytes a body holds, it becomes a valid request or is refused with a 4xx."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel
from starlette.requests import Request

from app.api.bodies.body import body_of, object_for
from app.api.errors.table import ApiError, problem_of
from app.api.wire.json_encoding import json_bytes
from app.core.settings import DiffusionConfig, update_config
from app.services.diffusion.models import DiffusionGenerationParams, DiffusionInfillingParams
from tests.fuzz.examples import fuzzed
from tests.fuzz.mutations import damaged
from tests.unit.api.asgi import Client, body_messages, http_scope

MODELS: tuple[type[BaseModel], ...] = (DiffusionGenerationParams, DiffusionInfillingParams)
HEADERS = {"Content-Type": "application/json"}
GENERATION = {
    "text": "Once upon a time", "model_id": "dreamon", "max_length": 64, "temperature": 0.7, "top_p": 0.9, "top_k": 50,
    "repetition_penalty": 1.1, "stream": False, "seed": 1, "steps": 16, "block_length": 8, "algorithm": "entropy",
    "alg_temp": 0.1, "confidence_threshold": 0.9, "cfg_scale": 1.0, "initial_masks": 8, "stop": ["\n", "end"],
    "stream_mode": "canvas", "min_p": 0.1, "frequency_penalty": 0.5, "presence_penalty": -0.5,
    "no_repeat_ngram_size": 2, "logit_bias": {"198": -100, "5": 1.5},
}  # fmt: skip
INFILLING = {"prefix": "def f(", "suffix": "return x"} | {k: v for k, v in GENERATION.items() if k != "text"}

TOKENS = st.sampled_from(
    ['"text"', '"prefix"', '"\\ud800"', '"\\udc00\\ud800"', '"\\u0000"', "{", "}", "[", "]", ":", ",", "1e999", "-0",
     "-1e-999", "9" * 400, "NaN", "Infinity", "nul", "true", '"', "\\", " ", "\ufeff", "// x", "1.", ".5", "0x1", "'a'"]
)  # fmt: skip
NEARLY_JSON = st.lists(TOKENS, max_size=30).map(lambda tokens: "".join(tokens).encode())
NESTED = st.builds(
    lambda opening, depth, closing: opening * depth + closing * depth,
    st.sampled_from([b"[", b'{"a":', b'{"text":[']),
    st.integers(1, 3_000),
    st.sampled_from([b"]", b"}", b""]),
)
BODIES = st.binary(max_size=200) | NEARLY_JSON | NESTED


async def is_read_or_refused(body: bytes) -> None:
    for model in MODELS:
        request = Request(http_scope(headers=HEADERS), Client(*body_messages(body)).receive)
        try:
            params = await body_of(model)(request)
        except ApiError as error:
            problem = problem_of(error, {})
            assert 400 <= problem.status < 500
            assert len(json_bytes(problem)) < 10_000, "an error must not repeat what was sent"
        else:
            model.model_validate(params.model_dump())


@fuzzed
@given(BODIES)
@example(b'{"text": "a", "text": 1}')
@example(b"\xef\xbb\xbf{}")
async def test_any_bytes(body: bytes) -> None:
    await is_read_or_refused(body)


@fuzzed
@given(damaged(GENERATION) | damaged(INFILLING))
async def test_damaged_requests(content: Any) -> None:
    await is_read_or_refused(json.dumps(content).encode())


@fuzzed
@given(damaged(DiffusionConfig().model_dump()))
async def test_damaged_configuration_changes(content: Any) -> None:
    """They are an object, or are refused; the object changes the configuration as a whole, or not at all."""
    request = Request(http_scope(headers=HEADERS), Client(*body_messages(json.dumps(content).encode())).receive)
    try:
        config = update_config(DiffusionConfig(), await object_for(DiffusionConfig)(request))
    except (ApiError, ValueError):
        return
    assert DiffusionConfig.model_validate(config.model_dump()) == config
