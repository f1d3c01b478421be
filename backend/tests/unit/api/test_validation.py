from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from app.api.json_encoding import json_bytes
from app.api.problem import FieldError
from app.api.validation import MAX_ERRORS, echo, field_errors
from app.services.diffusion.models import DiffusionGenerationParams, DiffusionInfillingParams


def complaints(body: str | bytes, model: type[BaseModel] = DiffusionGenerationParams) -> list[FieldError]:
    with pytest.raises(ValidationError) as caught:
        model.model_validate_json(body)
    return field_errors(caught.value.errors())


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        ('{"text": "a", "max_length": 5000}', "max_length", "max_length=5000 is above the maximum of 2048"),
        ('{"text": "a", "max_length": 0}', "max_length", "max_length=0 is below the minimum of 1"),
        ('{"text": "a", "temperature": -0.5}', "temperature", "temperature=-0.5 is below the minimum of 0"),
        ('{"text": "a", "top_p": 0.05}', "top_p", "top_p=0.05 is below the minimum of 0.1"),
        ('{"text": "a", "confidence_threshold": 0}', "confidence_threshold", "confidence_threshold=0 must be above 0"),
        ('{"text": "a", "temperature": 1e999}', "temperature", "temperature=inf should be a finite number"),
        ('{"text": "a", "top_k": "5"}', "top_k", "top_k='5' should be a valid integer"),
        ('{"text": "a", "top_k": true}', "top_k", "top_k=True should be a valid integer"),
        ('{"text": "a", "stream_mode": "x"}', "stream_mode", "stream_mode='x' should be 'text' or 'canvas'"),
        ('{"text": ""}', "text", "text is empty; at least 1 character is needed"),
        ("{}", "text", "text is missing"),
        ("[1]", "", "the body must be a JSON object"),
        ('{"text": "a", "temprature": 1}', "temprature", "unknown field 'temprature'"),
        ('{"text": "a", "stop": ["a", ""]}', "stop[1]", "stop[1] is empty; at least 1 character is needed"),
        ('{"text": "a", "stop": 5}', "stop", "stop=5 should be a valid string, or should be a valid array"),
        ('{"text": "' + "a" * 10_001 + '"}', "text", "text has 10001 characters, more than the maximum of 10000"),
    ],
)
def test_names_field_value_and_bound(body: str, field: str, message: str) -> None:
    (error,) = complaints(body)
    assert (error.field, error.message) == (field, message)


def test_too_many_stops() -> None:
    (error,) = complaints(json.dumps({"text": "a", "stop": ["x"] * 17}))
    assert error.message == "stop has 17 items, more than the maximum of 16"


@pytest.mark.parametrize(
    ("stop", "message"),
    [
        (["a", 5], "stop[1]=5 should be a valid string"),
        (["a" * 201], "stop[0] has 201 characters, more than the maximum of 200"),
        ({"a": 1}, "stop=an object of 1 should be a valid string, or should be a valid array"),
    ],
)
def test_of_a_union_the_arm_that_got_furthest_speaks(stop: object, message: str) -> None:
    assert complaints(json.dumps({"text": "a", "stop": stop}))[0].message == message


def test_rules_over_several_fields_say_what_they_mean() -> None:
    (error,) = complaints('{"prefix": "", "suffix": ""}', DiffusionInfillingParams)
    assert "both empty" in error.message


def test_every_wrong_field_is_named_once() -> None:
    errors = complaints('{"text": 1, "top_k": 0, "top_p": 7, "stop": 5}')
    assert [error.field for error in errors] == ["top_p", "top_k", "stop", "text"]


def test_many_errors_are_cut() -> None:
    assert len(complaints(json.dumps({str(n): n for n in range(500)}))) == MAX_ERRORS


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
