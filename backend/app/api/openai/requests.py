"""The requests of OpenAI's clients, and what the service is asked for them. Our own parameters stand beside theirs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from app.api.bodies.biases import Biases
from app.api.bodies.names import same_as
from app.api.bodies.parts import few_parts
from app.api.bodies.unsupported import FIRST_ONLY, AsksForNothing, Ignored, unsupported
from app.api.errors.problem import FieldError
from app.api.errors.table import InvalidBody
from app.api.openai.constraints import Constrained, Wanted
from app.api.openai.messages import Message
from app.api.openai.tools import MAX_TOOLS, ForcedCall, Tool, ToolChoice, forced_call
from app.api.streams.choices import MAX_CHOICES, seeds_from
from app.core.parameters import MAX_SEED, PARAMETERS, field_of
from app.services.diffusion import DiffusionChatParams, DiffusionGenerationParams, DiffusionInfillingParams
from app.services.diffusion.metadata import AnswerMetadata
from app.services.diffusion.models import (
    MAX_MESSAGES,
    MAX_SIDE_CHARACTERS,
    MAX_STOP_CHARACTERS,
    MAX_STOP_STRINGS,
    MAX_TEMPLATE_OPTIONS,
    DiffusionTokensInfillingParams,
    DiffusionTokensParams,
    Params,
    Sampling,
    TemplateOptions,
)

TOP_K, TOP_P, LOGPROBS = PARAMETERS["top_k"], PARAMETERS["top_p"], PARAMETERS["logprobs"]

MaybeStop = Annotated[str, Field(max_length=MAX_STOP_CHARACTERS)]
"""A stop string; an empty one stops nothing."""

P = TypeVar("P", DiffusionTokensParams, DiffusionGenerationParams, DiffusionInfillingParams, DiffusionChatParams)


def _checked(kind: type[P], given: dict[str, Any], **names: str) -> P:
    """A request to the service.

    Args:
        names: what this face calls the fields of it.

    Raises:
        InvalidBody: a value does not fit.
    """
    try:
        params: P = kind.model_validate(given)
    except ValidationError as error:
        raise InvalidBody.of(error, given, names) from None
    return params


class StreamOptions(AsksForNothing):
    model_config = ConfigDict(extra="forbid", strict=True)

    include_usage: bool | None = Field(None, description="A last chunk without choices tells the usage.")
    continuous_usage_stats: bool | None = Field(
        None, description="With `include_usage`: every chunk tells the usage of the whole call so far."
    )
    include_obfuscation: Annotated[Any, Ignored()] = None


class OpenAIRequest(AsksForNothing, Constrained, Sampling):
    """The fields that the endpoints have in common."""

    model: str | None = Field(None, max_length=200, description="Default: the configured model.")
    max_tokens: int | None = Field(
        None, ge=1, description="New tokens at most; what is above the model's maximum means the maximum."
    )
    n: int | None = Field(None, ge=1, le=MAX_CHOICES, description="Answers, with the seeds `seed`, `seed` + 1, …")
    seed: int | None = Field(None, le=MAX_SEED, description="Fixes the output; absent or below 0: drawn and reported.")
    random_seed: int | None = Field(None, le=MAX_SEED, description="Another name of `seed`, which is Mistral's.")
    top_p: float | None = Field(None, ge=0.0, le=1.0, description="Below 0.1 it counts as 0.1; 0 is greedy.")
    top_k: int | None = Field(None, ge=-1, le=TOP_K.le, description="0 or -1: the most that this server has.")
    stop: MaybeStop | Annotated[list[MaybeStop], Field(max_length=MAX_STOP_STRINGS)] | None = Field(
        None, description="Text before which the answer ends."
    )
    logit_bias: Biases | None = field_of(  # type: ignore[assignment]  # ids alone, once texts are tokens
        "logit_bias",
        description="Added to tokens' logits: an object of ids, -100, which bans one, to 100; or a list of pairs, an "
        "id or a text and a bias or `false`, which bans; 300 tokens.",
    )
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    ignore_eos: bool | None = Field(
        None, description="Write on up to `max_tokens`, for measurements; without effect on DreamOn."
    )
    diffusing: bool | None = Field(None, description="Stream the canvas too, as events named `diffusion.step`.")
    user: Annotated[Any, Ignored()] = None
    metadata: Annotated[Any, Ignored()] = None
    store: Annotated[Any, unsupported("store")] = None
    service_tier: Annotated[Any, Ignored()] = None
    keep_alive: Annotated[Any, Ignored()] = None

    _are_not_two_seeds = field_validator("random_seed")(same_as("seed"))

    @property
    def num_logprobs(self) -> int | None:
        """The number of alternatives beside each token's log-probability; `None`: no log-probabilities either."""
        return None

    @property
    def num_choices(self) -> int:
        """The number of answers to each prompt."""
        return self.n or 1

    @property
    def token_limit(self) -> int | None:
        return self.max_tokens

    @property
    def first_seed(self) -> int | None:
        """The seed of the first answer; `None`: the server draws one for each answer."""
        seed = self.random_seed if self.seed is None else self.seed
        return None if seed is None or seed < 0 else seed

    @property
    def forced_call(self) -> ForcedCall | None:
        """The call that each answer is; `None` where they are text."""
        return None

    @property
    def names(self) -> Mapping[str, str]:
        """The names that this request has for fields of the service's constraint."""
        wanted = self.one_wanted
        return {} if wanted is None else wanted.names

    @property
    def num_cut_characters(self) -> int:
        """The number of characters that are left out, because the length of each side of a gap has a bound."""
        return 0

    def prompt_text(self, reported: AnswerMetadata) -> str:
        """The beginning of an answer that only the model knows: the text of a prompt of token ids.

        Args:
            reported: the metadata of the answer.
        """
        return ""

    @abstractmethod
    def params(self, max_length: int) -> list[Params]:
        """One request to the service per choice, those of one prompt in a row.

        Args:
            max_length: what the model can write at most.

        Raises:
            InvalidBody: a text is too long, or there is none.
        """

    def _common(self, max_length: int) -> dict[str, Any]:
        given = {name: getattr(self, name) for name in Sampling.model_fields}
        given |= {"model_id": self.model or None, "logprobs": self.num_logprobs, "ignore_eos": self.ignore_eos or None}
        given |= {"stop": [stop for stop in self.stop_strings if stop] or None, **self._filters()}
        given["max_length"] = None if self.token_limit is None else min(self.token_limit, max_length)
        given["stream_mode"] = "canvas" if self.stream and self.diffusing else None
        given["constraint"] = None if self.one_wanted is None else self.one_wanted.constraint
        return {name: value for name, value in given.items() if value is not None}

    def _filters(self) -> dict[str, Any]:
        """`top_k` and `top_p` within bounds. `top_p` 0 asks for the least nucleus, which is the most probable token."""
        top_k = TOP_K.le if self.top_k is not None and self.top_k < 1 else self.top_k
        top_p = None if self.top_p is None else TOP_P.nearest(self.top_p)
        return {"top_k": 1 if self.top_p == 0 else top_k, "top_p": top_p}

    def _choices(self, given: dict[str, Any]) -> list[dict[str, Any]]:
        return [{**given, "seed": seed} for seed in seeds_from(self.first_seed, self.num_choices)]


def _kind_of_prompt(prompt: Any) -> str:
    """The kind of prompt that is meant, so that complaints are about that one."""
    first = prompt[0] if isinstance(prompt, list) and prompt else None
    if isinstance(first, int):
        return "ids"
    if isinstance(first, list):
        return "several of ids"
    return "texts" if isinstance(prompt, list) else "text"


Several = Field(min_length=1, max_length=MAX_CHOICES)
TokenIds = Annotated[list[int], FIRST_ONLY]
AnyPrompt = Annotated[
    Annotated[str, Tag("text")]
    | Annotated[list[str], Several, Tag("texts")]
    | Annotated[TokenIds, Field(min_length=1), Tag("ids")]
    | Annotated[list[TokenIds], Several, Tag("several of ids")],
    Discriminator(_kind_of_prompt),
]


class CompletionRequest(OpenAIRequest):
    """Continues `prompt`, or fills the gap between `prompt` and `suffix`."""

    prompt: AnyPrompt = Field(
        description="A text, or ids of the model's tokens. Several prompts, and `n` answers to each, give at most 8 "
        "choices together."
    )
    suffix: str | None = Field(None, description="Text behind the gap; where it is empty, the prompt is continued.")
    echo: bool | None = Field(None, description="The answer begins with the prompt.")
    # The number first: to Pydantic 0 is a value of `Literal[False]`, too.
    logprobs: Annotated[int, Field(ge=LOGPROBS.ge, le=LOGPROBS.le)] | Literal[False] | None = Field(
        None, description="Log-probabilities, and so many alternatives; 0 is none of these."
    )
    best_of: int | None = Field(None, ge=1, description="Nothing but `n`.")

    @property
    def prompts(self) -> Sequence[str | list[int]]:
        return [self.prompt] if self._is_one else self.prompt  # type: ignore[list-item, return-value]

    def prompt_text(self, reported: AnswerMetadata) -> str:
        return reported.get("prompt_text", "") if self.echo else ""

    @property
    def _is_one(self) -> bool:
        return _kind_of_prompt(self.prompt) in ("text", "ids")

    @property
    def num_logprobs(self) -> int | None:
        return None if self.logprobs is False else self.logprobs

    @property
    def num_cut_characters(self) -> int:
        texts = [prompt if isinstance(prompt, str) else "" for prompt in self.prompts]
        return sum(_num_cut(text, self.suffix) for text in texts) if self.suffix else 0

    def params(self, max_length: int) -> list[Params]:
        common = self._common(max_length)
        return [
            self._one(prompt, "prompt" if self._is_one else f"prompt[{index}]", given)
            for index, prompt in enumerate(self.prompts)
            for given in self._choices(common)
        ]

    def _one(self, prompt: str | list[int], name: str, given: dict[str, Any]) -> Params:
        if isinstance(prompt, list):
            return self._of_ids(prompt, name, given)
        if self.suffix:
            given = {**_sides(prompt, self.suffix), **given}
            return _checked(DiffusionInfillingParams, given, **self.names, prefix=name)
        return _checked(DiffusionGenerationParams, {"text": prompt, **given}, **self.names, text=name)

    def _of_ids(self, token_ids: list[int], name: str, given: dict[str, Any]) -> Params:
        given = {"token_ids": token_ids, **given}
        if self.suffix:
            given |= {"suffix": _sides("", self.suffix)["suffix"]}
            return _checked(DiffusionTokensInfillingParams, given, **self.names, token_ids=name)
        return _checked(DiffusionTokensParams, given, **self.names, token_ids=name)

    @field_validator("prompt")
    @classmethod
    def _are_not_too_many(cls, prompt: Any, info: ValidationInfo) -> Any:
        num_choices = (info.data.get("n") or 1) * (1 if _kind_of_prompt(prompt) in ("text", "ids") else len(prompt))
        if num_choices > MAX_CHOICES:
            raise ValueError(f"prompt and n ask for {num_choices} choices, more than the maximum of {MAX_CHOICES}")
        return prompt

    @field_validator("logprobs")
    @classmethod
    def _are_not_of_the_prompt(cls, logprobs: int | None, info: ValidationInfo) -> int | None:
        if logprobs is not None and logprobs is not False and info.data.get("echo"):
            raise ValueError(
                "logprobs with echo are not supported: a prompt is given, and no step predicts it; leave echo out, or "
                "ask POST /api/diffusion/likelihood how probable a text is"
            )
        return logprobs

    @field_validator("best_of")
    @classmethod
    def _is_n(cls, best_of: int | None, info: ValidationInfo) -> int | None:
        num_choices = info.data.get("n") or 1
        if best_of not in (None, num_choices):
            raise ValueError(f"best_of={best_of} is not supported unless it is n={num_choices}; leave it out")
        return best_of


class FimRequest(OpenAIRequest):
    """Fills the gap between `prompt` and `suffix`."""

    prompt: str = Field("", description="Text before the gap.")
    suffix: str | None = Field(None, description="Text behind the gap.")
    min_tokens: Annotated[Any, unsupported("min_tokens")] = None

    @property
    def num_cut_characters(self) -> int:
        return _num_cut(self.prompt, self.suffix)

    def params(self, max_length: int) -> list[Params]:
        if not self.prompt and not self.suffix:
            message = "prompt and suffix are both empty; give at least one of them"
            raise InvalidBody([FieldError(field="prompt", message=message)])
        given = {**_sides(self.prompt, self.suffix), **self._common(max_length)}
        return [_checked(DiffusionInfillingParams, choice, **self.names) for choice in self._choices(given)]


def _sides(prompt: str, suffix: str | None) -> dict[str, str]:
    """The texts around a gap, each cut to the part nearest to it."""
    return {"prefix": prompt[-MAX_SIDE_CHARACTERS:], "suffix": (suffix or "")[:MAX_SIDE_CHARACTERS]}


def _num_cut(prompt: str, suffix: str | None) -> int:
    return sum(max(len(side) - MAX_SIDE_CHARACTERS, 0) for side in (prompt, suffix or ""))


class ChatRequest(OpenAIRequest):
    """Writes the next turn of a conversation."""

    messages: Annotated[list[Message], FIRST_ONLY] = Field(min_length=1, max_length=MAX_MESSAGES)
    max_completion_tokens: int | None = Field(None, ge=1, description="The newer name of `max_tokens`.")
    logprobs: bool | None = None
    top_logprobs: int | None = field_of("logprobs", description="Alternatives per token; needs `logprobs`.")
    chat_template_kwargs: TemplateOptions | None = Field(
        None,
        max_length=MAX_TEMPLATE_OPTIONS,
        description="Variables of the model's chat template, such as `enable_thinking`.",
    )
    enable_thinking: bool | None = Field(None, description="The same in `chat_template_kwargs`, which wins.")
    safety_identifier: Annotated[Any, Ignored()] = None
    prompt_cache_key: Annotated[Any, Ignored()] = None
    prompt_cache_options: Annotated[Any, Ignored()] = None
    prompt_cache_retention: Annotated[Any, Ignored()] = None
    parallel_tool_calls: Annotated[Any, Ignored()] = None
    cache_prompt: Annotated[Any, Ignored()] = None
    id_slot: Annotated[Any, Ignored()] = None
    samplers: Annotated[Any, Ignored()] = None
    tools: Annotated[list[Tool], FIRST_ONLY] | None = Field(
        None, max_length=MAX_TOOLS, description="Functions; the answer calls the one that `tool_choice` says."
    )
    tool_choice: ToolChoice | None = Field(
        None, description="The function that is called, or `required`: any of them; `none` leaves the tools out."
    )
    functions: Annotated[Any, unsupported("functions")] = None
    function_call: Annotated[Any, unsupported("function_call")] = None
    modalities: Annotated[Any, unsupported("modalities")] = None
    audio: Annotated[Any, unsupported("audio")] = None
    prediction: Annotated[Any, unsupported("prediction")] = None
    reasoning_effort: Annotated[Any, unsupported("reasoning_effort")] = None
    verbosity: Annotated[Any, unsupported("verbosity")] = None
    web_search_options: Annotated[Any, unsupported("web_search_options")] = None
    moderation: Annotated[Any, unsupported("moderation")] = None

    @property
    def num_logprobs(self) -> int | None:
        return (self.top_logprobs or 0) if self.logprobs else None

    @property
    def token_limit(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens

    @cached_property
    def forced_call(self) -> ForcedCall | None:
        return forced_call(self.tools or (), self.tool_choice)

    def wanted(self) -> Iterator[Wanted]:
        yield from super().wanted()
        if (call := self.forced_call) is not None:
            yield Wanted.of("json_schema", call.schema, name="tool_choice", inner=call.field)

    def params(self, max_length: int) -> list[Params]:
        turns = [message.turn() for message in self.messages]
        given = {"messages": turns, **self._common(max_length)}
        thinking = {} if self.enable_thinking is None else {"enable_thinking": self.enable_thinking}
        given |= {"tools": [tool.model_dump(exclude_none=True) for tool in self._shown_tools]}
        given |= {"chat_template_kwargs": {**thinking, **(self.chat_template_kwargs or {})}}
        if self.forced_call is not None:
            given.pop("stop", None)  # it ends texts, and loops of agents send it with every call
        return [_checked(DiffusionChatParams, choice, **self.names) for choice in self._choices(given)]

    @property
    def _shown_tools(self) -> Sequence[Tool]:
        return () if self.forced_call is None else self.tools or ()

    _have_few_parts = field_validator("messages", mode="before")(few_parts)
    _are_not_two_limits = field_validator("max_completion_tokens")(same_as("max_tokens"))

    @field_validator("top_logprobs")
    @classmethod
    def _need_logprobs(cls, top_logprobs: int | None, info: ValidationInfo) -> int | None:
        if top_logprobs and not info.data.get("logprobs"):
            raise ValueError("top_logprobs needs logprobs=true")
        return top_logprobs
