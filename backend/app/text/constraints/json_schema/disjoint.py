"""Proofs that two sets of plain schemas exclude each other, which oneOf needs."""

from __future__ import annotations

from collections.abc import Callable

from app.text.constraints.json_schema import plain
from app.text.constraints.json_schema.scope import Scoped

Together = tuple[Scoped, ...]
Exclude = Callable[[Together, Together], bool]


def disjoint(one: Together, other: Together, exclude: Exclude) -> bool:
    """Whether it is sure that no value satisfies both."""
    kinds = kinds_of(one) & kinds_of(other)
    return all(_PROOFS.get(kind, _no_proof)(one, other, exclude) for kind in kinds) or _values_differ(one, other)


def kinds_of(together: Together) -> frozenset[str]:
    """The types that a value may have."""
    values = plain.listed(together)
    return plain.types_of(together) if values is None else frozenset(map(plain.type_of, values))


def _no_proof(one: Together, other: Together, exclude: Exclude) -> bool:
    return False


def _values_differ(one: Together, other: Together) -> bool:
    """Whether values are listed on both sides, and no value is on both."""
    mine, theirs = plain.listed(one), plain.listed(other)
    return mine is not None and theirs is not None and not any(plain.equal(a, b) for a in mine for b in theirs)


def _numbers(one: Together, other: Together, exclude: Exclude) -> bool:
    return _below(one, other) or _below(other, one)


def _below(one: Together, other: Together) -> bool:
    """Whether all numbers of one are below those of the other."""
    end, start = plain.highest(one), plain.lowest(other)
    if end is None or start is None:
        return False
    return end.value < start.value or (end.value == start.value and (end.exclusive or start.exclusive))


def _strings(one: Together, other: Together, exclude: Exclude) -> bool:
    return _apart(one, other, "Length")


def _arrays(one: Together, other: Together, exclude: Exclude) -> bool:
    return _apart(one, other, "Items")


def _apart(one: Together, other: Together, what: str) -> bool:
    ends = [(plain.most(a, f"max{what}"), plain.least(b, f"min{what}")) for a, b in ((one, other), (other, one))]
    return any(end is not None and end < start for end, start in ends)


def _objects(one: Together, other: Together, exclude: Exclude) -> bool:
    return (
        _lacks(one, other)
        or _lacks(other, one)
        or any(
            exclude(plain.property_of(one, name), plain.property_of(other, name))
            for name in [*plain.required(one), *plain.required(other)]
        )
    )


def _lacks(one: Together, other: Together) -> bool:
    """Whether one forbids a property that the other requires."""
    return any(scoped.schema is False for name in plain.required(other) for scoped in plain.property_of(one, name))


_PROOFS: dict[str, Callable[[Together, Together, Exclude], bool]] = {
    "integer": _numbers,
    "fraction": _numbers,
    "string": _strings,
    "array": _arrays,
    "object": _objects,
}
