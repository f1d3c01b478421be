"""The functions that an answer may call, and the call that it has to be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.api.errors.problem import FieldError
from app.api.errors.table import InvalidBody

MAX_TOOLS = 128
MAX_NAME_CHARACTERS = 64

_SAYS_ITS_TYPE = frozenset({"type", "$ref", "allOf", "anyOf", "oneOf"})
_NAMED = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
"""Keywords whose values are schemas by name."""
_LITERAL = frozenset({"const", "enum", "default", "examples", "example"})
"""Keywords whose values are no schemas."""


class FunctionDefinition(BaseModel):
    """A function, and the schema of its arguments."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str = Field(min_length=1, max_length=MAX_NAME_CHARACTERS)
    description: str | None = None
    parameters: dict[str, Any] | None = Field(
        None, description="The JSON schema of its arguments; without one there are none."
    )
    strict: bool | None = Field(None, description="Arguments are always valid by the schema.")


class Tool(BaseModel):
    """A function that an answer may call."""

    model_config = ConfigDict(extra="forbid", strict=True)

    type: Literal["function"]
    function: FunctionDefinition


class FunctionName(BaseModel):
    """A function by its name alone."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str


class NamedTool(BaseModel):
    """A choice of one function by its name."""

    model_config = ConfigDict(extra="forbid", strict=True)

    type: Literal["function"]
    function: FunctionName


ToolChoice = Literal["none", "auto", "required", "any"] | NamedTool
"""The function that is called; `any` is Mistral's word for `required`."""


@dataclass(frozen=True, slots=True)
class ForcedCall:
    """The call that the answer is."""

    function: str | None
    """The function's name; `None`: the model chooses one, and the answer's text names it."""
    schema: dict[str, Any]
    """The schema of its arguments, or that of a call in words."""
    field: str
    """The client's name of the schema."""
    is_named: bool
    """Whether the client has named it, and not only required a call."""


def forced_call(tools: Sequence[Tool], choice: ToolChoice | None) -> ForcedCall | None:
    """The call that is asked for; `None` where there are no tools, or none is to be called.

    Raises:
        InvalidBody: whether to call is left to the model, or there is no such function.
    """
    if not tools:
        if choice in (None, "none", "auto"):
            return None
        raise _wrong("tool_choice asks for a call, and tools has no function; give tools, or leave tool_choice out")
    if choice == "none":
        return None
    if isinstance(choice, NamedTool):
        return _call(tools, _place_of(choice.function.name, tools), is_named=True)
    if choice in ("required", "any"):
        return _call(tools, 0, is_named=False) if len(tools) == 1 else _any_call(tools)
    raise _wrong(_undecided(tools, choice))


def _place_of(name: str, tools: Sequence[Tool]) -> int:
    names = [tool.function.name for tool in tools]
    if name not in names:
        raise _wrong(f"tool_choice names {name!r}, and tools has {', '.join(names)}")
    return names.index(name)


def _call(tools: Sequence[Tool], index: int, *, is_named: bool) -> ForcedCall:
    return ForcedCall(tools[index].function.name, _arguments(tools, index), _field(index), is_named)


def _any_call(tools: Sequence[Tool]) -> ForcedCall:
    """A call of any of the functions: the answer is `{"name": …, "arguments": …}`, as earlier calls are shown."""
    calls = [
        {
            "type": "object",
            "properties": {"name": {"const": tool.function.name}, "arguments": {"$ref": f"#/$defs/{index}"}},
            "required": ["name", "arguments"],
        }
        for index, tool in enumerate(tools)
    ]
    arguments = {str(index): _part(_arguments(tools, index), f"#/$defs/{index}") for index in range(len(tools))}
    return ForcedCall(None, {"anyOf": calls, "$defs": arguments}, "tools", is_named=False)


def _part(schema: dict[str, Any], place: str) -> Any:
    """A schema as a part of a larger one, without what is said of a whole document alone."""
    return moved({key: value for key, value in schema.items() if key not in {"$schema", "$id"}}, place)


def moved(schema: Any, place: str) -> Any:
    """The schema, for where it stands at another place of a larger one: references to its own root lead there.

    Args:
        place: its place, such as `#/$defs/0`.
    """
    if isinstance(schema, list):
        return [moved(each, place) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {key: _moved_value(key, value, place) for key, value in schema.items()}


def _moved_value(key: str, value: Any, place: str) -> Any:
    if key == "$ref" and isinstance(value, str) and value.startswith("#"):
        return place + value.removeprefix("#")
    if key in _NAMED and isinstance(value, dict):  # its keys are names, also one that reads like a keyword
        return {name: moved(each, place) for name, each in value.items()}
    return value if key in _LITERAL else moved(value, place)


def _arguments(tools: Sequence[Tool], index: int) -> dict[str, Any]:
    schema = tools[index].function.parameters
    if schema is None:
        return {"type": "object", "properties": {}, "additionalProperties": False}
    if schema.get("type", "object") != "object":
        message = f"{_field(index)} has the type {schema['type']!r}; arguments are an object, so give 'object'"
        raise InvalidBody([FieldError(field=_field(index), message=message)])
    if not _SAYS_ITS_TYPE & schema.keys():
        return {"type": "object", **schema}  # arguments are an object, whatever else is said of them
    return schema


def _field(index: int) -> str:
    return f"tools[{index}].function.parameters"


def _undecided(tools: Sequence[Tool], choice: ToolChoice | None) -> str:
    name = tools[0].function.name
    way_out = f'name the function, as in {{"type": "function", "function": {{"name": "{name}"}}}}'
    given = "tool_choice is missing, which leaves" if choice is None else "tool_choice 'auto' leaves"
    return (
        f"{given} it to the model whether a tool is called, which this server does not do; {way_out}, or say "
        "'required' or 'none'"
    )


def _wrong(message: str) -> InvalidBody:
    return InvalidBody([FieldError(field="tool_choice", message=message)])
