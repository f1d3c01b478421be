"""The requests of Ollama's clients, and what the service is asked for them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, TypeVar

from pydantic import ConfigDict, Field, ValidationError, field_validator

from app.api.bodies.names import same_as
from app.api.bodies.parts import few_parts
from app.api.bodies.unsupported import FIRST_ONLY, NEUTRAL, AsksForNothing, Ignored, unsupported
from app.api.errors.problem import FieldError
from app.api.errors.table import InvalidBody
from app.api.ollama.messages import OllamaMessage
from app.api.ollama.names import FIELDS
from app.api.ollama.options import READ, Options
from app.core.parameters import PARAMETERS, field_of
from app.services.diffusion import (
    DiffusionChatParams,
    DiffusionGenerationParams,
    DiffusionInfillingParams,
)
from app.services.diffusion.models import MAX_MESSAGES, MAX_SIDE_CHARACTERS, DiffusionPromptParams, Params

ANY_OBJECT: Mapping[str, Any] = {"type": "object"}
"""The schema behind the format `json`."""

# Clients look for "does not support tools", which are Ollama's own words, and ask again without them.
NO_TOOLS = (
    "this server does not support tools whose call is left to the model; leave tools out, give the schema of the "
    "arguments as format, or name the function as tool_choice of /v1/chat/completions"
)

LENGTHS = frozenset({"max_tokens", "max_completion_tokens", "max_output_tokens"})
"""Other APIs' names of `num_predict`: a client that sends one does not want the length of the configuration."""

NO_TIME = ("0", "0s", "0m", "0h", "0ms")

P = TypeVar("P", DiffusionGenerationParams, DiffusionInfillingParams, DiffusionChatParams)


def _checked(kind: type[P], given: dict[str, Any], names: Mapping[str, str]) -> P:
    """A request to the service. Raises InvalidBody where a value does not fit.

    Args:
        names: what the client calls the fields of it.
    """
    try:
        params: P = kind.model_validate(given)
    except ValidationError as error:
        raise InvalidBody.of(error, given, names) from None
    return params


class OllamaRequest(AsksForNothing):
    """The fields that `generate` and `chat` have in common."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)

    model: str | None = Field(
        None, max_length=200, description="Also with the tag `:latest`; default: the configured one."
    )
    stream: bool = Field(True, description="A JSON object for each piece of text; else one for all of it.")
    format: dict[str, Any] | bool | str | None = Field(
        None, description="The answer is JSON: `json` is any object, else it is valid by this schema."
    )
    options: Options = Options()
    think: bool | str | None = Field(
        None, description="True: `enable_thinking` of the model's chat template. The thoughts stay in the text."
    )
    logprobs: bool | None = None
    top_logprobs: int | None = field_of("logprobs", description="Alternatives per token; needs `logprobs`.")
    keep_alive: Annotated[Any, Ignored()] = None
    shift: Annotated[Any, Ignored()] = None
    truncate: bool | None = Field(None, description="True alone: what does not fit the context is cut.")

    @property
    def is_unloading(self) -> bool:
        """Whether the model should leave memory at once."""
        return self.keep_alive is not None and str(self.keep_alive).removesuffix(".0") in NO_TIME

    @property
    def passed_over(self) -> list[str]:
        """The names of what was sent and is not read.

        Raises:
            InvalidBody: one of them would make another answer.
        """
        names, options = list(self.model_extra or ()), list(self.options.model_extra or ())
        errors = [*_refusals(names, ""), *_refusals(options, "options.")]
        if errors:
            raise InvalidBody(errors)
        return [*names, *(f"options.{name}" for name in options)]

    @property
    def names(self) -> Mapping[str, str]:
        """The names that this request has for fields of the service's."""
        return FIELDS

    @property
    def num_cut_characters(self) -> int:
        """The number of characters that are left out, because the length of each side of a gap has a bound."""
        return 0

    @property
    @abstractmethod
    def is_empty(self) -> bool:
        """Whether there is nothing to answer: clients ask so for a model to be loaded."""

    @abstractmethod
    def params(self, model_id: str, max_length: int) -> Params:
        """The request to the service.

        Args:
            max_length: what the model can write at most.

        Raises:
            InvalidBody: a text is too long, or fields do not go together.
        """

    def _given(self, model_id: str, max_length: int) -> dict[str, Any]:
        given = {"model_id": model_id, **self.options.given(max_length)}
        if self.logprobs:
            given["logprobs"] = self.top_logprobs or 0
        if self.format not in (None, ""):
            given["constraint"] = {"json_schema": dict(ANY_OBJECT) if self.format == "json" else self.format}
        return given

    @property
    def _template_options(self) -> dict[str, Any]:
        return {} if self.think is None else {"chat_template_kwargs": {"enable_thinking": self.think}}

    @field_validator("format")
    @classmethod
    def _is_known(cls, given: Any) -> Any:
        if isinstance(given, str) and given not in ("", "json"):
            raise ValueError(f"format={given[:40]!r} is not supported; give 'json' or a JSON schema")
        return given

    @field_validator("think")
    @classmethod
    def _is_no_level(cls, think: bool | str | None) -> bool | None:
        if isinstance(think, str):
            raise ValueError(f"think={think[:40]!r} is not supported: there are no levels; give true or false")
        return think

    @field_validator("truncate")
    @classmethod
    def _may_be_cut(cls, truncate: bool | None) -> bool | None:
        if truncate is False:
            raise ValueError("truncate=false is not supported: what does not fit is cut; leave it out")
        return truncate


def _refusals(names: Sequence[str], path: str) -> Iterator[FieldError]:
    """The complaints about those of the unread fields that would make another answer."""
    for name in names:
        if not path and name in READ:
            yield FieldError(field=name, message=f"{name} is not read here; put it into options")
        elif name in LENGTHS:
            yield FieldError(field=path + name, message=f"{path}{name} is not read here; give options.num_predict")
        elif name in NEUTRAL or name in PARAMETERS:
            yield FieldError(field=path + name, message=f"{path}{name} is not supported; leave it out")


class OllamaGenerateRequest(OllamaRequest):
    """Answers `prompt`, or fills the gap between it and `suffix`."""

    prompt: str = Field("", description="Where it is empty and there is no `suffix`, nothing is asked of the model.")
    suffix: str = Field("", description="Text behind a gap that is to be filled.")
    system: str = Field("", description="Instructions, before the prompt.")
    raw: bool | None = Field(None, description="Continue the prompt as it is, without the model's chat template.")
    template: Annotated[Any, unsupported("template")] = None
    context: list[int] | None = Field(None, description="Only empty.")
    images: Annotated[Any, unsupported("images")] = None

    @property
    def is_empty(self) -> bool:
        return not self.prompt and not self.suffix

    @property
    def names(self) -> Mapping[str, str]:
        turns = {f"messages[{index}]": name for index, (name, _) in enumerate(self._turns)}
        return {**FIELDS, "messages": "prompt", **turns}

    @property
    def num_cut_characters(self) -> int:
        return sum(max(len(side) - MAX_SIDE_CHARACTERS, 0) for side in (self.prompt, self.suffix)) if self.suffix else 0

    def params(self, model_id: str, max_length: int) -> Params:
        given = self._given(model_id, max_length)
        if self.suffix:
            self._refuse_beside("suffix")
            sides = {"prefix": self.prompt[-MAX_SIDE_CHARACTERS:], "suffix": self.suffix[:MAX_SIDE_CHARACTERS]}
            return _checked(DiffusionInfillingParams, {**sides, **given}, self.names)
        if self.raw:
            self._refuse_beside("raw")
            return _checked(DiffusionGenerationParams, {"text": self.prompt, **given}, self.names)
        roles = {"system": "system", "prompt": "user"}
        given["messages"] = [{"role": roles[name], "content": content} for name, content in self._turns]
        return _checked(DiffusionPromptParams, given | self._template_options, self.names)

    @property
    def _turns(self) -> list[tuple[str, str]]:
        """The fields that become turns of a conversation, each with its text."""
        return [(name, content) for name, content in (("system", self.system), ("prompt", self.prompt)) if content]

    def _refuse_beside(self, name: str) -> None:
        """Refuses what only a conversation has."""
        for other in ("system", "think"):
            if getattr(self, other):
                message = f"{other} does not go with {name}, which leaves the chat template out; leave one of them out"
                raise InvalidBody([FieldError(field=other, message=message)])

    @field_validator("context")
    @classmethod
    def _is_nothing(cls, context: list[int] | None) -> list[int] | None:
        if context:
            raise ValueError("context is not supported; send the conversation to /api/chat")
        return context


class OllamaChatRequest(OllamaRequest):
    """Writes the next turn of a conversation."""

    messages: Annotated[list[OllamaMessage], FIRST_ONLY] = Field(
        [], max_length=MAX_MESSAGES, description="Where there are none, nothing is asked of the model."
    )
    tools: Any = Field(None, description="Only empty: whether to call one is never left to the model.")

    _have_few_parts = field_validator("messages", mode="before")(few_parts)

    @property
    def is_empty(self) -> bool:
        return not self.messages

    def params(self, model_id: str, max_length: int) -> Params:
        given = {"messages": [message.turn() for message in self.messages], **self._given(model_id, max_length)}
        return _checked(DiffusionChatParams, given | self._template_options, self.names)

    @field_validator("tools")
    @classmethod
    def _are_none(cls, tools: Any) -> Any:
        if tools:
            raise ValueError(NO_TOOLS)
        return tools


class ShowRequest(AsksForNothing):
    """Asks for the details of a model."""

    model_config = ConfigDict(extra="ignore", strict=True)

    model: str | None = Field(None, max_length=200)
    name: str | None = Field(None, max_length=200, description="The older name of `model`.")

    _are_not_two_models = field_validator("name")(same_as("model"))
