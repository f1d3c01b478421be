"""Kinds of request fields that other servers have and this one cannot serve, or need not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

_JSON_TYPES = {bool: "boolean", int: "number", str: "string", list: "array", dict: "object"}


@dataclass(frozen=True, slots=True, eq=False)
class Only:
    """A field that may be absent or null, or have a value that asks for nothing; another one is refused by name.

    No two are equal, for `typing` takes `Annotated` types with equal metadata for one, and 0 equals `False`.
    """

    neutral: tuple[Any, ...] = ()

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self._check)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        types = sorted({"null", *(_JSON_TYPES[type(value)] for value in self.neutral)})
        return {"type": types, "enum": [None, *self.neutral], "description": "Accepted where it asks for nothing."}

    def _check(self, value: Any) -> None:
        # In JSON `false` is no 0.
        is_neutral = any(value == each and isinstance(value, bool) == isinstance(each, bool) for each in self.neutral)
        if value is not None and not is_neutral:
            raise PydanticCustomError("unsupported", "is not supported; leave it out")


@dataclass(frozen=True, slots=True)
class Ignored:
    """A field without effect on the answer, whatever its value."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.any_schema()

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"description": "Accepted; without effect on the answer."}
