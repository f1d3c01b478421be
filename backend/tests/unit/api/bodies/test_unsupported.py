from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, ValidationError

from app.api.bodies.unsupported import AsksForNothing, Ignored, Only, described_leniently


class Body(BaseModel):
    penalty: Annotated[Any, Only((0,))] = None
    format: Annotated[Any, Only(({"type": "text"}, "text"))] = None
    user: Annotated[Any, Ignored()] = None


@pytest.mark.parametrize(
    "body", [{}, {"penalty": None}, {"penalty": 0}, {"penalty": 0.0}, {"format": {"type": "text"}}]
)
def test_a_field_without_effect_is_accepted(body: dict[str, Any]) -> None:
    Body.model_validate(body)


@pytest.mark.parametrize("body", [{"penalty": 0.5}, {"penalty": False}, {"penalty": "0"}, {"format": {}}])
def test_an_unsupported_field_is_refused_by_name(body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refusal:
        Body.model_validate(body)
    (error,) = refusal.value.errors()
    assert (error["loc"], error["type"]) == (tuple(body), "unsupported")


@pytest.mark.parametrize("value", [None, "me", 1, ["a"], {"a": 1}])
def test_a_field_without_effect_may_have_any_value(value: Any) -> None:
    Body.model_validate({"user": value})


def test_the_schema_documents_accepted_values() -> None:
    fields = Body.model_json_schema()["properties"]
    assert (fields["penalty"]["enum"], fields["penalty"]["type"]) == ([None, 0], ["null", "number"])
    assert fields["format"]["type"] == ["null", "object", "string"]
    assert "type" not in fields["user"]


class Part(AsksForNothing, extra="forbid"):
    kind: str


class Whole(AsksForNothing, extra="forbid"):
    name: Literal["a", "b"] = "a"
    count: int | None = None
    note: str = Field("", max_length=5)
    parts: list[Part] = Field([])
    given: str


@pytest.mark.parametrize(
    "body",
    [
        {"name": None, "count": None, "note": None, "parts": None, "x": None},
        {"name": "", "min_p": 0, "keep_alive": 5, "options": {}, "think": False},
        {"parts": [{"kind": "", "x": None, "tools": []}]},
    ],
)
def test_fields_that_ask_for_nothing_are_passed_over(body: dict[str, Any]) -> None:
    assert Whole.model_validate({"given": "", **body}).model_dump(exclude_defaults=True).keys() <= {"given", "parts"}


@pytest.mark.parametrize(
    "body",
    [
        {"count": ""},
        {"given": None},
        {"x": 0},
        {"x": []},
        {"typical_p": 0.1},
        {"think": 0},
        {"parts": [{"kind": None}]},
    ],
)
def test_fields_that_ask_for_something_are_not(body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Whole.model_validate({"given": "", **body})


def test_the_schema_documents_nulls_and_empty_texts() -> None:
    schema = Whole.model_json_schema()
    name = {"anyOf": [{"enum": ["a", "b"], "type": "string"}, {"type": "null"}, {"type": "string", "maxLength": 0}]}
    assert schema["properties"]["name"] == {**name, "default": "a", "title": "Name"}
    assert schema["properties"]["note"]["anyOf"] == [{"maxLength": 5, "type": "string"}, {"type": "null"}]
    assert schema["properties"]["given"] == {"title": "Given", "type": "string"}
    assert schema["properties"]["count"]["anyOf"] == [{"type": "integer"}, {"type": "null"}]
    assert schema["additionalProperties"] == schema["$defs"]["Part"]["additionalProperties"] == {"type": "null"}
    assert described_leniently(dict(schema)) == schema
