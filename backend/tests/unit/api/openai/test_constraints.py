"""Constraints in the words of other APIs."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from app.api.errors.table import InvalidBody
from app.api.openai.requests import ChatRequest, CompletionRequest, FimRequest
from app.services.diffusion.constraint import Constraint
from app.services.diffusion.errors import InvalidParameters
from app.services.diffusion.models import DiffusionChatParams

MAX_LENGTH = 1024
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
TOOL = {"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": SCHEMA}}
OTHER = {"type": "function", "function": {"name": "stop"}}
NAMED = {"type": "function", "function": {"name": "add"}}


def chat(**asked: Any) -> ChatRequest:
    return ChatRequest.model_validate({"messages": [{"role": "user", "content": "x"}], **asked})


def constraint_of(asked: ChatRequest | CompletionRequest | FimRequest) -> Constraint | None:
    (params,) = asked.params(MAX_LENGTH)
    return params.constraint


@pytest.mark.parametrize(
    ("asked", "constraint"),
    [
        ({"response_format": {"type": "json_object"}}, {"json_schema": {"type": "object"}}),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "a", "schema": SCHEMA, "strict": True},
                }
            },
            {"json_schema": SCHEMA},
        ),
        ({"response_format": {"type": "json_object", "schema": SCHEMA}}, {"json_schema": SCHEMA}),
        ({"response_format": {"type": "json_object", "schema": {}}}, {"json_schema": {"type": "object"}}),
        ({"response_format": {"type": "json_object", "value": SCHEMA, "schema": None}}, {"json_schema": SCHEMA}),
        ({"guided_json": SCHEMA}, {"json_schema": SCHEMA}),
        ({"guided_json": '{"type": "object"}'}, {"json_schema": {"type": "object"}}),
        ({"guided_json": {}}, {"json_schema": {}}),
        ({"guided_regex": "a+"}, {"regex": "a+"}),
        ({"guided_choice": ["a", "b"]}, {"choices": ["a", "b"]}),
        ({"structured_outputs": {"json": SCHEMA, "regex": None}}, {"json_schema": SCHEMA}),
        ({"structured_outputs": {"json": "true"}}, {"json_schema": True}),
        ({"structured_outputs": {"json_object": True}}, {"json_schema": {"type": "object"}}),
        ({"structured_outputs": {"regex": "a+"}}, {"regex": "a+"}),
        ({"structured_outputs": {"choice": ["a", "b"]}}, {"choices": ["a", "b"]}),
        ({"json_schema": SCHEMA}, {"json_schema": SCHEMA}),
        ({"json_schema": '{"type": "object"}'}, {"json_schema": {"type": "object"}}),
        ({"regex": "a+"}, {"regex": "a+"}),
    ],
)
def test_each_word_for_a_constraint_is_the_services(asked: dict[str, Any], constraint: dict[str, Any]) -> None:
    expected = Constraint.model_validate(constraint)
    assert constraint_of(chat(**asked)) == expected
    assert constraint_of(CompletionRequest.model_validate({"prompt": "x", **asked})) == expected
    assert constraint_of(CompletionRequest.model_validate({"prompt": [1], **asked})) == expected
    assert constraint_of(FimRequest.model_validate({"prompt": "x", "suffix": "y", **asked})) == expected


@pytest.mark.parametrize(
    "asked",
    [
        {"response_format": {"type": "text"}},
        {"guided_choice": []},
        {"guided_regex": ""},
        {"regex": "", "ebnf": "", "grammar": "", "json_schema": None},
        {"structured_outputs": {}},
        {"structured_outputs": {"json_object": False, "grammar": None}},
        {"tools": [TOOL], "tool_choice": "none"},
        {"tools": [], "tool_choice": "auto"},
    ],
)
def test_what_asks_for_no_constraint_is_unconstrained(asked: dict[str, Any]) -> None:
    assert constraint_of(chat(**asked)) is None
    assert chat(**asked).forced_call is None


@pytest.mark.parametrize(
    ("asked", "field", "message"),
    [
        ({"guided_json": {}, "guided_regex": "a"}, "guided_regex", "guided_json and guided_regex are 2 constraints"),
        (
            {"response_format": {"type": "json_object"}, "tools": [TOOL], "tool_choice": NAMED},
            "tool_choice",
            "response_format and tool_choice are 2",
        ),
        ({"json_schema": {}, "regex": "a"}, "regex", "json_schema and regex are 2 constraints"),
        ({"json_schema": "{"}, "json_schema", "json_schema is no JSON"),
        ({"regex": "a", "stop": "x"}, "regex", "leave stop out"),
        ({"structured_outputs": {"json": {}, "choice": ["a"]}}, "structured_outputs.choice", "are 2 constraints"),
        ({"guided_json": "{"}, "guided_json", "guided_json is no JSON"),
        ({"guided_json": "[" * 60_000}, "guided_json", "guided_json is no JSON"),
        ({"guided_json": "[]"}, "guided_json", "must be an object or true or false"),
        ({"guided_json": {}, "stop": "x"}, "guided_json", "leave stop out"),
        ({"guided_json": {}, "ignore_eos": True}, "guided_json", "leave ignore_eos out"),
        ({"guided_regex": "a" * 10_001}, "guided_regex", "guided_regex has 10001 characters"),
        ({"guided_choice": ["a", ""]}, "guided_choice", "guided_choice[1] has 0 characters"),
        (
            {"response_format": {"type": "json_object", "value": {"const": "a" * 70_000}}},
            "response_format.value",
            "bytes, more than the maximum",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {"const": "a" * 70_000}}}},
            "response_format.json_schema.schema",
            "bytes, more than the maximum",
        ),
    ],
)
def test_a_constraint_that_cannot_be_is_refused_in_the_clients_words(
    asked: dict[str, Any], field: str, message: str
) -> None:
    with pytest.raises(InvalidBody) as refusal:
        chat(**asked).params(MAX_LENGTH)
    (error,) = refusal.value.errors
    assert error.field == field
    assert message in error.message


def test_a_refusal_of_the_service_is_in_the_clients_words() -> None:
    names = chat(tools=[OTHER, TOOL], tool_choice=NAMED).names
    refusal = InvalidParameters("constraint.json_schema: 'not' is no keyword", field="constraint.json_schema")
    renamed = refusal.renamed(names)
    assert (renamed.field, str(renamed)) == (
        "tools[1].function.parameters",
        "tools[1].function.parameters: 'not' is no keyword",
    )
    other = InvalidParameters("seed=1 is odd", field="seed").renamed(names)
    assert (other.field, str(other)) == ("seed", "seed=1 is odd")


@pytest.mark.parametrize(
    ("tools", "choice", "name", "is_named"),
    [
        ([TOOL, OTHER], NAMED, "add", True),
        ([TOOL], "required", "add", False),
        ([TOOL], "any", "add", False),
        ([OTHER], "required", "stop", False),
    ],
)
def test_one_function_is_called_with_valid_arguments(
    tools: list[dict[str, Any]], choice: Any, name: str, is_named: bool
) -> None:
    asked = chat(tools=tools, tool_choice=choice)
    call = asked.forced_call
    assert call is not None
    assert (call.function, call.is_named) == (name, is_named)
    nothing = {"type": "object", "properties": {}, "additionalProperties": False}
    assert constraint_of(asked) == Constraint(json_schema=SCHEMA if name == "add" else nothing)


@pytest.mark.parametrize("choice", ["required", "any"])
def test_a_call_of_any_function_is_one_of_its_name_with_its_arguments(choice: str) -> None:
    with_reference = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": "https://example.org/tool",
        "$defs": {"count": {"type": "integer"}},
        "properties": {"n": {"$ref": "#/$defs/count"}, "$ref": {"enum": ["#"]}},
        "default": {"$ref": "#"},
    }
    tool = {"type": "function", "function": {"name": "count", "parameters": with_reference}}
    asked = chat(tools=[TOOL, OTHER, tool], tool_choice=choice)
    call = asked.forced_call
    assert call is not None
    assert (call.function, call.is_named, asked.names["constraint.json_schema"]) == (None, False, "tools")
    constraint = constraint_of(asked)
    assert constraint is not None
    written = Draft202012Validator(constraint.json_schema)
    for name, arguments, is_valid in (
        ("add", {"a": 1}, True),
        ("stop", {}, True),
        ("count", {"n": 1, "$ref": "#"}, True),
        ("count", {"n": "1"}, False),
        ("count", {"$ref": "other"}, False),
        ("stop", {"a": 1}, False),
        ("other", {}, False),
    ):
        assert written.is_valid({"name": name, "arguments": arguments}) == is_valid, name


def test_a_call_is_no_text_that_a_stop_string_ends() -> None:
    for choice in (NAMED, "required"):
        (params,) = chat(tools=[TOOL, OTHER], tool_choice=choice, stop=["Observation:"]).params(MAX_LENGTH)
        assert params.stop is None
    (params,) = chat(tools=[TOOL], tool_choice="none", stop=["Observation:"]).params(MAX_LENGTH)
    assert params.stop == ["Observation:"]


def test_arguments_are_an_object_whatever_a_schema_leaves_open() -> None:
    for given, expected in (
        ({}, {"type": "object"}),
        ({"required": ["a"]}, {"type": "object", "required": ["a"]}),
        ({"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}),
    ):
        tool = {"type": "function", "function": {"name": "add", "parameters": given}}
        assert constraint_of(chat(tools=[tool], tool_choice="required")) == Constraint(json_schema=expected)


def test_arguments_that_are_no_object_are_refused_where_they_stand() -> None:
    tool = {"type": "function", "function": {"name": "add", "parameters": {"type": "array"}}}
    with pytest.raises(InvalidBody) as refusal:
        chat(tools=[OTHER, tool], tool_choice=NAMED).params(MAX_LENGTH)
    (error,) = refusal.value.errors
    assert error.field == "tools[1].function.parameters"
    assert error.message.startswith("tools[1].function.parameters has the type 'array'; arguments are an object")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"tools": [TOOL]}, "tool_choice is missing, which leaves it to the model"),
        ({"tools": [TOOL], "tool_choice": "auto"}, "tool_choice 'auto' leaves it to the model"),
        ({"tools": [OTHER], "tool_choice": NAMED}, "tool_choice names 'add', and tools has stop"),
        ({"tool_choice": "required"}, "tools has no function"),
        ({"tool_choice": NAMED}, "tools has no function"),
    ],
)
def test_a_call_that_is_left_open_is_refused_by_name(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidBody) as refusal:
        chat(**asked).params(MAX_LENGTH)
    (error,) = refusal.value.errors
    assert error.field == "tool_choice"
    assert message in error.message


def test_a_chat_template_gets_the_tools_unless_none_is_called() -> None:
    (params,) = chat(tools=[TOOL, OTHER], tool_choice=NAMED).params(MAX_LENGTH)
    assert isinstance(params, DiffusionChatParams)
    assert params.tools == [TOOL, OTHER]
    (params,) = chat(tools=[TOOL], tool_choice="none").params(MAX_LENGTH)
    assert isinstance(params, DiffusionChatParams)
    assert params.tools == []


def test_calls_of_earlier_turns_are_lines_of_json() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": "1 + 1"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "2"},
        {"role": "assistant", "content": "And", "tool_calls": [call, {**call, "index": 1}]},
        {"role": "assistant", "tool_calls": []},
    ]
    (params,) = chat(messages=messages).params(MAX_LENGTH)
    assert isinstance(params, DiffusionChatParams)
    line = '{"name": "add", "arguments": {"a": 1}}'
    turns = [(turn.role, turn.content) for turn in params.messages]
    assert turns == [
        ("user", "1 + 1"), ("assistant", line), ("tool", "2"), ("assistant", f"And\n{line}\n{line}"), ("assistant", ""),
    ]  # fmt: skip
