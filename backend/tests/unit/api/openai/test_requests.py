from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from app.api.openai.requests import ChatRequest, CompletionRequest, FimRequest, OpenAIRequest
from app.services.diffusion import DiffusionChatParams, DiffusionGenerationParams, DiffusionInfillingParams
from app.services.diffusion.models import Sampling

MAX_LENGTH = 1024
TURN = {"role": "user", "content": "a"}


def given(asked: OpenAIRequest) -> list[dict[str, Any]]:
    return [params.model_dump(exclude_none=True, exclude_defaults=True) for params in asked.params(MAX_LENGTH)]


def test_a_completion_is_a_continuation_or_an_infilling() -> None:
    (continued,) = CompletionRequest(prompt="a", model="llada", suffix="").params(MAX_LENGTH)
    assert continued == DiffusionGenerationParams(text="a", model_id="llada")
    (filled,) = CompletionRequest(prompt="a", suffix="b").params(MAX_LENGTH)
    assert filled == DiffusionInfillingParams(prefix="a", suffix="b")


def test_our_own_parameters_stand_beside_openais() -> None:
    own: dict[str, Any] = {
        "temperature": 0.5, "top_p": 0.5, "top_k": 5, "repetition_penalty": 1.2, "steps": 4, "block_length": 8,
        "algorithm": "random", "confidence_threshold": 0.9, "cfg_scale": 1.0, "decoding": "fast", "cache": "dual",
        "cache_refresh": 2, "initial_masks": 3, "stop": ["x"],
    }  # fmt: skip
    assert given(CompletionRequest(prompt="a", seed=7, **own)) == [{"text": "a", "seed": 7, **own}]
    assert set(Sampling.model_fields) <= set(ChatRequest.model_fields)


def test_too_many_tokens_mean_as_many_as_there_can_be() -> None:
    assert given(CompletionRequest(prompt="a", max_tokens=10**30)) == [{"text": "a", "max_length": MAX_LENGTH}]
    assert given(CompletionRequest(prompt="a", max_tokens=5)) == [{"text": "a", "max_length": 5}]


def test_each_choice_has_the_next_seed() -> None:
    asked = CompletionRequest(prompt=["a", "b"], n=2, seed=2**63 - 1)
    seeds = [(each["text"], each["seed"]) for each in given(asked)]
    assert seeds == [("a", 2**63 - 1), ("a", 0), ("b", 2**63 - 1), ("b", 0)]


def test_the_canvas_is_shown_in_streams_only() -> None:
    modes = [
        CompletionRequest(prompt="a", stream=stream, diffusing=diffusing).params(MAX_LENGTH)[0].stream_mode
        for stream, diffusing in ((True, True), (False, True), (True, None))
    ]
    assert modes == ["canvas", "text", "text"]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"prompt": ["a"] * 3, "n": 3}, "9 choices, more than the maximum of 8"),
        ({"n": 2, "best_of": 3}, "best_of=3 is not supported unless it is n=2"),
        ({"echo": True, "logprobs": 1}, "leave echo out"),
        ({"presence_penalty": 1.5}, "is not supported"),
        ({"logprobs": 21}, "less than or equal to 20"),
        ({"max_tokens": 0}, "greater than or equal to 1"),
        ({"prompt": [[1, 2]]}, "valid string"),
        ({"max_length": 4}, "Extra inputs"),
    ],
)
def test_a_completion_that_cannot_be(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        CompletionRequest.model_validate({"prompt": "a", **asked})


def test_texts_have_the_services_bounds() -> None:
    with pytest.raises(ValidationError, match="5000"):
        CompletionRequest(prompt="a" * 5001, suffix="b").params(MAX_LENGTH)
    with pytest.raises(ValidationError, match="at least 1"):
        CompletionRequest(prompt="").params(MAX_LENGTH)
    with pytest.raises(ValidationError, match="both empty"):
        FimRequest().params(MAX_LENGTH)


def test_a_gap_may_be_at_the_end() -> None:
    assert FimRequest(prompt="a", random_seed=3).params(MAX_LENGTH) == [DiffusionInfillingParams(prefix="a", seed=3)]
    assert FimRequest(prompt="a", random_seed=3, seed=4).first_seed == 4


def test_a_conversation_keeps_its_turns() -> None:
    messages: list[dict[str, Any]] = [
        {"role": "developer", "content": "Be brief.", "name": "x"},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": "c", "refusal": None, "tool_calls": None, "annotations": []},
    ]
    (params,) = ChatRequest.model_validate({"messages": messages, "max_completion_tokens": 4}).params(MAX_LENGTH)
    assert isinstance(params, DiffusionChatParams)
    turns = [(turn.role, turn.content) for turn in params.messages]
    assert turns == [("system", "Be brief."), ("user", "ab"), ("assistant", "c")]
    assert params.max_length == 4


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"tools": [{"type": "function"}]}, "is not supported"),
        ({"tool_choice": "required"}, "is not supported"),
        ({"response_format": {"type": "json_object"}}, "is not supported"),
        ({"top_logprobs": 2}, "needs logprobs"),
        ({"max_tokens": 1, "max_completion_tokens": 2}, "two ways"),
        ({"messages": []}, "at least 1 item"),
        ({"messages": [{"role": "tool", "content": "a"}]}, "role"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]}, "text"),
        ({"store": True}, "is not supported"),
    ],
)
def test_a_chat_that_cannot_be(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ChatRequest.model_validate({"messages": [TURN], **asked})


@pytest.mark.parametrize(
    "asked",
    [
        {"tools": [], "tool_choice": "auto", "response_format": {"type": "text"}, "logit_bias": {}, "n": 1},
        {"user": "me", "metadata": {"a": "b"}, "store": False, "service_tier": "auto", "frequency_penalty": 0},
        {"parallel_tool_calls": True, "prompt_cache_key": "k", "modalities": ["text"], "stream_options": None},
    ],
)
def test_what_asks_for_nothing_is_accepted(asked: dict[str, Any]) -> None:
    ChatRequest.model_validate({"messages": [TURN], **asked})


@pytest.mark.parametrize(
    ("asked", "count"),
    [({}, None), ({"logprobs": False}, None), ({"logprobs": True}, 0), ({"logprobs": True, "top_logprobs": 3}, 3)],
)
def test_alternatives_are_counted_where_they_are_asked_for(asked: dict[str, Any], count: int | None) -> None:
    assert ChatRequest.model_validate({"messages": [TURN], **asked}).num_logprobs == count
