from __future__ import annotations

from typing import Annotated, Any

import pytest
from pydantic import AfterValidator, TypeAdapter, ValidationError

from app.core.entries import at_most


def test_of_an_object_with_too_many_entries_none_is_looked_at() -> None:
    seen: list[str] = []
    names = Annotated[dict[Annotated[str, AfterValidator(seen.append)], int], at_most(2)]
    objects: TypeAdapter[Any] = TypeAdapter(names)
    with pytest.raises(ValidationError) as refusal:
        objects.validate_python({"a": 1, "b": 2, "c": 3})
    assert refusal.value.errors()[0]["ctx"] == {"field_type": "Dictionary", "max_length": 2, "actual_length": 3}
    assert seen == []
    objects.validate_python({"a": 1, "b": 2})
    assert seen == ["a", "b"]
