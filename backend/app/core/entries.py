"""Counts the entries of an object before it looks at any of them.

pydantic bounds a list while it reads it. An object it reads to its end first, and a body has room for half a million
entries, whose complaints would hold up everybody else.
"""

from __future__ import annotations

from typing import Any

from pydantic import BeforeValidator
from pydantic_core import PydanticKnownError


def at_most(count: int) -> BeforeValidator:
    """Refuses an object of more entries, as a `max_length` does."""

    def counted(value: Any) -> Any:
        if isinstance(value, dict) and len(value) > count:
            bounds = {"field_type": "Dictionary", "max_length": count, "actual_length": len(value)}
            raise PydanticKnownError("too_long", bounds)
        return value

    return BeforeValidator(counted)
