"""The rules file of the content filter: read, checked and compiled, with errors that name file, line and rule.

    [[rule]]
    name = "project names"            # clients and the metrics name it
    terms = ["Osiris", "Anubis two"]  # or pattern = '\\b\\d{3}-\\d{4}\\b', in the syntax of RE2
    action = "mask"                   # or "refuse", the default
    mask = "*"                        # one character for each of the match; a longer text once for all of it
    applies_to = ["output"]           # default: input and output
    ignore_case = true                # the default
    whole_words = true                # the default for terms; false for a pattern
    max_length = 200                  # characters; longer matches do not count

Only name, and either terms or pattern, must be there.
"""

from __future__ import annotations

import re
import reprlib
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self, TypedDict

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from app.services.diffusion.errors import InvalidParameters
from app.text.errors import PatternError
from app.text.pattern import DEFAULT_MAX_LENGTH, Pattern, pattern_of_expression, patterns_of_terms

MAX_FILE_BYTES = 262_144
MAX_RULES = 200
MAX_MESSAGE_CHARACTERS = 400

Direction = Literal["input", "output"]
Action = Literal["refuse", "mask"]
Term = Annotated[str, Field(min_length=1, max_length=100)]

_HEADER = re.compile(r"^[ \t]*\[\[[ \t]*rule[ \t]*\]\]", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Rule:
    """A pattern that is forbidden, where, and what happens then."""

    name: str
    patterns: Sequence[Pattern]
    applies_to: Sequence[Direction]
    action: Action
    mask: str


class FilterHit(NamedTuple):
    """A rule of the content filter has matched; the rule's name, never the text."""

    rule: str
    direction: str
    action: str


class _Options(TypedDict):
    ignore_case: bool
    whole_words: bool
    max_length: int


class RuleEntry(BaseModel):
    """One `[[rule]]` of the file."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str = Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]*$")
    terms: list[Term] | None = Field(None, min_length=1)
    pattern: str | None = None
    applies_to: list[Direction] = Field(["input", "output"], min_length=1)
    action: Action = "refuse"
    mask: str = Field("*", min_length=1, max_length=32)
    ignore_case: bool = True
    whole_words: bool | None = None
    max_length: int = Field(DEFAULT_MAX_LENGTH, ge=1, le=1_000)

    @model_validator(mode="after")
    def _looks_for_something(self) -> Self:
        if (self.terms is None) == (self.pattern is None):
            raise ValueError("give either terms or a pattern")
        return self

    def compiled(self) -> Rule:
        """Raises PatternError."""
        return Rule(self.name, self._patterns(), tuple(self.applies_to), self.action, self.mask)

    def _patterns(self) -> list[Pattern]:
        is_whole_words = self.pattern is None if self.whole_words is None else self.whole_words
        options = _Options(ignore_case=self.ignore_case, whole_words=is_whole_words, max_length=self.max_length)
        if self.pattern is not None:
            return [pattern_of_expression(self.pattern, **options)]
        return patterns_of_terms(self.terms or (), **options)


def read_rules(path: str) -> list[Rule]:
    """The rules of a file. Reads and compiles, which may take a second for thousands of terms: not for the event loop.

    Raises:
        InvalidParameters: the file cannot be read, or something in it is wrong; one line says where.
    """
    try:
        return _rules(_text_of(Path(path)))
    except (_Complaint, tomllib.TOMLDecodeError) as complaint:
        message = " ".join(f"content_filter: {path}: {complaint}".split())
        raise InvalidParameters(message[:MAX_MESSAGE_CHARACTERS], field="content_filter") from None


class _Complaint(Exception):
    """A description of what is wrong with the file."""


def _text_of(path: Path) -> str:
    try:
        if not path.is_file():
            raise _Complaint("there is no such file, or it is not a regular one")
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        raise _Complaint(f"it cannot be read: {error}") from None
    if len(data) > MAX_FILE_BYTES:
        raise _Complaint(f"it has more than {MAX_FILE_BYTES} bytes, the largest size; leave something out")
    try:
        return data.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _Complaint(f"line {line}: it is not UTF-8") from None


def _rules(text: str) -> list[Rule]:
    entries = _entries(text)
    rules = [_rule(entry, _place(number, text, entry)) for number, entry in enumerate(entries, 1)]
    names = [rule.name for rule in rules]
    for number, name in enumerate(names, 1):
        if name in names[: number - 1]:
            raise _Complaint(f"{_place(number, text, {'name': name})}: an earlier rule has this name; choose another")
    return rules


def _entries(text: str) -> list[Any]:
    try:
        file = tomllib.loads(text)
    except RecursionError:
        raise _Complaint("it is nested too deep; it holds [[rule]] tables") from None
    for name in file.keys() - {"rule"}:
        raise _Complaint(f"{name!r} is unknown; it holds [[rule]] tables and nothing else")
    entries = file.get("rule")
    if not isinstance(entries, list) or not entries:
        raise _Complaint("it has no [[rule]] table; an empty setting switches the filter off")
    if len(entries) > MAX_RULES:
        raise _Complaint(f"it has {len(entries)} rules, more than {MAX_RULES}; put terms of a kind into one rule")
    return entries


def _place(number: int, text: str, entry: Any) -> str:
    """The rule's place and name, for a reader of the file."""
    headers = list(_HEADER.finditer(text))
    line = f"line {text.count(chr(10), 0, headers[number - 1].end()) + 1}: " if number <= len(headers) else ""
    name = entry.get("name") if isinstance(entry, dict) else None
    return f"{line}rule {number}" + (f" ({reprlib.repr(name)})" if name else "")


def _rule(entry: Any, place: str) -> Rule:
    try:
        return RuleEntry.model_validate(entry).compiled()
    except PatternError as error:
        field = "pattern" if "pattern" in entry else "terms"
        raise _Complaint(f"{place}: {field}: {error}") from None
    except ValidationError as error:
        raise _Complaint(f"{place}: {_first_complaint(error)}") from None


def _first_complaint(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    field = ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        return f"unknown key {field!r}; known are {', '.join(RuleEntry.model_fields)}"
    if first["type"] == "missing":
        return f"{field} is missing"
    if first["type"] == "model_type":
        return "it is no table"
    if not field:
        return first["msg"].removeprefix("Value error, ")
    message = re.sub(r"^\w+ should", "should", first["msg"])
    return f"{field}={reprlib.repr(first['input'])} {message}"
