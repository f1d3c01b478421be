"""Constraints in the words of OpenAI's API, and of those servers that speak it: vLLM's, SGLang's, llama.cpp's."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from app.api.bodies.unsupported import AsksForNothing, Ignored, unsupported
from app.api.errors.problem import FieldError
from app.api.errors.table import InvalidBody
from app.services.diffusion.constraint import MAX_CHOICES, MAX_SCHEMA_BYTES

Schema = dict[str, Any] | bool
SchemaOrText = dict[str, Any] | bool | Annotated[str, Field(max_length=MAX_SCHEMA_BYTES)]
"""A JSON schema; clients of vLLM and SGLang may send it as text too."""

ANY_OBJECT: Mapping[str, Any] = {"type": "object"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """A constraint that a request asks for."""

    constraint: Mapping[str, Any]
    """The service's `constraint`."""
    names: Mapping[str, str] = field(default_factory=dict)
    """The client's names of its fields."""

    @classmethod
    def of(cls, kind: str, value: Any, *, name: str, inner: str | None = None) -> Wanted:
        """One that the client knows by the path `name`, and its value by `inner`."""
        return cls({kind: value}, {"constraint": name, f"constraint.{kind}": inner or name})


class NamedSchema(BaseModel):
    """A schema with a name, which has no effect here."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Annotated[Any, Ignored()] = None
    description: Annotated[Any, Ignored()] = None
    schema_: Schema = Field(alias="schema")
    strict: bool | None = Field(None, description="Answers are always valid by the schema.")


class ResponseFormat(BaseModel):
    """The form of an answer: any text, any JSON object, or JSON that is valid by a schema."""

    model_config = ConfigDict(extra="forbid", strict=True)

    type: Literal["text", "json_object", "json_schema"]
    json_schema: NamedSchema | None = None
    schema_: Schema | None = Field(
        None, alias="schema", description="With `json_object`, as llama.cpp's server has it."
    )
    value: Schema | None = Field(None, description="The same, as huggingface_hub sends it.")

    @model_validator(mode="after")
    def _has_a_schema_or_none(self) -> Self:
        if (self.json_schema is not None) != (self.type == "json_schema"):
            rule = "json_schema goes with type 'json_schema', and only with that"
            raise ValueError(f"response_format has type {self.type!r}; {rule}")
        names = " and ".join(self._bare)
        if names and self.type != "json_object":
            raise ValueError(f"response_format has type {self.type!r}; {names} goes with type 'json_object' alone")
        if len(self._bare) > 1:
            raise ValueError("response_format has schema and value, which mean the same; leave one of them out")
        return self

    @property
    def _bare(self) -> dict[str, Schema]:
        """The schema that stands beside the type, by the name of its field."""
        given = {"schema": self.schema_, "value": self.value}
        return {name: schema for name, schema in given.items() if schema is not None}

    def wanted(self) -> Iterator[Wanted]:
        for name, schema in self._bare.items():
            of_object = dict(ANY_OBJECT) if schema in ({}, True) else schema
            yield Wanted.of("json_schema", of_object, name="response_format", inner=f"response_format.{name}")
        if self.type == "json_object" and not self._bare:
            yield Wanted.of("json_schema", dict(ANY_OBJECT), name="response_format")
        elif self.json_schema is not None:
            inner = "response_format.json_schema.schema"
            yield Wanted.of("json_schema", self.json_schema.schema_, name="response_format", inner=inner)


class StructuredOutputs(AsksForNothing):
    """vLLM's constraints in one field."""

    model_config = ConfigDict(extra="forbid", strict=True)

    json_: SchemaOrText | None = Field(None, alias="json", description="A JSON schema, also as text.")
    regex: str | None = None
    choice: list[str] | None = Field(None, max_length=MAX_CHOICES)
    json_object: bool | None = Field(None, description="True: any JSON object.")
    grammar: Annotated[Any, unsupported("grammar")] = None
    structural_tag: Annotated[Any, unsupported("structural_tag")] = None

    def wanted(self) -> Iterator[Wanted]:
        name = "structured_outputs"
        if self.json_ is not None:
            yield Wanted.of("json_schema", parsed(self.json_, f"{name}.json"), name=f"{name}.json")
        if self.regex is not None:
            yield Wanted.of("regex", self.regex, name=f"{name}.regex")
        if self.choice is not None:
            yield Wanted.of("choices", self.choice, name=f"{name}.choice")
        if self.json_object:
            yield Wanted.of("json_schema", dict(ANY_OBJECT), name=f"{name}.json_object")


class Constrained(BaseModel):
    """The fields by which a request may constrain its answers."""

    response_format: ResponseFormat | None = None
    guided_json: SchemaOrText | None = Field(None, description="vLLM's: a JSON schema, also as text.")
    guided_regex: str | None = Field(None, description="vLLM's: a regular expression.")
    guided_choice: list[str] | None = Field(None, max_length=MAX_CHOICES, description="vLLM's: texts to choose from.")
    guided_grammar: Annotated[Any, unsupported("guided_grammar")] = None
    structured_outputs: StructuredOutputs | None = Field(None, description="vLLM's newer form of the same.")
    json_schema: SchemaOrText | None = Field(None, description="llama.cpp's and SGLang's: a JSON schema, also as text.")
    regex: str | None = Field(None, description="SGLang's: a regular expression.")
    ebnf: Annotated[Any, unsupported("ebnf")] = None
    grammar: Annotated[Any, unsupported("grammar")] = None

    @field_validator("guided_choice")
    @classmethod
    def _are_some(cls, choices: list[str] | None) -> list[str] | None:
        return choices or None

    def wanted(self) -> Iterator[Wanted]:
        """The constraints that are asked for; raises InvalidBody for a schema that is no JSON."""
        if self.response_format is not None:
            yield from self.response_format.wanted()
        if self.guided_json is not None:
            yield Wanted.of("json_schema", parsed(self.guided_json, "guided_json"), name="guided_json")
        if self.guided_regex is not None:
            yield Wanted.of("regex", self.guided_regex, name="guided_regex")
        if self.guided_choice is not None:
            yield Wanted.of("choices", self.guided_choice, name="guided_choice")
        if self.structured_outputs is not None:
            yield from self.structured_outputs.wanted()
        if self.json_schema is not None:
            yield Wanted.of("json_schema", parsed(self.json_schema, "json_schema"), name="json_schema")
        if self.regex is not None:
            yield Wanted.of("regex", self.regex, name="regex")

    @cached_property
    def one_wanted(self) -> Wanted | None:
        """The constraint that is asked for. Raises InvalidBody where there are two."""
        wanted = list(self.wanted())
        if len(wanted) > 1:
            names = [each.names["constraint"] for each in wanted]
            message = (
                f"{' and '.join(names)} are {len(names)} constraints, and an answer obeys one; leave the others out"
            )
            raise InvalidBody([FieldError(field=names[-1], message=message)])
        return wanted[0] if wanted else None


def parsed(schema: SchemaOrText, name: str) -> Any:
    """The schema, out of its text where it is one. Raises InvalidBody where that is no JSON."""
    if not isinstance(schema, str):
        return schema
    try:
        return json.loads(schema)
    except (ValueError, RecursionError) as error:
        raise InvalidBody([FieldError(field=name, message=f"{name} is no JSON: {error}")]) from None
