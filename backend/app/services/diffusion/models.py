"""The service's data, which is the wire format too: what a request asks, and what events, results and models say."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from app.core.entries import at_most
from app.core.parameters import MAX_SEED, CacheName, DecodingName, StreamMode, field_of
from app.services.diffusion.constraint import Constraint, check_json

EventType = Literal["start", "token", "step", "complete", "error"]
Operation = Literal["generate", "infill", "read"]
Capability = Literal["generate", "infill", "chat", "read", "constrain"]

MAX_STOP_CHARACTERS = 200
MAX_STOP_STRINGS = 16
StopString = Annotated[str, Field(min_length=1, max_length=MAX_STOP_CHARACTERS)]

MAX_TEMPLATE_OPTIONS = 16


def _is_option_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,63}", name):
        rule = "a letter, then at most 63 letters, digits and underscores"
        raise ValueError(f"chat_template_kwargs has {name[:40]!r}, which is no name of an option: {rule}")
    return name


OptionName = Annotated[str, AfterValidator(_is_option_name)]
OptionNumber = Annotated[int, Field(ge=-MAX_SEED, le=MAX_SEED)]
OptionText = Annotated[str, Field(max_length=MAX_STOP_CHARACTERS)]
OptionValue = bool | OptionNumber | float | OptionText | None
TemplateOptions = Annotated[dict[OptionName, OptionValue], at_most(MAX_TEMPLATE_OPTIONS)]
"""A value of `chat_template_kwargs`; `None` is one that asks for nothing."""

MAX_BIASED_TOKENS = 300
MAX_BIAS = 100.0


def _token_id(name: Any) -> Any:
    """The integer that a name of JSON stands for, written as JSON writes integers; its bounds are checked after."""
    return int(name) if isinstance(name, str) and re.fullmatch(r"0|-?[1-9][0-9]{0,39}", name) else name


TokenId = Annotated[int, BeforeValidator(_token_id), Field(ge=0)]
Bias = Annotated[float, Field(ge=-MAX_BIAS, le=MAX_BIAS)]
LogitBias = Annotated[
    dict[TokenId, Bias],
    at_most(MAX_BIASED_TOKENS),
    Field(max_length=MAX_BIASED_TOKENS, json_schema_extra={"propertyNames": {"pattern": "^(0|[1-9][0-9]{0,9})$"}}),
]

MAX_TEXT_CHARACTERS = 10_000
MAX_SIDE_CHARACTERS = 5_000
"""The longest prefix of a gap, and the longest suffix."""

MAX_CONVERSATION_CHARACTERS = 100_000
"""The longest conversation: more than the context of most models, to which it is cut turn by turn."""
MAX_MESSAGES = 1_000
MAX_PARTS = 64
"""Parts of the text of one message, and earlier calls that it names."""
MAX_CONVERSATION_PARTS = 4_096
"""Parts and earlier calls of all messages together."""


class Sampling(BaseModel):
    """The decoding of an answer, in the same words on every face of the service. `None` takes the default."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=())

    temperature: float | None = field_of("temperature")
    top_p: float | None = field_of("top_p")
    top_k: int | None = field_of("top_k")
    min_p: float | None = field_of("min_p")
    repetition_penalty: float | None = field_of("repetition_penalty")
    frequency_penalty: float | None = field_of("frequency_penalty")
    presence_penalty: float | None = field_of("presence_penalty")
    no_repeat_ngram_size: int | None = field_of("no_repeat_ngram_size")
    logit_bias: LogitBias | None = field_of("logit_bias")
    seed: int | None = field_of("seed")
    steps: int | None = field_of("steps")
    block_length: int | None = field_of("block_length")
    steps_per_block: int | None = field_of("steps_per_block")
    sub_block_length: int | None = field_of("sub_block_length")
    algorithm: str | None = field_of("algorithm")
    alg_temp: float | None = field_of("alg_temp")
    confidence_threshold: float | None = field_of("confidence_threshold")
    confidence_factor: float | None = field_of("confidence_factor")
    confidence_margin: float | None = field_of("confidence_margin")
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
    """The fields that generation and infilling have in common. `None` takes the configured default."""

    model_id: str | None = field_of("model_id")
    max_length: int | None = field_of("max_length")
    stream: bool | None = Field(None, description="Accepted for compatibility; the path decides.")
    ignore_eos: bool | None = field_of("ignore_eos")
    logprobs: int | None = field_of("logprobs")
    stream_mode: StreamMode = field_of("stream_mode", "text")
    constraint: Constraint | None = field_of("constraint")

    @field_validator("constraint")
    @classmethod
    def _goes_with_the_rest(cls, constraint: Constraint | None, info: ValidationInfo) -> Constraint | None:
        if constraint is not None and info.data.get("stop"):
            raise ValueError("constraint says where the answer ends, and stop would cut it before; leave stop out")
        if constraint is not None and info.data.get("ignore_eos"):
            raise ValueError("constraint says where the answer ends, and ignore_eos writes on; leave ignore_eos out")
        return constraint


class DiffusionGenerationParams(Request):
    """Continue `text`."""

    text: str = Field(min_length=1, max_length=MAX_TEXT_CHARACTERS)


TokenIds = Annotated[list[int], Field(min_length=1, max_length=MAX_TEXT_CHARACTERS)]
"""A text as ids of the model's own tokens; nothing is added to them."""


class DiffusionTokensParams(DiffusionGenerationParams):
    """Continue a text that is given as token ids."""

    text: str = ""
    token_ids: TokenIds


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
    messages: list[ChatMessage] = Field(min_length=1, max_length=MAX_MESSAGES)
    tools: list[dict[str, Any]] = Field(
        [], description="Functions as a chat template reads them; other models do not see them."
    )
    chat_template_kwargs: TemplateOptions = Field({}, max_length=MAX_TEMPLATE_OPTIONS)

    @field_validator("messages")
    @classmethod
    def _are_not_too_long(cls, messages: list[ChatMessage]) -> list[ChatMessage]:
        num_characters = len(cls.written(messages))
        if num_characters > MAX_CONVERSATION_CHARACTERS:
            raise ValueError(
                f"messages has {num_characters} characters, more than the maximum of {MAX_CONVERSATION_CHARACTERS}"
            )
        return messages

    @field_validator("tools")
    @classmethod
    def _are_bounded(cls, tools: list[dict[str, Any]]) -> list[dict[str, Any]]:
        check_json(tools, "tools")
        return tools

    @model_validator(mode="after")
    def _write_text(self) -> Self:
        self.text = self.written(self.messages)
        return self

    @staticmethod
    def written(turns: Sequence[ChatMessage]) -> str:
        """The text that a model without a chat template continues."""
        return plain_conversation(turns)

    def with_contents(self, contents: Sequence[str]) -> Self:
        """Gives the turns other words; they may have become more than a client may send."""
        turns = [ChatMessage(role=turn.role, content=text) for turn, text in zip(self.messages, contents, strict=True)]
        return self.model_copy(update={"messages": turns, "text": self.written(turns)})


class DiffusionPromptParams(DiffusionChatParams):
    """Answer a single prompt, maybe with instructions before it. A checkpoint with a chat template gets it as the first
    turn of a conversation; all other models continue it as it is."""

    @staticmethod
    def written(turns: Sequence[ChatMessage]) -> str:
        """The contents alone, an empty line between two."""
        return "\n\n".join(turn.content for turn in turns)


class DiffusionInfillingParams(Request):
    """Fill the gap between `prefix` and `suffix`; one of the two may be empty."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [{"required": [side], "properties": {side: {"minLength": 1}}} for side in ("prefix", "suffix")]
        }
    )

    prefix: str = Field("", max_length=MAX_SIDE_CHARACTERS)
    suffix: str = Field("", max_length=MAX_SIDE_CHARACTERS, validate_default=True)

    def continuation(self) -> DiffusionGenerationParams:
        """Gives the request to continue the prefix, which it is where nothing stands behind the gap."""
        common = {name: getattr(self, name) for name in Request.model_fields}
        return DiffusionGenerationParams.model_construct(text=self.prefix, **common)

    @field_validator("suffix")
    @classmethod
    def _one_side_is_given(cls, suffix: str, info: Any) -> str:
        if not suffix and not info.data.get("prefix"):
            raise ValueError("prefix and suffix are both empty; give at least one of them")
        return suffix


class DiffusionTokensInfillingParams(DiffusionInfillingParams):
    """Fill the gap between token ids and `suffix`, which is a text that is tokenized apart from them."""

    prefix: str = ""
    suffix: str = Field(min_length=1, max_length=MAX_SIDE_CHARACTERS)
    token_ids: TokenIds


Params: TypeAlias = DiffusionGenerationParams | DiffusionInfillingParams
"""A request to a model: to continue a text, or to fill a gap."""

GivenAsIds: TypeAlias = DiffusionTokensParams | DiffusionTokensInfillingParams
"""A request whose text is given as token ids."""


class DiffusionStreamEvent(BaseModel):
    """One event of a stream, the same in Python and over HTTP."""

    type: EventType
    data: Any = Field(
        None,
        description="Of `token` a piece of text, of `error` a sentence. Of `step` the `canvas` (null for a mask), "
        "`committed` (`index`, `text`, `confidence`), and the indices `expanded`, `deleted`, `revoked` and, under a "
        "constraint, `forced`, all before the step's expansions and deletions; `step` and `nfe`, the passes so far.",
    )
    timestamp: float = Field(default_factory=time.time, description="Seconds since 1970-01-01 UTC.")
    metadata: dict[str, Any] = Field(default_factory=dict)


class GenerationResult(BaseModel):
    """The result of a whole stream; `print(result)` prints the text."""

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
    base_model: str | None = Field(None, description="The model whose weights it shares, where it is an adapter.")
    max_length: int
    is_available: bool
    device: str
    memory_usage: float = Field(description="Megabytes of weights on the device.")
    memory_needed: float | None = Field(
        None, description="Megabytes that weights and a full batch of requests take, as estimated; null until loaded."
    )
    capabilities: list[str] = Field(
        description="Operations that it is known to answer: `generate`, `infill` (with text behind the gap), `chat`, "
        "`read`; `constrain` where answers obey a `constraint`. Other names may come."
    )
