"""What OpenAI's clients send, and what the service is asked for it. Our own parameters stand beside theirs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from app.api.foreign_fields import Ignored, Only
from app.api.generations import MAX_CHOICES, MAX_SEED, seeds_from
from app.services.diffusion import ChatMessage, DiffusionChatParams, DiffusionGenerationParams, DiffusionInfillingParams
from app.services.diffusion.models import MAX_TEXT_CHARACTERS, Sampling
from app.services.diffusion.run import Params

Prompt = Annotated[str, Field(max_length=MAX_TEXT_CHARACTERS)]


class StreamOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    include_usage: bool | None = Field(None, description="A last chunk without choices tells the usage.")
    include_obfuscation: Annotated[Any, Ignored()] = None


class OpenAIRequest(Sampling):
    """What the endpoints have in common."""

    model: str | None = Field(None, min_length=1, max_length=200, description="Default: the configured model.")
    max_tokens: int | None = Field(
        None, ge=1, description="New tokens at most; what is above the model's maximum means the maximum."
    )
    n: int | None = Field(None, ge=1, le=MAX_CHOICES, description="Answers, with the seeds `seed`, `seed` + 1, …")
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    diffusing: bool | None = Field(None, description="Stream the canvas too, as events named `diffusion.step`.")
    user: Annotated[Any, Ignored()] = None
    metadata: Annotated[Any, Ignored()] = None
    store: Annotated[Any, Only((False,))] = None
    service_tier: Annotated[Any, Ignored()] = None
    frequency_penalty: Annotated[Any, Only((0,))] = None
    presence_penalty: Annotated[Any, Only((0,))] = None
    logit_bias: Annotated[Any, Only(({},))] = None

    @property
    def num_logprobs(self) -> int | None:
        """How many alternatives are asked for beside each token's log-probability; `None`: neither."""
        return None

    @property
    def num_choices(self) -> int:
        """Per prompt."""
        return self.n or 1

    @property
    def token_limit(self) -> int | None:
        return self.max_tokens

    @property
    def first_seed(self) -> int | None:
        return self.seed

    @abstractmethod
    def params(self, max_length: int) -> list[Params]:
        """One request to the service per choice, those of one prompt in a row.

        Args:
            max_length: what the model can write at most.

        Raises:
            ValidationError: a text is too long, or there is none.
        """

    def _common(self, max_length: int) -> dict[str, Any]:
        given = {name: getattr(self, name) for name in Sampling.model_fields}
        given |= {"model_id": self.model, "logprobs": self.num_logprobs}
        given["max_length"] = None if self.token_limit is None else min(self.token_limit, max_length)
        given["stream_mode"] = "canvas" if self.stream and self.diffusing else None
        return {name: value for name, value in given.items() if value is not None}

    def _choices(self, given: dict[str, Any]) -> list[dict[str, Any]]:
        return [{**given, "seed": seed} for seed in seeds_from(self.first_seed, self.num_choices)]


class CompletionRequest(OpenAIRequest):
    """Continues `prompt`, or fills the gap between `prompt` and `suffix`."""

    prompt: Prompt | Annotated[list[Prompt], Field(min_length=1, max_length=MAX_CHOICES)] = Field(
        description="Several prompts, and `n` answers to each, give at most 8 choices together."
    )
    suffix: str | None = Field(None, description="Text behind the gap; where it is empty, the prompt is continued.")
    echo: bool | None = Field(None, description="The answer begins with the prompt.")
    logprobs: int | None = Field(None, ge=0, le=20, description="Log-probabilities, and so many alternatives.")
    best_of: int | None = Field(None, ge=1, description="Nothing but `n`.")

    @property
    def prompts(self) -> Sequence[str]:
        return [self.prompt] if isinstance(self.prompt, str) else self.prompt

    @property
    def num_logprobs(self) -> int | None:
        return self.logprobs

    def params(self, max_length: int) -> list[Params]:
        common = self._common(max_length)
        return [self._one(prompt, given) for prompt in self.prompts for given in self._choices(common)]

    def _one(self, prompt: str, given: dict[str, Any]) -> Params:
        if self.suffix:
            return DiffusionInfillingParams(prefix=prompt, suffix=self.suffix, **given)
        return DiffusionGenerationParams(text=prompt, **given)

    @field_validator("prompt")
    @classmethod
    def _are_not_too_many(cls, prompt: str | list[str], info: ValidationInfo) -> str | list[str]:
        num_choices = (info.data.get("n") or 1) * (1 if isinstance(prompt, str) else len(prompt))
        if num_choices > MAX_CHOICES:
            raise ValueError(f"prompt and n ask for {num_choices} choices, more than the maximum of {MAX_CHOICES}")
        return prompt

    @field_validator("logprobs")
    @classmethod
    def _are_not_of_the_prompt(cls, logprobs: int | None, info: ValidationInfo) -> int | None:
        if logprobs is not None and info.data.get("echo"):
            raise ValueError("logprobs with echo are not supported: a prompt is given and has none; leave echo out")
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
    random_seed: int | None = Field(None, ge=0, le=MAX_SEED, description="Another name of `seed`.")
    min_tokens: Annotated[Any, Only((0,))] = None

    @property
    def first_seed(self) -> int | None:
        return self.random_seed if self.seed is None else self.seed

    def params(self, max_length: int) -> list[Params]:
        given = {"prefix": self.prompt, "suffix": self.suffix or "", **self._common(max_length)}
        return [DiffusionInfillingParams(**choice) for choice in self._choices(given)]


class TextPart(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    type: Literal["text"]
    text: str


class Message(BaseModel):
    """A turn as clients keep it, with what an answer brought besides its text."""

    model_config = ConfigDict(extra="forbid", strict=True)

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]
    name: Annotated[Any, Ignored()] = None
    refusal: Annotated[Any, Only()] = None
    annotations: Annotated[Any, Ignored()] = None
    audio: Annotated[Any, Only()] = None
    function_call: Annotated[Any, Only()] = None
    tool_calls: Annotated[Any, Only(([],))] = None

    def turn(self) -> ChatMessage:
        text = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return ChatMessage(role="system" if self.role == "developer" else self.role, content=text)


class ChatRequest(OpenAIRequest):
    """Writes the next turn of a conversation."""

    messages: list[Message] = Field(min_length=1)
    max_completion_tokens: int | None = Field(None, ge=1, description="The newer name of `max_tokens`.")
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20, description="Alternatives per token; needs `logprobs`.")
    safety_identifier: Annotated[Any, Ignored()] = None
    prompt_cache_key: Annotated[Any, Ignored()] = None
    prompt_cache_options: Annotated[Any, Ignored()] = None
    prompt_cache_retention: Annotated[Any, Ignored()] = None
    parallel_tool_calls: Annotated[Any, Ignored()] = None
    cache_prompt: Annotated[Any, Ignored()] = None
    id_slot: Annotated[Any, Ignored()] = None
    tools: Annotated[Any, Only(([],))] = None
    tool_choice: Annotated[Any, Only(("none", "auto"))] = None
    functions: Annotated[Any, Only(([],))] = None
    function_call: Annotated[Any, Only(("none", "auto"))] = None
    response_format: Annotated[Any, Only(({"type": "text"},))] = None
    modalities: Annotated[Any, Only((["text"],))] = None
    audio: Annotated[Any, Only()] = None
    prediction: Annotated[Any, Only()] = None
    reasoning_effort: Annotated[Any, Only(("none",))] = None
    verbosity: Annotated[Any, Only(("medium",))] = None
    web_search_options: Annotated[Any, Only()] = None
    moderation: Annotated[Any, Only()] = None

    @property
    def num_logprobs(self) -> int | None:
        return (self.top_logprobs or 0) if self.logprobs else None

    @property
    def token_limit(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens

    def params(self, max_length: int) -> list[Params]:
        turns = [message.turn() for message in self.messages]
        return [DiffusionChatParams(messages=turns, **given) for given in self._choices(self._common(max_length))]

    @field_validator("max_completion_tokens")
    @classmethod
    def _is_the_only_one(cls, max_tokens: int | None, info: ValidationInfo) -> int | None:
        if max_tokens is not None and info.data.get("max_tokens") not in (None, max_tokens):
            raise ValueError("max_completion_tokens and max_tokens say the same in two ways; leave max_tokens out")
        return max_tokens

    @field_validator("top_logprobs")
    @classmethod
    def _need_logprobs(cls, top_logprobs: int | None, info: ValidationInfo) -> int | None:
        if top_logprobs is not None and not info.data.get("logprobs"):
            raise ValueError("top_logprobs needs logprobs=true")
        return top_logprobs
