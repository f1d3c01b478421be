from __future__ import annotations

import json
import re
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from app.api.wire.json_encoding import json_bytes
from app.core.complaints import MAX_COMPLAINTS, Complaint, complaints, echo, value_at
from app.services.diffusion.models import DiffusionGenerationParams, DiffusionInfillingParams
from app.services.diffusion.reading import DiffusionReadParams


def complained(body: Any, model: type[BaseModel] = DiffusionGenerationParams) -> list[Complaint]:
    given = from_json(body) if isinstance(body, str) else body
    with pytest.raises(ValidationError) as caught:
        model.model_validate(given)
    return complaints(caught.value.errors(), given)


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        ('{"text": "a", "max_length": 5000}', "max_length", "max_length=5000 is above the maximum of 2048"),
        ('{"text": "a", "max_length": 0}', "max_length", "max_length=0 is below the minimum of 1"),
        ('{"text": "a", "temperature": -0.5}', "temperature", "temperature=-0.5 is below the minimum of 0"),
        ('{"text": "a", "top_p": 0.05}', "top_p", "top_p=0.05 is below the minimum of 0.1"),
        ('{"text": "a", "confidence_threshold": 0}', "confidence_threshold", "confidence_threshold=0 must be above 0"),
        ('{"text": "a", "temperature": 1e999}', "temperature", "temperature=inf must be a finite number"),
        ('{"text": "a", "top_k": "5"}', "top_k", "top_k='5' must be an integer"),
        ('{"text": "a", "top_k": true}', "top_k", "top_k=true must be an integer"),
        ('{"text": "a", "stream_mode": "x"}', "stream_mode", "stream_mode='x' must be 'text' or 'canvas'"),
        ('{"text": ""}', "text", "text is empty; at least 1 character is needed"),
        ("{}", "text", "text is missing"),
        ("[1]", "", "the body must be a JSON object"),
        ('{"text": "a", "temprature": 1}', "temprature", "unknown field 'temprature'"),
        ('{"text": "a", "stop": ["a", ""]}', "stop[1]", "stop[1] is empty; at least 1 character is needed"),
        ('{"text": "a", "stop": 5}', "stop", "stop=5 must be a string or a list"),
        ('{"text": "' + "a" * 10_001 + '"}', "text", "text has 10001 characters, more than the maximum of 10000"),
    ],
)
def test_names_field_value_and_bound(body: str, field: str, message: str) -> None:
    (error,) = complained(body)
    assert (error.path, error.message) == (field, message)


def test_too_many_stops() -> None:
    (error,) = complained(json.dumps({"text": "a", "stop": ["x"] * 17}))
    assert error.message == "stop has 17 items, more than the maximum of 16"


@pytest.mark.parametrize(
    ("stop", "message"),
    [
        (["a", 5], "stop[1]=5 must be a string"),
        (["a" * 201], "stop[0] has 201 characters, more than the maximum of 200"),
        ({"a": 1}, "stop=an object of 1 must be a string or a list"),
    ],
)
def test_the_complaint_about_a_union_is_that_of_the_arm_that_got_furthest(stop: object, message: str) -> None:
    assert complained(json.dumps({"text": "a", "stop": stop}))[0].message == message


def test_rules_over_several_fields_say_what_they_mean() -> None:
    (error,) = complained('{"prefix": "", "suffix": ""}', DiffusionInfillingParams)
    assert "both empty" in error.message


@pytest.mark.parametrize(
    ("model", "body", "field", "message"),
    [
        (
            DiffusionGenerationParams,
            {"text": "a", "constraint": {"choices": ["a", ""]}},
            "constraint.choices",
            "constraint.choices[1] has 0 characters; 1 to 1000 are allowed",
        ),
        (
            DiffusionGenerationParams,
            {"text": "a", "constraint": {"json_schema": {"const": "a" * 70_000}}},
            "constraint.json_schema",
            "constraint.json_schema has 70012 bytes, more than the maximum of 65536",
        ),
        (
            DiffusionReadParams,
            {"parts": ["a", {"hole": "x", "choices": ["b", "b"]}]},
            "parts[1].choices",
            "parts[1].choices has the same text twice; each needs to be there once",
        ),
        (DiffusionReadParams, {"parts": ["a"]}, "parts", 'parts has no hole; give one at least, such as {"hole": '),
    ],
)
def test_a_rule_of_a_nested_field_names_it_by_its_whole_path(
    model: type[BaseModel], body: dict[str, Any], field: str, message: str
) -> None:
    (error,) = complained(body, model)
    assert error.path == field
    assert error.message.startswith(message)


def test_every_wrong_field_is_named_once() -> None:
    errors = complained('{"text": 1, "top_k": 0, "top_p": 7, "stop": 5}')
    assert [error.path for error in errors] == ["top_p", "top_k", "stop", "text"]


def test_many_errors_are_cut() -> None:
    assert len(complained(json.dumps({str(n): n for n in range(500)}))) == MAX_COMPLAINTS


class Part(BaseModel, extra="forbid", strict=True):
    type: Literal["text"]
    text: str


class Turn(BaseModel, extra="forbid", strict=True):
    content: str | list[Part]
    weights: dict[str, int] | list[dict[str, int]] | None = None


class Talk(BaseModel, extra="forbid", strict=True):
    turns: list[Turn]


@pytest.mark.parametrize(
    ("turn", "path", "message"),
    [
        ({}, "turns[0].content", "turns[0].content is missing"),
        ("hi", "turns[0]", "turns[0]='hi' must be an object"),
        ({"content": None}, "turns[0].content", "turns[0].content=null must be a string or a list"),
        ({"content": "a", "foo": 1}, "turns[0].foo", "unknown field 'turns[0].foo'"),
        ({"content": [5]}, "turns[0].content[0]", "turns[0].content[0]=5 must be an object"),
        (
            {"content": [{"type": "text", "text": 5}]},
            "turns[0].content[0].text",
            "turns[0].content[0].text=5 must be a string",
        ),
        (
            {"content": [{"type": "image_url", "image_url": {"url": "x"}}]},
            "turns[0].content[0].type",
            "turns[0].content[0].type='image_url' must be 'text'",
        ),
        ({"content": {"str": 1}}, "turns[0].content", "turns[0].content=an object of 1 must be a string or a list"),
        (
            {"content": "a", "weights": {"int": "x"}},
            "turns[0].weights.int",
            "turns[0].weights.int='x' must be an integer",
        ),
        (
            {"content": "a", "weights": [{}, {"b": ""}]},
            "turns[0].weights[1].b",
            "turns[0].weights[1].b='' must be an integer",
        ),
    ],
)
def test_nested_values_have_their_whole_path(turn: Any, path: str, message: str) -> None:
    (error,) = complained({"turns": [turn]}, Talk)
    assert (error.path, error.message) == (path, message)


def test_every_nested_value_is_named_once() -> None:
    errors = complained({"turns": [{"content": 1}, {}, {"content": [{"type": "text"}, 3]}], "x": None}, Talk)
    paths = ["turns[0].content", "turns[1].content", "turns[2].content[0].text", "turns[2].content[1]", "x"]
    assert [error.path for error in errors] == paths


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["str", "text", "list[Part]", "Turn", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "text", "content", "turns", "str", "list[Part]", "Turn"]), inner)
    ),
    max_leaves=12,
)


@given(JSON_VALUES)
def test_a_path_leads_to_the_value(turns: Any) -> None:
    """Whatever members are called, also like the alternatives of a union."""
    body = {"turns": turns}
    try:
        Talk.model_validate(body)
    except ValidationError as error:
        for complaint in complaints(error.errors(), body):
            *_, value = followed(complaint.path, body)
            assert complaint.message.endswith("is missing") or echo(value) == complaint.value
            assert complaint.message.count(" or ") <= 1
            assert "nput should" not in complaint.message


def followed(path: str, value: Any) -> list[Any]:
    """The values on the way, without one that is missing."""
    passed = [value]
    for part in re.findall(r"[^.\[\]]+(?:\[Part\])?", path.replace("list[Part]", "list<Part>")):
        key = int(part) if part.isdigit() else part.replace("list<Part>", "list[Part]")
        if isinstance(value, dict) and key not in value:
            break
        value = value[key]
        passed.append(value)
    return passed


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()), inner),
)


@given(ANYTHING)
def test_an_echo_is_short_and_encodable(value: Any) -> None:
    shown = echo(value)
    assert len(json_bytes({"value": shown})) < 400
    json.dumps(shown, allow_nan=False).encode("utf-8")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        pytest.param(10**5000, "an integer of 16610 bits", id="huge integer"),
        (2**60, str(2**60)),
        (float("nan"), "nan"),
        pytest.param("\ud800", "?", id="half a surrogate pair"),
        ("x" * 100, "x" * 60 + "…"),
        ([1, 2], "a list of 2"),
        ({"a": 1}, "an object of 1"),
    ],
)
def test_long_and_odd_values_are_shortened(value: Any, shown: str) -> None:
    assert echo(value) == shown


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("stop", ["a", "b"]),
        ("stop[1]", "b"),
        ("stop[2]", None),
        ("stop.x", None),
        ("messages[0].content", "c"),
        ("messages[0][0]", None),
        ("absent", None),
        ("absent[0].name", None),
        ("", None),
    ],
)
def test_value_at_a_path(path: str, value: Any) -> None:
    assert value_at(path, {"stop": ["a", "b"], "messages": [{"content": "c"}]}) == value
