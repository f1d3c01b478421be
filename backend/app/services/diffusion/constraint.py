"""The constraint of a request: what its answer has to be, whatever the model would rather write."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

MAX_SCHEMA_BYTES = 65_536
"""The size of a schema at most, written as JSON without white space."""
MAX_SCHEMA_DEPTH = 64
"""Objects and lists inside each other at most."""
MAX_REGEX_CHARACTERS = 10_000
MAX_CHOICES = 10_000
MAX_CHOICE_CHARACTERS = 1_000

_KINDS = ("json_schema", "regex", "choices")


class Constraint(BaseModel):
    """A language that the whole new text has to be of; exactly one of the three is given."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    json_schema: dict[str, Any] | bool | None = Field(
        None, description='JSON that is valid by this schema; `true` is any JSON, `{"type": "object"}` any object.'
    )
    regex: str | None = Field(
        None,
        min_length=1,
        max_length=MAX_REGEX_CHARACTERS,
        description="Text that matches this regular expression from its beginning to its end.",
    )
    choices: list[str] | None = Field(
        None, min_length=1, max_length=MAX_CHOICES, description="One of these texts, to the character."
    )

    @field_validator("json_schema")
    @classmethod
    def _is_of_bounded_size(cls, schema: dict[str, Any] | bool | None) -> dict[str, Any] | bool | None:
        if isinstance(schema, dict):
            check_json(schema, "json_schema")
        return schema

    @field_validator("choices")
    @classmethod
    def _are_of_bounded_size(cls, choices: list[str] | None) -> list[str] | None:
        for index, choice in enumerate(choices or ()):
            if not 1 <= len(choice) <= MAX_CHOICE_CHARACTERS:
                raise ValueError(
                    f"choices[{index}] has {len(choice)} characters; 1 to {MAX_CHOICE_CHARACTERS} are allowed"
                )
        return choices

    @model_validator(mode="after")
    def _is_one_of_them(self) -> Self:
        given = [name for name in _KINDS if getattr(self, name) is not None]
        if len(given) != 1:
            stands = f"has {' and '.join(given)}" if given else "is empty"
            raise ValueError(f"constraint {stands}; give exactly one of {', '.join(_KINDS)}")
        return self


def check_json(value: dict[str, Any] | list[Any], name: str) -> None:
    """Refuses JSON that is too large to look at.

    Raises:
        ValueError: it has too many levels or bytes, or is no JSON.
    """
    _check_depth(value, name)
    try:
        num_bytes = len(json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode())
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} cannot be written as JSON: {error}") from None
    if num_bytes > MAX_SCHEMA_BYTES:
        raise ValueError(f"{name} has {num_bytes} bytes, more than the maximum of {MAX_SCHEMA_BYTES}")


def _check_depth(value: dict[str, Any] | list[Any], name: str) -> None:
    """Looks level by level, so that nothing is too deep to be looked at."""
    level: list[Any] = [value]
    for _ in range(MAX_SCHEMA_DEPTH):
        level = [part for each in level for part in _parts(each) if isinstance(part, dict | list)]
        if not level:
            return
    raise ValueError(f"{name} is more than {MAX_SCHEMA_DEPTH} levels deep; send a flatter one")


def _parts(value: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value
