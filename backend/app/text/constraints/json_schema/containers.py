"""JSON arrays and objects around languages of their parts; one space may stand behind a comma and a colon."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.text.constraints.json_schema.strings import free_string, written
from app.text.constraints.language import (
    EMPTY,
    NEVER,
    Language,
    Machine,
    Members,
    choice,
    optional,
    repeat,
    sequence,
    text,
)
from app.text.constraints.limits import Budget
from app.text.constraints.operations import intersect


@dataclass(frozen=True, slots=True)
class Bounds:
    """The least and the greatest number of members, and the budget that counting them is spent from."""

    low: int
    high: int | None
    budget: Budget

    def hold_for(self, least: int, most: int) -> bool:
        """Whether all numbers of members from `least` to `most` are within the bounds."""
        return self.low <= least and (self.high is None or most <= self.high)


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


def members(parts: Sequence[tuple[str, Language, bool]], bounds: Bounds | None = None) -> Language:
    """The objects with these properties (name, value, required) in their order, and no others."""
    shown = [(named(name, value), required) for name, value, required in parts]
    return sequence(text("{"), some_of(shown, bounds), text("}"))


def some_of(parts: Sequence[tuple[Language, bool]], bounds: Bounds | None = None) -> Language:
    """Some of the parts (language, required) in their order, with commas in between; as many as the bounds say."""
    if any(required and part == NEVER for part, required in parts):
        return NEVER
    shown = tuple((part, required) for part, required in parts if part != NEVER)
    some, least, most = Members(shown, COMMA), sum(required for _, required in shown), len(shown)
    if bounds is None or bounds.hold_for(least, most):
        return some
    if bounds.low > most or (bounds.high is not None and bounds.high < max(least, bounds.low)):
        return NEVER
    counted = repeat(choice(part for part, _ in shown), bounds.low, bounds.high, COMMA)
    return Machine(intersect([some, counted], bounds.budget))


def named(name: str, value: Language) -> Language:
    """A property."""
    return sequence(text(written(name)), COLON, value)


def mapping(name: Language, value: Language, low: int = 0, high: int | None = None) -> Language:
    """The objects with names and values of one language each, from low to high of them; names may be equal."""
    return sequence(text("{"), repeat(sequence(name, COLON, value), low, high, COMMA), text("}"))


def free_value(depth: int, scalar: Language) -> Language:
    """Any value that has at most a number of levels of arrays and objects."""
    value = scalar
    for _ in range(depth):
        value = choice([scalar, array([], value, 0, None), mapping(FREE_NAME, value)])
    return value
