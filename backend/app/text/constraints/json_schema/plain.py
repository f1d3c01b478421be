"""Plain schemas that hold together for one value, read keyword by keyword."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from app.text.constraints.json_schema.scope import Scoped

INTEGER, FRACTION = "integer", "fraction"
"""The two halves of the type number."""
ALL = frozenset({"null", "boolean", INTEGER, FRACTION, "string", "array", "object"})


@dataclass(frozen=True)
class Bound:
    """An end of a range of numbers."""

    value: Fraction
    exclusive: bool


def values_of(together: tuple[Scoped, ...], keyword: str) -> list[Any]:
    """All values that a keyword has in the schemas."""
    return [scoped.schema[keyword] for scoped in together if keyword in scoped.schema]


def types_of(together: tuple[Scoped, ...]) -> frozenset[str]:
    """The types that all schemas allow; those of the listed values where there are any."""
    types = ALL
    for value in values_of(together, "type"):
        names = set(value) if isinstance(value, list) else {value}
        types &= names - {"number"} | ({INTEGER, FRACTION} if "number" in names else set())
    return types


def type_of(value: Any) -> str:
    """The type of a JSON value; 1.0 is an integer."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return INTEGER if value == value // 1 else FRACTION
    names: dict[type, str] = {str: "string", list: "array", dict: "object"}
    return names.get(type(value), "null")


def equal(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal: 1 and 1.0 are, 1 and true are not."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(equal(one[name], other[name]) for name in one)
    return bool(one == other) if type_of(one) == type_of(other) else False


def listed(together: tuple[Scoped, ...]) -> list[Any] | None:
    """The values that enum and const leave, of a type that is allowed; None where there is neither keyword."""
    lists = [*values_of(together, "enum"), *([value] for value in values_of(together, "const"))]
    if not lists:
        return None
    types = types_of(together)
    shared = (value for value in lists[0] if all(_among(value, rest) for rest in lists[1:]))
    return [_shortest(value) for value in shared if type_of(value) in types]


def _among(value: Any, values: list[Any]) -> bool:
    return any(equal(value, other) for other in values)


def _shortest(value: Any) -> Any:
    """A value with 1 in place of 1.0."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value


def lowest(together: tuple[Scoped, ...]) -> Bound | None:
    """The bound that minimum and exclusiveMinimum set."""
    bounds = list(_bounds(together, "minimum", "exclusiveMinimum"))
    return max(bounds, key=lambda bound: (bound.value, bound.exclusive), default=None)


def highest(together: tuple[Scoped, ...]) -> Bound | None:
    """The bound that maximum and exclusiveMaximum set."""
    bounds = list(_bounds(together, "maximum", "exclusiveMaximum"))
    return min(bounds, key=lambda bound: (bound.value, not bound.exclusive), default=None)


def _bounds(together: tuple[Scoped, ...], inclusive: str, exclusive: str) -> Iterator[Bound]:
    for keyword in (inclusive, exclusive):
        yield from (Bound(exactly(value), keyword == exclusive) for value in values_of(together, keyword))


def exactly(value: Any) -> Fraction:
    """A number as it was written; a float so large that it is whole stands for its binary value."""
    return Fraction(repr(value)) if isinstance(value, float) and abs(value) < 2**53 else Fraction(value)


def least(together: tuple[Scoped, ...], keyword: str) -> int:
    """The value of minLength or minItems."""
    return max(map(int, values_of(together, keyword)), default=0)


def most(together: tuple[Scoped, ...], keyword: str) -> int | None:
    """The value of maxLength or maxItems; None where there is none."""
    return min(map(int, values_of(together, keyword)), default=None)


def first_items(scoped: Scoped) -> tuple[str, list[Any]]:
    """The schemas of the first elements of an array, and the keyword that they stand under, which drafts name apart."""
    keyword = "items" if isinstance(scoped.schema.get("items"), list) else "prefixItems"
    return keyword, scoped.schema.get(keyword, [])


def element_of(scoped: Scoped, number: int | None) -> Scoped:
    """The schema of one element of an array, or of those behind the first ones."""
    keyword, first = first_items(scoped)
    if number is not None and number < len(first):
        return scoped.below(first[number], keyword, number)
    rest = "items" if keyword == "prefixItems" else "additionalItems"
    return scoped.below(scoped.schema.get(rest, True), rest)


def required(together: tuple[Scoped, ...]) -> list[str]:
    """The names that must be there."""
    return list(dict.fromkeys(name for names in values_of(together, "required") for name in names))


def names_of(together: tuple[Scoped, ...]) -> list[str]:
    """The names that are written: those of properties, in their order, then those that are required besides."""
    named = (name for properties in values_of(together, "properties") for name in properties)
    return list(dict.fromkeys([*named, *required(together)]))


def property_of(together: tuple[Scoped, ...], name: str) -> tuple[Scoped, ...]:
    """The schemas of one property."""
    return tuple(_property(scoped, name) for scoped in together)


def _property(scoped: Scoped, name: str) -> Scoped:
    if name in scoped.schema.get("properties", {}):
        return scoped.below(scoped.schema["properties"][name], "properties", name)
    if "patternProperties" in scoped.schema:
        return scoped.below(True, "patternProperties")  # one of them may match
    return scoped.below(scoped.schema.get("additionalProperties", True), "additionalProperties")
