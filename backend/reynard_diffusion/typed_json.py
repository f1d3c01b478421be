"""Reads JSON as the frozen dataclasses of this package, by the types of their fields."""

from __future__ import annotations

from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Any, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")


def typed(kind: type[T], value: object) -> T:
    """The value as a `kind`. Fields that a newer server adds are left out, and absent ones get their defaults.

    Raises:
        ValueError: a field without a default is absent, or a value is of another type; the message names its place.
    """
    return cast("T", _read(kind, value, kind.__name__))


def _read(kind: Any, value: Any, place: str) -> Any:
    if is_dataclass(kind):
        return _instance(kind, value, place)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is UnionType:
        return None if value is None else _read(arguments[0], value, place)
    if origin is list and isinstance(value, list):
        return [_read(arguments[0], each, f"{place}[{index}]") for index, each in enumerate(value)]
    if origin is dict and isinstance(value, dict):
        return {name: _read(arguments[1], each, f"{place}.{name}") for name, each in value.items()}
    if not _fits(kind, value):
        raise ValueError(f"{place} is {value!r:.100}, not {_name(kind)}")
    return value


def _instance(kind: Any, value: Any, place: str) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"{place} is {value!r:.100}, not an object")
    if absent := [name for name, (_, is_required) in _fields(kind).items() if is_required and name not in value]:
        raise ValueError(f"{place} has no {absent[0]}")
    known = {name: each for name, (each, _) in _fields(kind).items() if name in value}
    return kind(**{name: _read(each, value[name], f"{place}.{name}") for name, each in known.items()})


def _fits(kind: Any, value: Any) -> bool:
    """Whether a value that has no parts is of a type. JSON may write a float as an integer, and true is no number."""
    if kind is Any:
        return True
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    return type(value) is kind or (kind is float and type(value) is int)


def _name(kind: Any) -> str:
    return kind.__name__ if type(kind) is type else str(kind).removeprefix("typing.")


@cache
def _fields(kind: Any) -> dict[str, tuple[Any, bool]]:
    """The type of each field of a dataclass, and whether it is required."""
    hints = get_type_hints(kind)
    return {field.name: (hints[field.name], _is_required(field)) for field in fields(kind)}


def _is_required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING
