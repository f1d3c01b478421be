"""Keywords of JSON schemas: those that are honoured, those that say nothing about a value, and the form of each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from app.text.errors import ConstraintError

Schema = dict[str, Any]

TYPES = ("null", "boolean", "integer", "number", "string", "array", "object")

DOCUMENT = ("$schema", "$id", "$comment", "$defs", "definitions")
DESCRIPTION = ("title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly")
OPENAPI = ("discriminator", "example")
ANNOTATIONS = frozenset(DOCUMENT + DESCRIPTION + OPENAPI)
"""Keywords that say nothing about a value, or hold what only references reach; those that begin with x- join them."""


def _count(value: Any) -> bool:
    return _number(value) and value == int(value) and value >= 0


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) != float("inf")


def _schema(value: Any) -> bool:
    return isinstance(value, dict | bool)


def _schemas(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_schema, value))


def _properties(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_schema, value.values()))


def _type(value: Any) -> bool:
    names = value if isinstance(value, list) else [value]
    return bool(names) and all(isinstance(name, str) and name in TYPES for name in names)


def _names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _text(value: Any) -> bool:
    return isinstance(value, str)


Form = tuple[str, Callable[[Any], bool]]

COUNT: Form = ("a whole number of at least 0", _count)
NUMBER: Form = ("a number", _number)
SCHEMA: Form = ("a schema", _schema)
SCHEMAS: Form = ("a list of at least one schema", _schemas)
TEXT: Form = ("a text", _text)

HONOURED: dict[str, Form] = {
    "type": (f"one of {', '.join(TYPES)}, or a list of them", _type),
    "enum": ("a list of values", lambda value: isinstance(value, list)),
    "const": ("a value", lambda value: True),
    "allOf": SCHEMAS,
    "anyOf": SCHEMAS,
    "oneOf": SCHEMAS,
    "$ref": TEXT,
    "properties": ("an object of schemas", _properties),
    "required": ("a list of names", _names),
    "additionalProperties": SCHEMA,
    "minProperties": COUNT,
    "maxProperties": COUNT,
    "propertyNames": SCHEMA,
    "patternProperties": ("an object of schemas", _properties),
    "items": ("a schema, or a list of them as in Draft 07", lambda value: _schema(value) or _schemas(value)),
    "additionalItems": SCHEMA,
    "prefixItems": SCHEMAS,
    "minItems": COUNT,
    "maxItems": COUNT,
    "uniqueItems": ("true or false", lambda value: isinstance(value, bool)),
    "minLength": COUNT,
    "maxLength": COUNT,
    "pattern": TEXT,
    "format": TEXT,
    "contentEncoding": TEXT,
    "minimum": NUMBER,
    "maximum": NUMBER,
    "exclusiveMinimum": NUMBER,
    "exclusiveMaximum": NUMBER,
    "multipleOf": ("a number above 0", lambda value: _number(value) and value > 0),
}


def check_keywords(schema: Schema, path: str) -> None:
    """Raises ConstraintError for a keyword that is not honoured, or whose value has another form than it must have."""
    for keyword, value in schema.items():
        if keyword in ANNOTATIONS or keyword.startswith("x-"):
            continue
        if keyword not in HONOURED:
            refuse(keyword, path)
        form, holds = HONOURED[keyword]
        if not holds(value):
            raise ConstraintError(f"The schema's {keyword} at {path} must be {form}.", keyword)
    if "$id" in schema and path != "#":
        refuse("$id", path)


def refuse(keyword: str, path: str, reason: str = "is not honoured") -> NoReturn:
    """Raises ConstraintError for a keyword."""
    raise ConstraintError(f"The schema's {keyword} at {path} {reason}. Write the schema without it.", keyword)
