from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from app.services.diffusion.constraint import MAX_SCHEMA_BYTES, MAX_SCHEMA_DEPTH, Constraint
from app.services.diffusion.errors import InvalidParameters
from app.services.diffusion.models import DiffusionGenerationParams
from app.services.diffusion.validation import validated

FITS = {"json_schema": {"type": "object"}}


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(depth - 1):
        schema = {"items": schema}
    return schema


@pytest.mark.parametrize(
    "given",
    [
        {"json_schema": {}},
        {"json_schema": True},
        {"json_schema": False},
        {"regex": "a+"},
        {"choices": ["a", "ab"]},
        {"choices": ["a"], "regex": None},
        {"json_schema": nested(MAX_SCHEMA_DEPTH)},
    ],
)
def test_one_of_three_is_a_constraint(given: dict[str, Any]) -> None:
    constraint = Constraint.model_validate(given)
    assert constraint.model_dump(exclude_unset=True) == given


@pytest.mark.parametrize(
    ("given", "field", "complaint"),
    [
        ({}, "constraint", "constraint is empty; give exactly one of json_schema, regex, choices"),
        ({"regex": "a", "choices": ["a"]}, "constraint", "constraint has regex and choices; give exactly one"),
        ({"schema": {}}, "constraint.schema", "unknown field 'constraint.schema'"),
        ({"json_schema": "x"}, "constraint.json_schema", "must be an object or true or false"),
        ({"json_schema": nested(MAX_SCHEMA_DEPTH + 1)}, "constraint.json_schema", "more than 64 levels deep"),
        ({"json_schema": nested(100_000)}, "constraint.json_schema", "more than 64 levels deep"),
        ({"json_schema": {"const": "é" * MAX_SCHEMA_BYTES}}, "constraint.json_schema", "131084 bytes"),
        ({"json_schema": {"const": float("nan")}}, "constraint.json_schema", "cannot be written as JSON"),
        ({"json_schema": {"const": "\ud800"}}, "constraint.json_schema", "cannot be written as JSON"),
        ({"regex": ""}, "constraint.regex", "constraint.regex is empty"),
        ({"regex": "a" * 10_001}, "constraint.regex", "10001 characters, more than the maximum of 10000"),
        ({"choices": []}, "constraint.choices", "constraint.choices is empty"),
        ({"choices": [""]}, "constraint.choices", "choices[0] has 0 characters"),
        ({"choices": ["a", "b" * 1001]}, "constraint.choices", "choices[1] has 1001 characters"),
        ({"choices": ["a"] * 10_001}, "constraint.choices", "10001 items, more than the maximum of 10000"),
        ("a+", "constraint", "must be an object"),
    ],
)
def test_what_is_no_constraint_is_refused_by_name(given: Any, field: str, complaint: str) -> None:
    with pytest.raises(InvalidParameters) as refusal:
        validated(DiffusionGenerationParams, {"text": "x", "constraint": given})
    assert refusal.value.field == field
    assert complaint in str(refusal.value)


@pytest.mark.parametrize("other", [{"stop": "a"}, {"stop": ["a"]}, {"ignore_eos": True}])
def test_what_would_end_a_constrained_answer_elsewhere_is_refused(other: dict[str, Any]) -> None:
    (name,) = other
    with pytest.raises(ValidationError, match=f"leave {name} out"):
        DiffusionGenerationParams.model_validate({"text": "x", "constraint": FITS, **other})
    nothing: dict[str, Any] = {name: [] if name == "stop" else False}
    params = DiffusionGenerationParams.model_validate({"text": "x", "constraint": FITS, **nothing})
    assert params.constraint == Constraint.model_validate(FITS)
