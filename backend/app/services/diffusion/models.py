"""The service's data: what a request asks, what an event says, what statistics and health report."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from app.core.parameters import PARAMETERS, CacheName, DecodingName, StreamMode, field_of

EventType = Literal["start", "token", "step", "complete", "error"]
Operation = Literal["generate", "infill"]

MAX_STOP_CHARACTERS = 200
MAX_STOP_STRINGS = 16
StopString = Annotated[str, Field(min_length=1, max_length=MAX_STOP_CHARACTERS)]

MAX_TEXT_CHARACTERS = 10_000
MAX_SIDE_CHARACTERS = 5_000
"""Of a gap's prefix, and of its suffix."""


class Sampling(BaseModel):
    """How an answer is decoded, in the same words on every face of the service. `None` takes the default."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=())

    temperature: float | None = field_of("temperature")
    top_p: float | None = field_of("top_p")
    top_k: int | None = field_of("top_k")
    repetition_penalty: float | None = field_of("repetition_penalty")
    seed: int | None = field_of("seed")
    steps: int | None = field_of("steps")
    block_length: int | None = field_of("block_length")
    algorithm: str | None = field_of("algorithm")
    alg_temp: float | None = field_of("alg_temp")
    confidence_threshold: float | None = field_of("confidence_threshold")
    confidence_factor: float | None = field_of("confidence_factor")
    entropy_bound: float | None = field_of("entropy_bound")
    local_threshold: float | None = field_of("local_threshold")
    stability_bound: float | None = field_of("stability_bound")
    revoke_threshold: float | None = field_of("revoke_threshold")
    cfg_scale: float | None = field_of("cfg_scale")
    decoding: DecodingName | None = field_of("decoding")
    cache: CacheName | None = field_of("cache")
    cache_refresh: int | None = field_of("cache_refresh")
    initial_masks: int | None = field_of("initial_masks")
    stop: StopString | Annotated[list[StopString], Field(max_length=MAX_STOP_STRINGS)] | None = field_of("stop")

    @property
    def stop_strings(self) -> tuple[str, ...]:
        if self.stop is None:
            return ()
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)


class Request(Sampling):
    """What generation and infilling have in common. `None` takes the configured default."""

    model_id: str | None = field_of("model_id")
    max_length: int | None = field_of("max_length")
    stream: bool | None = Field(None, description="Accepted for compatibility; the path decides.")
    ignore_eos: bool | None = field_of("ignore_eos")
    logprobs: int | None = field_of("logprobs")
    stream_mode: StreamMode = field_of("stream_mode", "text")


class DiffusionGenerationParams(Request):
    """Continue `text`."""

    text: str = Field(min_length=1, max_length=MAX_TEXT_CHARACTERS)


class DiffusionTokensParams(DiffusionGenerationParams):
    """Continue a text that is given as ids of the model's own tokens; nothing is added to them."""

    text: str = ""
    token_ids: list[int] = Field(min_length=1, max_length=MAX_TEXT_CHARACTERS)


class ChatMessage(BaseModel):
    """One turn of a conversation."""

    model_config = ConfigDict(extra="forbid", strict=True)

    role: Literal["system", "user", "assistant", "tool"]
    content: str


def plain_conversation(messages: Sequence[ChatMessage]) -> str:
    """A conversation for a model that no chat template belongs to: `User: …`, `Assistant: …`, an empty line between two
    turns, up to where the next answer begins."""
    return "\n\n".join([*(f"{turn.role.capitalize()}: {turn.content}" for turn in messages), "Assistant:"])


class DiffusionChatParams(DiffusionGenerationParams):
    """Write the next turn of a conversation. A checkpoint with a chat template gets `messages` by that; all other
    models continue `text`, which is made of them."""

    text: str = ""
    messages: list[ChatMessage] = Field(min_length=1)

    @field_validator("messages")
    @classmethod
    def _are_not_too_long(cls, messages: list[ChatMessage]) -> list[ChatMessage]:
        num_characters = len(plain_conversation(messages))
        if num_characters > MAX_TEXT_CHARACTERS:
            raise ValueError(
                f"messages has {num_characters} characters, more than the maximum of {MAX_TEXT_CHARACTERS}"
            )
        return messages

    @model_validator(mode="after")
    def _write_text(self) -> Self:
        self.text = plain_conversation(self.messages)
        return self

    def with_contents(self, contents: Sequence[str]) -> Self:
        """The same turns with other words; they may have become more than a client may send."""
        turns = [ChatMessage(role=turn.role, content=text) for turn, text in zip(self.messages, contents, strict=True)]
        return self.model_copy(update={"messages": turns, "text": plain_conversation(turns)})


class DiffusionInfillingParams(Request):
    """Fill the gap between `prefix` and `suffix`; one of the two may be empty."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [{"required": [side], "properties": {side: {"minLength": 1}}} for side in ("prefix", "suffix")]
        }
    )

    prefix: str = Field("", max_length=MAX_SIDE_CHARACTERS)
    suffix: str = Field("", max_length=MAX_SIDE_CHARACTERS, validate_default=True)

    @field_validator("suffix")
    @classmethod
    def _one_side_is_given(cls, suffix: str, info: Any) -> str:
        if not suffix and not info.data.get("prefix"):
            raise ValueError("prefix and suffix are both empty; give at least one of them")
        return suffix


Params: TypeAlias = DiffusionGenerationParams | DiffusionInfillingParams
"""What a model is asked: to continue a text, or to fill a gap."""


class DiffusionStreamEvent(BaseModel):
    """One event of a stream, the same in Python and over HTTP."""

    type: EventType
    data: Any = None
    timestamp: float = Field(default_factory=time.time, description="Seconds since 1970-01-01 UTC.")
    metadata: dict[str, Any] = Field(default_factory=dict)


class GenerationResult(BaseModel):
    """What a whole stream comes to; `print(result)` prints the text."""

    model_config = ConfigDict(protected_namespaces=())

    success: bool = True
    text: str
    model_id: str
    processing_time: float = Field(description="Seconds from arrival to the last token.")
    tokens_generated: int
    metadata: dict[str, Any]

    def __str__(self) -> str:
        return self.text


class DiffusionModelInfo(BaseModel):
    """A model as `GET /models` lists it."""

    model_config = ConfigDict(protected_namespaces=())

    model_id: str
    name: str
    description: str
    max_length: int
    is_available: bool
    device: str
    memory_usage: float = Field(description="Megabytes of weights on the device.")


class ParameterBound(BaseModel):
    """The least and the greatest value of a numeric parameter."""

    minimum: float
    maximum: float

    @classmethod
    def of(cls, name: str) -> Self:
        """The bounds that every request is held to."""
        row = PARAMETERS[name]
        return cls(minimum=row.least, maximum=row.greatest)


class DiffusionModelDetails(DiffusionModelInfo):
    """A model as the admin path describes it."""

    capabilities: list[Operation]
    algorithms: list[str]
    parameters: dict[str, ParameterBound]
    checkpoint: str | None = None
    context_length: int | None = Field(None, description="Tokens, given and new, that it sees at a time.")
    dtype: str | None = None
    quantization: str | None = Field(None, description="Of the layers' weights.")
    load_time: float | None = Field(None, description="Seconds.")
    special_tokens: list[str] = Field([], description="Texts of its tokens that stand for no text.")
    requests_served: int = 0
    error: str | None = Field(None, description="Why the model is not available.")


class DiffusionStatistics(BaseModel):
    """total_requests = successful_requests + failed_requests + cancelled_requests + requests_in_flight, always.
    What is refused for a mistake of its client is no part of these: refused_requests counts it."""

    model_config = ConfigDict(protected_namespaces=())

    total_requests: int
    successful_requests: int
    failed_requests: int
    cancelled_requests: int
    requests_in_flight: int
    refused_requests: int = Field(0, description="Calls with a mistake of their client (4xx), whoever noticed it.")
    failures: dict[str, int] = Field(default_factory=dict, description="Failed requests by code of the error.")
    refusals: dict[str, int] = Field(default_factory=dict, description="Refused calls by code of the error.")
    average_processing_time: float = Field(description="Seconds, over the successful requests.")
    total_tokens_generated: int
    model_usage: dict[str, int]
    device_usage: dict[str, int]
    error_rate: float = Field(description="Failed requests in percent of all finished ones, two decimals.")


class ComponentHealth(BaseModel):
    """One model or device."""

    healthy: bool
    detail: str


class DiffusionHealth(BaseModel):
    healthy: bool
    status: Literal["healthy", "degraded", "unhealthy", "disabled"]
    models: dict[str, ComponentHealth]
    devices: dict[str, ComponentHealth]
    components: dict[str, ComponentHealth] = Field(default_factory=dict, description="All else, such as Redis.")


class CleanupReport(BaseModel):
    """What releasing caches and idle models brought back."""

    released_models: list[str]
    freed_bytes: int = Field(description="That the system or the device has again.")


class ConfigurationChange(BaseModel):
    """The outcome of a partial update."""

    updated: dict[str, Any]
    needs_reload: list[str] = Field(
        description="Settings, changed now or before, by which a model would be another one if it were loaded again."
    )
    configuration: dict[str, Any]
