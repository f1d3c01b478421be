"""Pydantic's complaints in our words: the field, the value and the bound, always short and always encodable."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Any

from pydantic_core import ErrorDetails

from app.api.problem import FieldError

MAX_ERRORS = 20
MAX_ECHO_CHARACTERS = 60
LARGEST_EXACT_INTEGER = 2**53
"""Integers above this do not survive a client that reads JSON numbers as doubles."""

Echo = bool | int | float | str | None

# Per type of complaint: what to say, given the path of the field, its value in quotes and the context of the bound.
PHRASES: dict[str, Callable[[str, str, dict[str, Any]], str]] = {
    "missing": lambda field, value, bound: f"{field} is missing",
    "extra_forbidden": lambda field, value, bound: f"unknown field {field!r}",
    "less_than_equal": lambda field, value, bound: f"{field}={value} is above the maximum of {bound['le']:g}",
    "greater_than_equal": lambda field, value, bound: f"{field}={value} is below the minimum of {bound['ge']:g}",
    "greater_than": lambda field, value, bound: f"{field}={value} must be above {bound['gt']:g}",
    "string_too_short": lambda field, value, bound: f"{field} is empty; at least 1 character is needed",
    "too_short": lambda field, value, bound: f"{field} is empty; at least {bound['min_length']} is needed",
    "value_error": lambda field, value, bound: str(bound["error"]),
    "model_type": lambda field, value, bound: "the body must be a JSON object",
}


def field_errors(errors: Iterable[ErrorDetails]) -> list[FieldError]:
    """At most `MAX_ERRORS` of them, one per field: of a union's complaints those that got furthest."""
    found: list[FieldError] = []
    for _, group in groupby(errors, key=lambda error: error["loc"][:1]):
        found.append(_one_of(list(group)))
        if len(found) == MAX_ERRORS:
            break
    return found


def _one_of(alternatives: Sequence[ErrorDetails]) -> FieldError:
    furthest = max(map(_progress, alternatives))
    nearest = [error for error in alternatives if _progress(error) == furthest]
    first = nearest[0]
    message = ", or ".join([_message(first), *map(_expectation, nearest[1:])])
    return FieldError(field=_path(first["loc"]), message=message, value=echo(first["input"]))


def _progress(error: ErrorDetails) -> tuple[bool, int]:
    """How far validation got: past the type of the value, and how deep into it."""
    return not error["type"].endswith("_type"), len(error["loc"])


def _message(error: ErrorDetails) -> str:
    field, value, bound = _path(error["loc"]), _quoted(error["input"]), error.get("ctx", {})
    if "max_length" in bound:
        unit = "characters" if isinstance(error["input"], str) else "items"
        return f"{field} has {len(error['input'])} {unit}, more than the maximum of {bound['max_length']}"
    phrase = PHRASES.get(error["type"])
    return phrase(field, value, bound) if phrase else f"{field}={value} {_expectation(error)}"


def _expectation(error: ErrorDetails) -> str:
    return error["msg"].replace("Input should", "should").replace("String should", "should")


def _path(location: Sequence[int | str]) -> str:
    """`("stop", "list[...]", 1)` is `stop[1]`: names below the first level are the arms of a union."""
    name = str(echo(str(location[0]))) if location else ""
    return name + "".join(f"[{part}]" for part in location[1:] if isinstance(part, int))


def _quoted(value: Any) -> str:
    shown = echo(value)
    return repr(shown) if isinstance(value, str) else str(shown)


def echo(value: Any) -> Echo:
    """A value to show to the client that sent it."""
    match value:
        case None | bool():
            return value
        case int():
            return value if abs(value) <= LARGEST_EXACT_INTEGER else _digits(value)
        case float():
            return value if math.isfinite(value) else str(value)
        case str():
            text = value.encode("utf-8", "replace").decode()
            return text if len(text) <= MAX_ECHO_CHARACTERS else f"{text[:MAX_ECHO_CHARACTERS]}…"
        case list() | tuple():
            return f"a list of {len(value)}"
        case dict():
            return f"an object of {len(value)}"
        case _:
            return f"a {type(value).__name__}"


def _digits(value: int) -> str:
    # Python refuses to print integers of thousands of digits; the bit length is always to be had.
    return str(value) if value.bit_length() <= 64 else f"an integer of {value.bit_length()} bits"
