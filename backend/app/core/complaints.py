"""Rewrites Pydantic's errors in plain words: the path of the value, the value and what is allowed.

Messages are short, and always encodable.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from pydantic_core import ErrorDetails

MAX_COMPLAINTS = 20
MAX_ECHO_CHARACTERS = 60
LARGEST_EXACT_INTEGER = 2**53
"""The largest integer up to which all survive a client that reads JSON numbers as doubles."""

Echo: TypeAlias = bool | int | float | str | None
Path: TypeAlias = tuple[str | int, ...]
Located: TypeAlias = tuple[Path, ErrorDetails]

# Per type of complaint, the message: from the path of the value, the value in quotes and the context of the bound.
PHRASES: dict[str, Callable[[str, str, dict[str, Any]], str]] = {
    "missing": lambda path, value, bound: f"{path} is missing",
    "extra_forbidden": lambda path, value, bound: f"unknown field {path!r}",
    "less_than_equal": lambda path, value, bound: f"{path}={value} is above the maximum of {_number(bound['le'])}",
    "greater_than_equal": lambda path, value, bound: f"{path}={value} is below the minimum of {_number(bound['ge'])}",
    "greater_than": lambda path, value, bound: f"{path}={value} must be above {_number(bound['gt'])}",
    "less_than": lambda path, value, bound: f"{path}={value} must be below {_number(bound['lt'])}",
    "string_too_short": lambda path, value, bound: f"{path} is empty; at least 1 character is needed",
    "too_short": lambda path, value, bound: _too_few(path, bound["actual_length"], bound["min_length"]),
    "value_error": lambda path, value, bound: _in_full(path, str(bound["error"])),
    "union_tag_invalid": lambda path, value, bound: (
        f"{path}.type={_quoted(bound['tag'])} must be one of {bound['expected_tags']}"
    ),
    "union_tag_not_found": lambda path, value, bound: f"{path}.type is missing",
    "in_place": lambda path, value, bound: f"{path} {bound['complaint']}",
    "setting_form": lambda path, value, bound: f"{path}={value} must be {bound['form']}",
}

# Per type of complaint about the type of a value, the type that is allowed.
KINDS = {
    "string_type": "a string",
    "int_type": "an integer",
    "int_parsing": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "string_unicode": "valid Unicode",
}
_JSON_WORDS = {"True": "true", "False": "false", "None": "null"}


@dataclass(frozen=True, slots=True)
class Complaint:
    """A complaint about one value of a request."""

    path: str
    """The path of the value, such as `messages[0].content`; empty for the whole request."""
    message: str
    """The message, which names the path, the value and what is allowed."""
    value: Echo


def complaints(errors: Iterable[ErrorDetails], given: Any) -> list[Complaint]:
    """The complaints, one per path and at most `MAX_COMPLAINTS`.

    Args:
        given: the validated value; it distinguishes the names of members from those of a union's alternatives.
    """
    located = [(_path_of(error, given), error) for error in errors]
    by_path: dict[Path, list[ErrorDetails]] = {}
    for path, error in _meant(located):
        by_path.setdefault(path, []).append(error)
    return [_complaint(path, by_path[path]) for path in list(by_path)[:MAX_COMPLAINTS]]


def _meant(located: Sequence[Located]) -> Iterator[Located]:
    """The complaints that help.

    A complaint about the kind of a value does not help if another alternative of the union got further inside the
    value; and about an object with a wrong `type`, nothing but the `type` is of interest.
    """
    entered = {path[:depth] for path, _ in located for depth in range(len(path))}
    mistyped = {path[:-1] for path, error in located if path[-1:] == ("type",) and error["type"] == "literal_error"}
    for path, error in located:
        is_of_mistyped = path[-1:] != ("type",) and path[:-1] in mistyped
        if not is_of_mistyped and not (_is_about_kind(error) and path in entered):
            yield path, error


def _complaint(path: Path, alternatives: Sequence[ErrorDetails]) -> Complaint:
    past_the_kind = [error for error in alternatives if not _is_about_kind(error)]
    nearest = (past_the_kind or alternatives)[0]
    if past_the_kind:
        message = _message(_written(path), nearest)
    else:
        wanted = " or ".join(dict.fromkeys(map(_kind, alternatives)))
        message = f"{_written(path)}={_quoted(nearest['input'])} must be {wanted}"
    if not path and not past_the_kind:
        message = "the body must be a JSON object"
    return Complaint(_written(path), message, echo(nearest["input"]))


def _message(path: str, error: ErrorDetails) -> str:
    value, bound = _quoted(error["input"]), error.get("ctx", {})
    if "max_length" in bound:
        unit = "characters" if isinstance(error["input"], str) else "items"
        return f"{path} has {len(error['input'])} {unit}, more than the maximum of {bound['max_length']}"
    phrase = PHRASES.get(error["type"])
    return phrase(path, value, bound) if phrase else f"{path}={value} {error['msg']}"


def _is_about_kind(error: ErrorDetails) -> bool:
    return error["type"] in KINDS or error["type"] == "literal_error"


def _kind(error: ErrorDetails) -> str:
    if error["type"] != "literal_error":
        return KINDS[error["type"]]
    expected = str(error["ctx"]["expected"])
    return _JSON_WORDS.get(expected, expected)


def _path_of(error: ErrorDetails, given: Any) -> Path:
    """The path of the value that the error is about.

    Pydantic's location also names the alternatives of unions, and a member may have the same name as one of them; the
    right reading is the one that ends at the very value.
    """
    location = error["loc"]
    is_missing = error["type"] == "missing"
    ways = list(_readings(location[:-1] if is_missing else location, given))
    nearest = ways[0][0] or (() if is_missing else location[:1])
    path = next((path for path, value in ways if value is error["input"]), nearest)
    return (*path, location[-1]) if is_missing else path


def _readings(location: Sequence[int | str], value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    if not location:
        yield path, value
        return
    part, rest = location[0], location[1:]
    is_item = isinstance(part, int) and isinstance(value, list | tuple) and part < len(value)
    if is_item or (isinstance(value, dict) and part in value):
        yield from _readings(rest, value[part], (*path, part))
    if not is_item:
        yield from _readings(rest, value, path)


def _written(path: Path) -> str:
    """The path as text: `messages[0].content` for `("messages", 0, "content")`."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{echo(part)}" for part in path)
    return "".join(parts).removeprefix(".")


def value_at(path: str, given: Any) -> Any:
    """The value at a path as complaints write it; `None` where there is none."""
    value = given
    for part in path.replace("[", ".[").split("."):
        index = part[1:-1] if part.startswith("[") else ""
        if index.isdigit() and isinstance(value, list | tuple) and int(index) < len(value):
            value = value[int(index)]
        else:
            value = value.get(part) if isinstance(value, dict) else None
    return value


def _quoted(value: Any) -> str:
    shown = echo(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(shown) if isinstance(value, str) else str(shown)


def _in_full(path: str, message: str) -> str:
    """The message of a validator, which knows a nested field by its last name alone, with the whole path of it."""
    name = path.rpartition(".")[2]
    return path + message.removeprefix(name) if name and re.match(rf"{re.escape(name)}\b", message) else message


def _too_few(path: str, count: int, least: int) -> str:
    return (
        f"{path} has {count} items; at least {least} are needed"
        if count
        else (f"{path} is empty; at least {least} is needed")
    )


def _number(bound: float) -> str:
    return str(bound) if isinstance(bound, int) else f"{bound:g}"


def echo(value: Any) -> Echo:
    """The value, shortened to be sent back to its client."""
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
    # Python refuses to print integers of thousands of digits; the bit length is always available.
    return str(value) if value.bit_length() <= 64 else f"an integer of {value.bit_length()} bits"
