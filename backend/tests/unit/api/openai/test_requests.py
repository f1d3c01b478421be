from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from app.api.bodies.unsupported import NEUTRAL
from app.api.errors.table import InvalidBody
from app.api.llama_cpp.requests import InfillRequest
from app.api.openai.requests import ChatRequest, CompletionRequest, FimRequest, OpenAIRequest
from app.core.complaints import MAX_COMPLAINTS
from app.services.diffusion import DiffusionChatParams, DiffusionGenerationParams, DiffusionInfillingParams
from app.services.diffusion.models import DiffusionTokensInfillingParams, DiffusionTokensParams, Sampling

MAX_LENGTH = 1024
TURN = {"role": "user", "content": "a"}


def sent(asked: OpenAIRequest) -> list[dict[str, Any]]:
    return [params.model_dump(exclude_none=True, exclude_defaults=True) for params in asked.params(MAX_LENGTH)]


def test_a_completion_is_a_continuation_or_an_infilling() -> None:
    (continued,) = CompletionRequest(prompt="a", model="llada", suffix="").params(MAX_LENGTH)
    assert continued == DiffusionGenerationParams(text="a", model_id="llada")
    (filled,) = CompletionRequest(prompt="a", suffix="b").params(MAX_LENGTH)
    assert filled == DiffusionInfillingParams(prefix="a", suffix="b")


def test_our_own_parameters_stand_beside_openais() -> None:
    own: dict[str, Any] = {
        "temperature": 0.5, "top_p": 0.5, "top_k": 5, "min_p": 0.1, "repetition_penalty": 1.2, "steps": 4,
        "block_length": 8, "algorithm": "random", "confidence_threshold": 0.9, "cfg_scale": 1.0, "decoding": "fast",
        "cache": "dual", "cache_refresh": 2, "initial_masks": 3, "stop": ["x"],
        "frequency_penalty": 0.5, "presence_penalty": -1.0,
    }  # fmt: skip
    assert sent(CompletionRequest(prompt="a", seed=7, **own)) == [{"text": "a", "seed": 7, **own}]
    assert set(Sampling.model_fields) <= set(ChatRequest.model_fields)


def test_biases_are_read_by_the_ids_that_name_them() -> None:
    asked = CompletionRequest.model_validate({"prompt": "a", "logit_bias": {"50256": -100, "0": 1.5}})
    (params,) = asked.params(MAX_LENGTH)
    assert params.logit_bias == {50256: -100.0, 0: 1.5}


def test_too_many_tokens_are_cut_to_the_largest_number() -> None:
    assert sent(CompletionRequest(prompt="a", max_tokens=10**30)) == [{"text": "a", "max_length": MAX_LENGTH}]
    assert sent(CompletionRequest(prompt="a", max_tokens=5)) == [{"text": "a", "max_length": 5}]


def test_each_choice_has_the_next_seed() -> None:
    asked = CompletionRequest(prompt=["a", "b"], n=2, seed=2**63 - 1)
    seeds = [(each["text"], each["seed"]) for each in sent(asked)]
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
        ({"echo": True, "logprobs": 0}, "leave echo out, or ask POST /api/diffusion/likelihood"),
        ({"prompt": [[1, 2]], "echo": True, "logprobs": 1, "max_tokens": 0}, "POST /api/diffusion/likelihood"),
        ({"presence_penalty": 2.5}, "less than or equal to 2"),
        ({"logit_bias": {"a": 1}}, "valid integer"),
        ({"logit_bias": {"1": -101}}, "greater than or equal to -100"),
        ({"logit_bias": {str(n): 1 for n in range(301)}}, "at most 300 items"),
        ({"logprobs": 21}, "less than or equal to 20"),
        ({"max_tokens": 0}, "greater than or equal to 1"),
        ({"prompt": [[1, "2"]]}, "valid integer"),
        ({"prompt": [1, True]}, "valid integer"),
        ({"prompt": ["a", 1]}, "valid string"),
        ({"prompt": [[1]] * 3, "n": 3}, "9 choices"),
        ({"max_length": 4}, "Extra inputs"),
    ],
)
def test_a_completion_that_cannot_be(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        CompletionRequest.model_validate({"prompt": "a", **asked})


def test_texts_have_the_services_bounds() -> None:
    for prompt, message in (
        ("a" * 10_001, "prompt has 10001 characters"),
        ("", "prompt is empty; at least 1"),
        (["a", ""], r"prompt\[1\] is empty; at least 1"),
    ):
        with pytest.raises(InvalidBody, match=message):
            CompletionRequest(prompt=prompt).params(MAX_LENGTH)
    with pytest.raises(InvalidBody, match="prompt and suffix are both empty"):
        FimRequest().params(MAX_LENGTH)


@pytest.mark.parametrize("kind", [CompletionRequest, FimRequest])
def test_long_sides_of_a_gap_are_cut_to_the_nearest_text(kind: type[CompletionRequest | FimRequest]) -> None:
    asked = kind(prompt="a" * 5_000 + "b", suffix="c" + "d" * 6_000)
    (params,) = asked.params(MAX_LENGTH)
    assert params == DiffusionInfillingParams(prefix="a" * 4_999 + "b", suffix="c" + "d" * 4_999)
    assert asked.num_cut_characters == 1 + 1_001
    assert kind(prompt="a" * 5_000, suffix="b").num_cut_characters == 0


@pytest.mark.parametrize(("logprobs", "count"), [(None, None), (False, None), (0, 0), (5, 5)])
def test_no_alternatives_are_not_no_log_probabilities(logprobs: Any, count: int | None) -> None:
    asked = CompletionRequest.model_validate({"prompt": "a", "logprobs": logprobs})
    assert asked.num_logprobs == count
    assert asked.params(MAX_LENGTH)[0].logprobs == count


def test_a_prompt_may_be_token_ids() -> None:
    assert CompletionRequest(prompt=[1, 2], n=2).params(MAX_LENGTH) == [DiffusionTokensParams(token_ids=[1, 2])] * 2
    first, second = CompletionRequest(prompt=[[1, 2], [3]], seed=5).params(MAX_LENGTH)
    assert first == DiffusionTokensParams(token_ids=[1, 2], seed=5)
    assert second == DiffusionTokensParams(token_ids=[3], seed=5)
    for asked, message in (
        (CompletionRequest(prompt=[[1], []]), r"prompt\[1\] is empty"),
        (CompletionRequest(prompt=[1] * 10_001), "prompt has 10001 items"),
        (CompletionRequest(prompt=[[1], []], suffix="b"), r"prompt\[1\] is empty"),
    ):
        with pytest.raises(InvalidBody, match=message):
            asked.params(MAX_LENGTH)


def test_a_gap_may_be_behind_token_ids() -> None:
    asked = CompletionRequest(prompt=[[1, 2], [3]], suffix="b" * 5_002, seed=5)
    assert asked.params(MAX_LENGTH) == [
        DiffusionTokensInfillingParams(token_ids=ids, suffix="b" * 5_000, seed=5) for ids in ([1, 2], [3])
    ]
    assert asked.num_cut_characters == 4
    assert CompletionRequest(prompt=[1], suffix="").params(MAX_LENGTH) == [DiffusionTokensParams(token_ids=[1])]


def test_a_gap_may_be_at_the_end() -> None:
    assert FimRequest(prompt="a", random_seed=3).params(MAX_LENGTH) == [DiffusionInfillingParams(prefix="a", seed=3)]
    assert FimRequest(prompt="a", random_seed=3, seed=3).first_seed == 3


def test_a_conversation_keeps_its_turns() -> None:
    messages: list[dict[str, Any]] = [
        {"role": "developer", "content": "Be brief.", "name": "x"},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": "c", "refusal": None, "tool_calls": None, "annotations": []},
        {"role": "assistant", "content": None},
        {"role": "tool", "content": "d", "tool_call_id": "1"},
    ]
    (params,) = ChatRequest.model_validate({"messages": messages, "max_completion_tokens": 4}).params(MAX_LENGTH)
    assert isinstance(params, DiffusionChatParams)
    turns = [(turn.role, turn.content) for turn in params.messages]
    assert turns == [("system", "Be brief."), ("user", "ab"), ("assistant", "c"), ("assistant", ""), ("tool", "d")]
    assert params.max_length == 4


@pytest.mark.parametrize(
    ("asked", "options"),
    [
        ({}, {}),
        ({"chat_template_kwargs": None, "enable_thinking": None}, {}),
        ({"chat_template_kwargs": {"enable_thinking": False}}, {"enable_thinking": False}),
        ({"enable_thinking": True}, {"enable_thinking": True}),
        (
            {"enable_thinking": True, "chat_template_kwargs": {"enable_thinking": False, "level": 2, "style": "x"}},
            {"enable_thinking": False, "level": 2, "style": "x"},
        ),
    ],
)
def test_options_of_the_template_are_handed_on(asked: dict[str, Any], options: dict[str, Any]) -> None:
    choices = ChatRequest.model_validate({"messages": [TURN], "n": 2, **asked}).params(MAX_LENGTH)
    for params in choices:
        assert isinstance(params, DiffusionChatParams)
        assert params.chat_template_kwargs == options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"x": [1]}, "valid"),
        ({"x": {"y": 1}}, "valid"),
        ({"x": 10**400}, "less than or equal"),
        ({"x": "y" * 201}, "at most 200 characters"),
        ({"1x": 1}, "'1x', which is no name of an option"),
        ({"x" * 65: 1}, "no name of an option"),
        ({f"x{number}": 1 for number in range(17)}, "at most 16 items"),
    ],
)
def test_options_of_the_template_are_few_and_small(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ChatRequest.model_validate({"messages": [TURN], "chat_template_kwargs": options})


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"tools": [{"type": "function"}]}, "Field required"),
        ({"tools": [{"type": "custom"}]}, "'function'"),
        ({"tool_choice": "some"}, "'none', 'auto', 'required' or 'any'"),
        ({"response_format": {"type": "grammar"}}, "'text', 'json_object' or 'json_schema'"),
        ({"response_format": {"type": "json_schema"}}, "json_schema goes with type 'json_schema'"),
        ({"response_format": {"type": "text", "json_schema": {"schema": {}}}}, "and only with that"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "a"}}}, "schema\n  Field required"),
        ({"response_format": {"type": "text", "schema": {}}}, "schema goes with type 'json_object' alone"),
        ({"response_format": {"type": "json_object", "schema": {}, "value": {}}}, "leave one of them out"),
        ({"guided_grammar": "root ::= x"}, "is not supported"),
        ({"grammar": "root ::= x"}, "is not supported"),
        ({"ebnf": "root ::= x"}, "is not supported"),
        ({"structured_outputs": {"structural_tag": "x"}}, "is not supported"),
        ({"structured_outputs": {"grammar": "x"}}, "is not supported"),
        ({"structured_outputs": {"whitespace_pattern": "x"}}, "Extra inputs"),
        ({"top_logprobs": 2}, "needs logprobs"),
        (
            {"max_tokens": 1, "max_completion_tokens": 2},
            "max_completion_tokens and max_tokens say the same in two ways",
        ),
        ({"seed": 4, "random_seed": 3}, "random_seed and seed say the same in two ways; leave seed out"),
        ({"messages": []}, "at least 1 item"),
        ({"messages": [{"role": "critic", "content": "a"}]}, "role"),
        ({"messages": [{"role": "user", "content": None}]}, "content"),
        ({"messages": [{"role": "assistant", "content": 0}]}, "content"),
        ({"messages": [{"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}]}, "Field required"),
        ({"min_p": 1.1}, "min_p"),
        ({"typical_p": 0.5}, "typical_p"),
        ({"options": {"temperature": 0}}, "options"),
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
        {"min_p": None, "no such field": None, "temperature": None, "messages": [{**TURN, "reasoning_content": None}]},
        {"think": False, "keep_alive": "5m", "options": {}, "min_p": 0, "repeat_penalty": 1, "n_probs": 0, "user": ""},
        {"stop": "", "model": "", "seed": -1, "top_p": 0, "top_k": -1, "algorithm": "", "top_logprobs": 0},
        {"random_seed": -1, "safe_prompt": False},
        {"stream_options": {}, "logprobs": False, "ignore_eos": False, "best_of": 1, "suffix": "", "grammar": ""},
    ],
)
def test_a_field_without_effect_is_accepted(asked: dict[str, Any]) -> None:
    ChatRequest.model_validate({"messages": [TURN], **asked}).params(MAX_LENGTH)


@given(st.sampled_from(sorted(NEUTRAL.keys() - Sampling.model_fields.keys())), st.data())
def test_a_field_without_effect_changes_nothing(name: str, data: st.DataObject) -> None:
    value = data.draw(st.sampled_from([None, *NEUTRAL[name]]))
    asked = CompletionRequest.model_validate({"prompt": "a", name: value})
    assert asked.params(MAX_LENGTH) == CompletionRequest(prompt="a").params(MAX_LENGTH)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"seed": -1}, {}),
        ({"seed": -(10**30)}, {}),
        ({"model": ""}, {}),
        ({"top_p": 0}, {"top_p": 0.1, "top_k": 1}),
        ({"top_p": 0.05, "top_k": 5}, {"top_p": 0.1, "top_k": 5}),
        ({"top_k": 0}, {"top_k": 100}),
        ({"stop": ["", "x"]}, {"stop": ["x"]}),
        ({"stop": [""]}, {}),
    ],
)
def test_a_field_with_another_meaning_here_has_that_meaning(asked: dict[str, Any], expected: dict[str, Any]) -> None:
    assert sent(CompletionRequest(prompt="a", **asked)) == [{"text": "a", **expected}]


def test_a_seed_below_0_is_none_for_every_choice() -> None:
    assert [params.seed for params in FimRequest(prompt="a", random_seed=-1, n=3).params(MAX_LENGTH)] == [None] * 3


@pytest.mark.parametrize(
    ("asked", "count"),
    [({}, None), ({"logprobs": False}, None), ({"logprobs": True}, 0), ({"logprobs": True, "top_logprobs": 3}, 3)],
)
def test_alternatives_are_counted_where_they_are_asked_for(asked: dict[str, Any], count: int | None) -> None:
    assert ChatRequest.model_validate({"messages": [TURN], **asked}).num_logprobs == count


MANY = 100_000


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (ChatRequest, {"messages": [0] * MANY}),
        (ChatRequest, {"messages": [{"role": "user", "content": [0] * MANY}]}),
        (CompletionRequest, {"prompt": [0] + [""] * MANY}),
        (CompletionRequest, {"prompt": [[""] * MANY]}),
        (CompletionRequest, {"prompt": "a", "stop": [0] * MANY}),
        (InfillRequest, {"stop": [0] * MANY}),
        (InfillRequest, {"input_extra": [0] * MANY}),
        (InfillRequest, {"response_fields": [0] * MANY}),
        (ChatRequest, {"messages": [{"role": "user", "content": "a", **dict.fromkeys(map(str, range(MANY)), 0)}]}),
        (CompletionRequest, {"prompt": "a", "stream_options": dict.fromkeys(map(str, range(MANY)), 0)}),
    ],
)
def test_very_many_mistakes_are_no_more_work_than_one(kind: type[BaseModel], body: dict[str, Any]) -> None:
    """Each complaint is an object, and while they are made nobody else is answered."""
    with pytest.raises(ValidationError) as refusal:
        kind.model_validate(body)
    assert refusal.value.error_count() <= MAX_COMPLAINTS
