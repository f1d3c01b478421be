from __future__ import annotations

from typing import Annotated, Any

import pytest
from pydantic import BaseModel, ValidationError

from app.api.foreign_fields import Ignored, Only


class Body(BaseModel):
    penalty: Annotated[Any, Only((0,))] = None
    format: Annotated[Any, Only(({"type": "text"}, "text"))] = None
    user: Annotated[Any, Ignored()] = None


@pytest.mark.parametrize(
    "body", [{}, {"penalty": None}, {"penalty": 0}, {"penalty": 0.0}, {"format": {"type": "text"}}]
)
def test_what_asks_for_nothing_is_accepted(body: dict[str, Any]) -> None:
    Body.model_validate(body)


@pytest.mark.parametrize("body", [{"penalty": 0.5}, {"penalty": False}, {"penalty": "0"}, {"format": {}}])
def test_what_asks_for_something_is_refused_by_name(body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refusal:
        Body.model_validate(body)
    (error,) = refusal.value.errors()
    assert (error["loc"], error["type"]) == (tuple(body), "unsupported")


@pytest.mark.parametrize("value", [None, "me", 1, ["a"], {"a": 1}])
def test_what_has_no_effect_may_be_anything(value: Any) -> None:
    Body.model_validate({"user": value})


def test_the_schema_tells_what_is_accepted() -> None:
    fields = Body.model_json_schema()["properties"]
    assert (fields["penalty"]["enum"], fields["penalty"]["type"]) == ([None, 0], ["null", "number"])
    assert fields["format"]["type"] == ["null", "object", "string"]
    assert "type" not in fields["user"]
