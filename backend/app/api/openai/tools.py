"""The functions that an answer may call, and the one that it has to call."""

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
    """The one function that the answer calls."""

    index: int
    """Its place among the tools."""
    name: str
    schema: dict[str, Any]
    is_named: bool
    """Whether the client has named it, and not only required a call."""


def forced_call(tools: Sequence[Tool], choice: ToolChoice | None) -> ForcedCall | None:
    """The call that is asked for; `None` where there are no tools, or none is to be called.

    Raises:
        InvalidBody: whether and what to call is left to the model, or there is no such function.
    """
    if not tools:
        if choice in (None, "none", "auto"):
            return None
        raise _wrong("tool_choice asks for a call, and tools has no function; give tools, or leave tool_choice out")
    if choice == "none":
        return None
    if isinstance(choice, NamedTool):
        return _named(tools, choice.function.name)
    if choice in ("required", "any") and len(tools) == 1:
        return _call(tools, 0, is_named=False)
    raise _wrong(_undecided(tools, choice))


def _named(tools: Sequence[Tool], name: str) -> ForcedCall:
    names = [tool.function.name for tool in tools]
    if name not in names:
        raise _wrong(f"tool_choice names {name!r}, and tools has {', '.join(names)}")
    return _call(tools, names.index(name), is_named=True)


def _call(tools: Sequence[Tool], index: int, *, is_named: bool) -> ForcedCall:
    function = tools[index].function
    schema = function.parameters
    if schema is None:
        schema = {"type": "object", "properties": {}, "additionalProperties": False}
    if schema.get("type", "object") != "object":
        field = f"tools[{index}].function.parameters"
        message = f"{field} has the type {schema['type']!r}; arguments are an object, so give 'object'"
        raise InvalidBody([FieldError(field=field, message=message)])
    if not _SAYS_ITS_TYPE & schema.keys():
        schema = {"type": "object", **schema}  # arguments are an object, whatever else is said of them
    return ForcedCall(index, function.name, schema, is_named)


def _undecided(tools: Sequence[Tool], choice: ToolChoice | None) -> str:
    way_out = f'name the function, as in {{"type": "function", "function": {{"name": "{tools[0].function.name}"}}}}'
    if choice in ("required", "any"):
        return f"tool_choice {choice!r} leaves open which of {len(tools)} tools is called; {way_out}"
    given = "tool_choice is missing, which leaves" if choice is None else "tool_choice 'auto' leaves"
    return f"{given} it to the model whether a tool is called, which this server does not do; {way_out}, or say 'none'"


def _wrong(message: str) -> InvalidBody:
    return InvalidBody([FieldError(field="tool_choice", message=message)])
