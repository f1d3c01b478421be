"""JSON arrays and objects around languages of their parts; one space may stand behind a comma and a colon."""

from __future__ import annotations

from collections.abc import Sequence

from app.text.constraints.json_schema.strings import free_string, written
from app.text.constraints.language import (
    EMPTY,
    NEVER,
    Language,
    Members,
    choice,
    optional,
    repeat,
    sequence,
    text,
)

SPACE = optional(text(" "))
COMMA = sequence(text(","), SPACE)
COLON = sequence(text(":"), SPACE)
FREE_NAME = free_string()


def array(first: Sequence[Language], rest: Language, low: int, high: int | None) -> Language:
    """The arrays with these first elements (fewer may be there) and the rest behind them, from low to high elements."""
    if high is not None and low > high:
        return NEVER
    first = first if high is None else first[:high]
    count = len(first)
    more = None if high is None else high - count
    separated = sequence(COMMA, rest) if count else rest
    elements = repeat(separated, max(low - count, 0), more, EMPTY if count else COMMA)
    for number in reversed(range(count)):
        here = sequence(COMMA if number else EMPTY, first[number], elements)
        elements = here if number < low else optional(here)
    return sequence(text("["), elements, text("]"))


def members(parts: Sequence[tuple[str, Language, bool]]) -> Language:
    """The objects with these properties (name, value, required) in their order, and no others."""
    if any(required and value == NEVER for _, value, required in parts):
        return NEVER
    shown = tuple((named(name, value), required) for name, value, required in parts if value != NEVER)
    return sequence(text("{"), Members(shown, COMMA), text("}"))


def named(name: str, value: Language) -> Language:
    """A property."""
    return sequence(text(written(name)), COLON, value)


def free_object(value: Language) -> Language:
    """The objects with any names, whose values are of one language."""
    return sequence(text("{"), repeat(sequence(FREE_NAME, COLON, value), 0, None, COMMA), text("}"))


def free_value(depth: int, scalar: Language) -> Language:
    """Any value that has at most a number of levels of arrays and objects."""
    value = scalar
    for _ in range(depth):
        value = choice([scalar, array([], value, 0, None), free_object(value)])
    return value
