"""Text or JSON, as clients send states, questions and options."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict
from pydantic_core import PydanticCustomError

from app.api.wire.json_encoding import json_bytes

Content = str | dict[str, Any] | list[Any]
"""A text, or JSON that stands for its text."""


def in_place(complaint: str) -> PydanticCustomError:
    """A complaint about a value that is reported behind its path."""
    return PydanticCustomError("in_place", "{complaint}", {"complaint": complaint})


class Strict(BaseModel):
    """A part of a body whose fields are all known."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=())


def written(content: Content | None) -> str:
    """The content as text; of JSON the shortest."""
    if content is None or isinstance(content, str):
        return content or ""
    return json_bytes(content).decode()


def option(name: str, description: str) -> str:
    """The text of an option, for the model to read."""
    return f"{name} - {description}" if description else name


def _not_blank(content: Content) -> Content:
    if not content or (isinstance(content, str) and not content.strip()):
        raise in_place("says nothing; write something")
    return content


Needed = Annotated[Content, AfterValidator(_not_blank)]
"""Content that says something."""

CONFIDENCE = "0 where all options are equally probable, 1 where one has all."
EXPECTED_LEVEL = "The expected level; the lowest is 0."
LABEL_MASS = "The probability that the labels of all options hold together."
