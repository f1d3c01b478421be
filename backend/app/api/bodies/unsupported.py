"""Request fields that other servers have and this one cannot serve, or need not, and fields that ask for nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from types import MappingProxyType
from typing import Any, get_args

from pydantic import BaseModel, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from app.core.complaints import MAX_COMPLAINTS

_JSON_TYPES = {bool: "boolean", int: "number", str: "string", list: "array", dict: "object"}

FIRST_ONLY = Field(fail_fast=True)
"""Makes a list complain of its first wrong item only: a body has room for half a million of them."""

EMPTY: tuple[Any, ...] = ("", [], {})

NEUTRAL: Mapping[str, tuple[Any, ...]] = MappingProxyType(
    {
        "add_generation_prompt": (True,),
        "audio": (),
        "background": (False,),
        "bad_words": (),
        "banned_strings": (),
        "banned_tokens": (),
        "best_of": (1,),
        "chat_template": (),
        "chat_template_kwargs": ({"enable_thinking": False},),
        "continue_final_message": (False,),
        "dry_multiplier": (0,),
        "dynatemp_range": (0,),
        "early_stopping": (False,),
        "ebnf": (),
        "echo": (False,),
        "enable_thinking": (False,),
        "epsilon_cutoff": (0,),
        "eta_cutoff": (0,),
        "format": (),
        "frequency_penalty": (0,),
        "function_call": ("none", "auto"),
        "functions": (),
        "grammar": (),
        "guided_choice": (),
        "guided_grammar": (),
        "guided_json": (),
        "guided_regex": (),
        "ignore_eos": (False,),
        "images": (),
        "include_stop_str_in_output": (False,),
        "json_schema": (),
        "length_penalty": (1,),
        "logit_bias": (),
        "logprobs": (False,),
        "lora": (),
        "min_keep": (0,),
        "min_p": (0,),
        "min_tokens": (0,),
        "mirostat": (0,),
        "mirostat_mode": (0,),
        "modalities": (["text"],),
        "moderation": (),
        "n": (1,),
        "n_keep": (0,),
        "n_probs": (0,),
        "no_repeat_ngram_size": (0,),
        "num_beams": (1,),
        "options": (),
        "penalize_nl": (False,),
        "penalty_alpha": (0,),
        "plugins": (),
        "post_sampling_probs": (False,),
        "prediction": (),
        "presence_penalty": (0,),
        "raw": (False,),
        "reasoning": (),
        "reasoning_effort": ("none",),
        "refusal": (),
        "regex": (),
        "repeat_penalty": (1,),
        "response_format": ({"type": "text"},),
        "return_progress": (False,),
        "return_token_ids": (False,),
        "return_tokens": (False,),
        "return_tokens_as_token_ids": (False,),
        "safe_prompt": (False,),
        "skip_special_tokens": (True,),
        "spaces_between_special_tokens": (True,),
        "stop_token_ids": (),
        "store": (False,),
        "structural_tag": (),
        "structured_outputs": (),
        "suffix": (),
        "system": (),
        "template": (),
        "tfs": (1,),
        "tfs_z": (1,),
        "think": (False,),
        "thinking": (),
        "timings_per_token": (False,),
        "tool_calls": (),
        "tool_choice": ("none", "auto"),
        "tools": (),
        "top_a": (0,),
        "top_logprobs": (0,),
        "top_n_sigma": (-1, 0),
        "typ_p": (1,),
        "typical": (1,),
        "typical_p": (1,),
        "use_beam_search": (False,),
        "verbosity": ("medium",),
        "web_search_options": (),
        "xtc_probability": (0,),
    }
)
"""Fields of other servers, with the values by which they ask for what happens without them, here too. Empty values and
`null` ask for nothing either."""

NO_EFFECT = frozenset(
    {"keep_alive", "metadata", "prompt_cache_key", "request_id", "service_tier", "session_id", "user"}
)
"""Fields that have no effect on the answer here."""


def asks_for_nothing(name: str, value: Any) -> bool:
    """Whether a field that is not read can be passed over, since an answer with it would be the same."""
    is_neutral = name in NEUTRAL and _is_one_of(value, (*NEUTRAL[name], *EMPTY))
    return value is None or name in NO_EFFECT or is_neutral


def without_nothing(content: Mapping[str, Any], known: Mapping[str, FieldInfo]) -> dict[str, Any]:
    """An object without the members that ask for nothing, and with no more unknown ones than are complained of.

    Args:
        known: the fields that are read. For them only `null` and an empty text ask for nothing, and only where they may
            be left out.
    """
    asked = {name: value for name, value in content.items() if name in known and not _is_left_out(value, known[name])}
    unknown = ((name, value) for name, value in content.items() if name not in known)
    asking = ((name, value) for name, value in unknown if not asks_for_nothing(name, value))
    return asked | dict(islice(asking, MAX_COMPLAINTS))


def _is_left_out(value: Any, field: FieldInfo) -> bool:
    is_nothing = value is None or (value == "" and _admits_text(field.annotation))
    return is_nothing and not field.is_required()


def _admits_text(annotation: Any) -> bool:
    return annotation is str or isinstance(annotation, str) or any(map(_admits_text, get_args(annotation)))


def _is_one_of(value: Any, values: tuple[Any, ...]) -> bool:
    # In JSON `false` is no 0.
    return any(value == each and isinstance(value, bool) == isinstance(each, bool) for each in values)


def described_leniently(schema: dict[str, Any]) -> dict[str, Any]:
    """The JSON schema of an object that is read through `without_nothing`."""
    required = schema.get("required", ())
    for name, field in schema.get("properties", {}).items():
        if name not in required:
            schema["properties"][name] = _with_nothing(field)
    if schema.get("additionalProperties") is False:
        schema["additionalProperties"] = {"type": "null"}
    return schema


_ABOUT = ("default", "description", "title")
"""Members of a schema that are about a field as a whole, and not about the kinds of its values."""


def _with_nothing(field: dict[str, Any]) -> dict[str, Any]:
    values: list[dict[str, Any]] = field.get("anyOf") or [{k: v for k, v in field.items() if k not in _ABOUT}]
    nothing: list[dict[str, Any]] = []
    if {} not in values and not any(_admits(None, value) for value in values):
        nothing.append({"type": "null"})
    if any(value.get("type") == "string" for value in values) and not any(_admits("", value) for value in values):
        nothing.append({"type": "string", "maxLength": 0})
    about = {key: field[key] for key in _ABOUT if key in field}
    return {"anyOf": [*values, *nothing], **about} if nothing else field


def _admits(nothing: str | None, schema: dict[str, Any]) -> bool:
    if "enum" in schema:
        return nothing in schema["enum"]
    kind = "null" if nothing is None else "string"
    return kind in schema.get("type", ()) and not schema.get("minLength")


class AsksForNothing(BaseModel):
    """A body, or a part of one, in which fields that ask for nothing are passed over."""

    @model_validator(mode="before")
    @classmethod
    def _pass_over(cls, content: Any) -> Any:
        return without_nothing(content, cls.model_fields) if isinstance(content, dict) else content

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return described_leniently(handler.resolve_ref_schema(handler(schema)))


@dataclass(frozen=True, slots=True, eq=False)
class Only:
    """A field that may be absent or null, or have a value that asks for nothing; another one is refused by name.

    No two are equal, since `typing` takes `Annotated` types with equal metadata for one, and 0 equals `False`.
    """

    neutral: tuple[Any, ...] = ()

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self._check)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        types = sorted({"null", *(_JSON_TYPES[type(value)] for value in self.neutral)})
        return {"type": types, "enum": [None, *self.neutral], "description": "Accepted where it asks for nothing."}

    def _check(self, value: Any) -> None:
        if value is not None and not _is_one_of(value, self.neutral):
            raise PydanticCustomError("unsupported", "is not supported; leave it out")


def unsupported(name: str) -> Only:
    """The type of a field that this server does not support, which may still ask for nothing."""
    return Only((*NEUTRAL[name], *EMPTY))


@dataclass(frozen=True, slots=True)
class Ignored:
    """A field without effect on the answer, whatever its value."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.any_schema()

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"description": "Accepted; without effect on the answer."}
