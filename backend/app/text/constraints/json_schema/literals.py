"""JSON values that a schema lists."""

from __future__ import annotations

import json
from typing import Any

from app.text.constraints.json_schema.containers import COMMA, members
from app.text.constraints.json_schema.strings import written
from app.text.constraints.language import Language, sequence, text
from app.text.errors import ConstraintError


def literal(value: Any) -> Language:
    """One value."""
    if isinstance(value, dict):
        return members([(name, literal(part), True) for name, part in value.items()])
    if isinstance(value, list):
        separated = [part for element in value for part in (COMMA, literal(element))]
        return sequence(text("["), *separated[1:], text("]"))
    return text(written(value) if isinstance(value, str) else _plain(value))


def _plain(value: Any) -> str:
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError:
        raise ConstraintError(f"The schema lists {value!r}, which JSON cannot write.", "enum") from None
