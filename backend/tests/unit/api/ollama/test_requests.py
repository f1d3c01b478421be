from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from app.api.errors.table import InvalidBody
from app.api.ollama.requests import OllamaChatRequest, OllamaGenerateRequest
from app.core.complaints import complaints
from app.services.diffusion import DiffusionChatParams, DiffusionGenerationParams, DiffusionInfillingParams
from app.services.diffusion.models import DiffusionPromptParams

MAX_LENGTH = 100


def asked(**fields: Any) -> OllamaGenerateRequest:
    return OllamaGenerateRequest.model_validate({"prompt": "a", **fields})


def params(**fields: Any) -> Any:
    return asked(**fields).params("m", MAX_LENGTH)


def given(**options: Any) -> dict[str, Any]:
    dumped: dict[str, Any] = params(raw=True, options=options).model_dump(exclude_none=True, exclude_defaults=True)
    assert (dumped.pop("model_id"), dumped.pop("text")) == ("m", "a")
    return dumped


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {}),
        ({"num_predict": 7}, {"max_length": 7}),
        ({"num_predict": 7.9}, {"max_length": 7}),
        ({"num_predict": 700}, {"max_length": MAX_LENGTH}),
        ({"num_predict": -1}, {}),
        ({"num_predict": 0}, {}),
        ({"temperature": 9, "top_p": 0.01}, {"temperature": 2.0, "top_p": 0.1}),
        ({"top_p": 0}, {"top_k": 1, "top_p": 0.1}),
        ({"top_k": 0}, {"top_k": 100}),
        ({"top_k": 1000.0}, {"top_k": 100}),
        ({"repeat_penalty": 0.5}, {"repetition_penalty": 1.0}),
        ({"repeat_penalty": 1.3, "repeat_last_n": 64}, {"repetition_penalty": 1.3}),
        ({"frequency_penalty": 0.5, "presence_penalty": -9}, {"frequency_penalty": 0.5, "presence_penalty": -2.0}),
        (
            {"repeat_penalty": 1.3, "presence_penalty": 1.0, "repeat_last_n": 0},
            {"repetition_penalty": 1.0, "frequency_penalty": 0.0, "presence_penalty": 0.0},
        ),
        ({"logit_bias": {"7": -100}}, {"logit_bias": {7: -100.0}}),
        ({"seed": -1}, {}),
        ({"seed": 5.0}, {"seed": 5}),
        ({"seed": 2**60 + 1}, {"seed": 2**60 + 1}),
        ({"stop": ["x", ""]}, {"stop": ["x"]}),
        ({"stop": "x"}, {"stop": ["x"]}),
        ({"num_ctx": 4096, "num_thread": 2, "use_mmap": True, "mirostat_tau": 5.0, "some_new_one": 1}, {}),
        ({"min_p": 0.05}, {"min_p": 0.05}),
        ({"min_p": 3}, {"min_p": 1.0}),
        ({"typical_p": 1.0, "tfs_z": 1, "mirostat": 0}, {}),
        ({"steps": 4, "decoding": "fast", "repetition_penalty": 1.2},) * 2,
    ],
)
def test_options_become_parameters(options: dict[str, Any], expected: dict[str, Any]) -> None:
    assert given(**options) == expected


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"options": {"typical_p": 0.5}}, "options.typical_p=0.5 is not supported; leave it out"),
        ({"options": {"mirostat": 2}}, "options.mirostat=2 is not supported; leave it out"),
        ({"options": {"seed": 2**63}}, "options.seed=9223372036854775808 is above the maximum of 9223372036854775807"),
        ({"options": {"temperature": "hot"}}, "options.temperature='hot' must be a number"),
        ({"options": {"steps": 9999}}, "options.steps=9999 is above the maximum of 4096"),
        ({"options": {"stop": ["x"] * 17}}, "options.stop has 17 items, more than the maximum of 16"),
        (
            {"options": {"repeat_penalty": 1.1, "repetition_penalty": 1.2}},
            "options.repeat_penalty and repetition_penalty say the same in two ways; leave repetition_penalty out",
        ),
        ({"format": "yaml"}, "format='yaml' is not supported; give 'json' or a JSON schema"),
        ({"think": "high"}, "think='high' is not supported: there are no levels; give true or false"),
        ({"truncate": False}, "truncate=false is not supported: what does not fit is cut; leave it out"),
        ({"context": [1]}, "context is not supported; send the conversation to /api/chat"),
        ({"template": "{{ .Prompt }}"}, "template='{{ .Prompt }}' is not supported; leave it out"),
        ({"images": ["aGk="]}, "images=a list of 1 is not supported; leave it out"),
        ({"top_logprobs": 21}, "top_logprobs=21 is above the maximum of 20"),
        ({"prompt": 5}, "prompt=5 must be a string"),
    ],
)
def test_what_is_not_done_is_refused_by_name(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        asked(**fields)
    assert [each.message for each in complaints(caught.value.errors(), {"prompt": "a", **fields})] == [message]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"temperature": 0.5}, "temperature is not read here; put it into options"),
        ({"steps": 4}, "steps is not read here; put it into options"),
        ({"max_output_tokens": 12, "think": False}, "max_output_tokens is not read here; give options.num_predict"),
        ({"options": {"max_tokens": 12}}, "options.max_tokens is not read here; give options.num_predict"),
        ({"response_format": {"type": "json_object"}}, "response_format is not supported; leave it out"),
        ({"options": {"grammar": "root ::= x"}}, "options.grammar is not supported; leave it out"),
        ({"logit_bias": {"1": 2}}, "logit_bias is not read here; put it into options"),
        ({"options": {"constraint": {"regex": "a"}}}, "options.constraint is not supported; leave it out"),
    ],
)
def test_what_would_make_another_text_is_not_passed_over(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidBody) as caught:
        _ = asked(**fields).passed_over
    assert [error.message for error in caught.value.errors] == [message]


def test_other_fields_are_passed_over_by_name() -> None:
    request = asked(runner="mlx", num_ctx=5, temperature=None, options={"num_experts": 2, "n": 1}, keep_alive="5m")
    assert request.passed_over == ["runner", "num_ctx", "options.num_experts"]


def test_a_prompt_is_a_turn_and_a_raw_one_a_text() -> None:
    prompt = params(system="s", think=False)
    assert isinstance(prompt, DiffusionPromptParams)
    assert [(turn.role, turn.content) for turn in prompt.messages] == [("system", "s"), ("user", "a")]
    assert (prompt.text, prompt.chat_template_kwargs) == ("s\n\na", {"enable_thinking": False})
    raw = params(raw=True)
    assert (type(raw), raw.text) == (DiffusionGenerationParams, "a")


@pytest.mark.parametrize("beside", [{"suffix": "b"}, {"raw": True}])
@pytest.mark.parametrize("field", ["system", "think"])
def test_what_only_a_template_reads_needs_one(beside: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidBody, match=f"^{field} does not go with"):
        params(**beside, **{field: "s" if field == "system" else True})
    params(**beside, **{field: "" if field == "system" else False})


def test_a_gap_keeps_what_is_nearest_to_it() -> None:
    request = asked(prompt="a" * 5_000 + "b", suffix="c" + "d" * 5_001)
    gap = request.params("m", MAX_LENGTH)
    assert isinstance(gap, DiffusionInfillingParams)
    assert (gap.prefix, gap.suffix) == ("a" * 4_999 + "b", "c" + "d" * 4_999)
    assert (request.num_cut_characters, asked(prompt="a" * 6_000).num_cut_characters) == (3, 0)


@pytest.mark.parametrize(
    ("given_format", "schema"),
    [("json", {"type": "object"}), ({"type": "integer"}, {"type": "integer"}), ({}, {}), (True, True)],
)
def test_a_format_is_a_constraint(given_format: Any, schema: Any) -> None:
    constraint = params(format=given_format).constraint
    assert constraint.json_schema == schema
    assert params(format="").constraint is None


def test_too_long_a_prompt_is_refused_under_its_name() -> None:
    with pytest.raises(InvalidBody, match=r"^prompt has 100001 characters"):
        params(prompt="a" * 100_001)


@pytest.mark.parametrize(("fields", "num"), [({}, None), ({"logprobs": True}, 0), ({"top_logprobs": 3}, None)])
def test_alternatives_come_with_logprobs(fields: dict[str, Any], num: int | None) -> None:
    assert params(**fields).logprobs == num
    assert params(logprobs=True, top_logprobs=3).logprobs == 3


@pytest.mark.parametrize(
    ("keep_alive", "is_unloading"), [(0, True), (0.0, True), ("0", True), ("0s", True), ("5m", False), (-1, False)]
)
def test_no_time_in_memory_means_to_unload(keep_alive: Any, is_unloading: bool) -> None:
    request = OllamaGenerateRequest.model_validate({"keep_alive": keep_alive})
    assert (request.is_empty, request.is_unloading) == (True, is_unloading)
    assert not OllamaGenerateRequest.model_validate({}).is_unloading


def chat(*messages: dict[str, Any], **fields: Any) -> OllamaChatRequest:
    return OllamaChatRequest.model_validate({"messages": list(messages), **fields})


def test_turns_keep_their_roles_and_earlier_calls() -> None:
    call = {"function": {"name": "f", "arguments": {"x": "é"}, "index": 0}, "id": "1"}
    request = chat(
        {"role": "user", "content": "a", "images": []},
        {"role": "Assistant", "content": None, "thinking": "…", "tool_calls": [call]},
        {"role": "tool", "content": "b", "tool_name": "f"},
        tools=[],
    )
    conversation = request.params("m", MAX_LENGTH)
    assert isinstance(conversation, DiffusionChatParams)
    assert [(turn.role, turn.content) for turn in conversation.messages] == [
        ("user", "a"),
        ("assistant", '{"name": "f", "arguments": {"x": "é"}}'),
        ("tool", "b"),
    ]


@pytest.mark.parametrize(
    "fields", [{"tools": [{"type": "function", "function": {"name": "f"}}]}, {"messages": [{"role": "x"}]}]
)
def test_tools_and_unknown_roles_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(fields))):
        OllamaChatRequest.model_validate(fields)


def test_tools_are_refused_in_the_words_after_which_clients_ask_again_without_them() -> None:
    with pytest.raises(ValidationError, match="does not support tools"):
        chat({"role": "user", "content": "a"}, tools=[{"type": "function", "function": {"name": "f"}}])
