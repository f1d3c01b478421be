"""Texts as tokens, and back, in the words of vLLM and of llama.cpp's server together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, NewType, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from app.api.bodies.names import same_as
from app.api.bodies.parts import few_parts
from app.api.bodies.unsupported import FIRST_ONLY, AsksForNothing, Ignored, unsupported
from app.api.errors.table import InvalidBody
from app.api.openai.messages import Message
from app.api.openai.tools import MAX_TOOLS, Tool
from app.services.diffusion.models import MAX_MESSAGES, MAX_TEMPLATE_OPTIONS, DiffusionChatParams, TemplateOptions
from app.services.diffusion.reading_request import MAX_READ_CHARACTERS
from app.services.diffusion.tokens import Encoding, TokenizerFacts, Tokens

Text = NewType("Text", str)
"""A text that may be empty: unlike in other bodies it is then no field that asks for nothing."""

FAST_TOKENIZER = "PreTrainedTokenizerFast"
"""The class by which transformers reads every `tokenizer.json`."""


class TokenizeRequest(AsksForNothing):
    """Asks for the tokens of `prompt` (vLLM), of `content` (llama.cpp), or of a conversation (vLLM)."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: str | None = Field(None, max_length=200, description="Default: the configured model.")
    prompt: Text | None = Field(None, max_length=MAX_READ_CHARACTERS, description="A text; vLLM's name of it.")
    content: Text | None = Field(None, max_length=MAX_READ_CHARACTERS, description="A text; llama.cpp's name of it.")
    messages: Annotated[list[Message], FIRST_ONLY] | None = Field(
        None,
        min_length=1,
        max_length=MAX_MESSAGES,
        description="A conversation, as the model sees it up to where its turn begins.",
    )
    add_special_tokens: bool | None = Field(
        None,
        description="Whether the beginning of text stands before a text where a prompt of this model has one. Default: "
        "with `prompt` yes, with `content` no. `add_special` is another name of it.",
    )
    add_special: bool | None = None
    parse_special: bool | None = Field(
        None,
        description="Whether a special token that a text spells becomes its id, as it does by default; `false`: it "
        "stays text, as in every prompt.",
    )
    return_token_strs: bool | None = Field(None, description="Report the entries of the vocabulary as `token_strs`.")
    with_pieces: bool | None = Field(None, description="Give `tokens` as objects with the text of each.")
    tools: Annotated[list[Tool], FIRST_ONLY] | None = Field(None, max_length=MAX_TOOLS)
    chat_template_kwargs: TemplateOptions | None = Field(None, max_length=MAX_TEMPLATE_OPTIONS)
    add_generation_prompt: Annotated[Any, unsupported("add_generation_prompt")] = None
    continue_final_message: Annotated[Any, unsupported("continue_final_message")] = None
    chat_template: Annotated[Any, unsupported("chat_template")] = None
    media_io_kwargs: Annotated[Any, Ignored()] = None
    mm_processor_kwargs: Annotated[Any, Ignored()] = None

    _have_few_parts = field_validator("messages", mode="before")(few_parts)
    _are_not_two_answers = field_validator("add_special")(same_as("add_special_tokens"))

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        given = [name for name in ("prompt", "content", "messages") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give one of prompt, content and messages, and not {' and '.join(given) or 'none'}")
        return self

    def encoding(self) -> Encoding:
        """The text in the service's words. Raises InvalidBody for a conversation that is too long."""
        is_detailed = bool(self.return_token_strs or self.with_pieces)
        if self.messages is not None:
            return Encoding(self._conversation(self.messages), is_detailed=is_detailed)
        begins = self.add_special if self.add_special_tokens is None else self.add_special_tokens
        return Encoding(
            self.prompt if self.content is None else self.content,  # type: ignore[arg-type]  # one of them is there
            begins=self.content is None if begins is None else begins,
            parses_special=self.parse_special is not False,
            is_detailed=is_detailed,
        )

    def _conversation(self, messages: Sequence[Message]) -> DiffusionChatParams:
        given: dict[str, Any] = {"messages": [message.turn() for message in messages]}
        given["tools"] = [tool.model_dump(exclude_none=True) for tool in self.tools or ()]
        given["chat_template_kwargs"] = self.chat_template_kwargs or {}
        try:
            return DiffusionChatParams.model_validate(given)
        except ValidationError as error:
            raise InvalidBody.of(error, given, {}) from None


class DetokenizeRequest(AsksForNothing):
    """Asks for the text of tokens."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: str | None = Field(None, max_length=200, description="Default: the configured model.")
    tokens: Annotated[list[int], FIRST_ONLY] = Field(max_length=MAX_READ_CHARACTERS)


class TokenPiece(BaseModel):
    """A token, and what it stands for: a text, or bytes that are none by themselves."""

    id: int
    piece: str | list[int]


class TokenizeAnswer(BaseModel):
    """The tokens of a text."""

    count: int
    max_model_len: int | None = Field(description="Tokens that the model sees at a time, given and new.")
    tokens: list[int] | list[TokenPiece]
    token_strs: list[str] | None = Field(None, description="Entries of the vocabulary, where they are asked for.")


class DetokenizeAnswer(BaseModel):
    """The text of tokens, special ones by their names; the same under both names."""

    prompt: str = Field(description="As vLLM calls it.")
    content: str = Field(description="As llama.cpp calls it.")


class TokenizerInfo(BaseModel):
    """The description of a tokenizer as vLLM gives it and lm-eval reads it: what `tokenizer_config.json` says."""

    tokenizer_class: str = FAST_TOKENIZER
    bos_token: str | None
    eos_token: str | None
    pad_token: str | None
    unk_token: str | None
    mask_token: str | None
    add_bos_token: bool = Field(description="Whether prompts of this model begin with `bos_token`.")
    chat_template: str | None
    model_max_length: int | None = Field(description="Tokens that the model sees at a time, given and new.")
    vocab_size: int = Field(description="The highest id plus one.")

    @classmethod
    def of(cls, facts: TokenizerFacts, context_length: int | None) -> Self:
        names = ("bos_token", "eos_token", "pad_token", "unk_token", "mask_token")
        return cls(
            **{name: facts.role_tokens.get(name) for name in names},
            add_bos_token=facts.begins,
            chat_template=facts.chat_template,
            model_max_length=context_length,
            vocab_size=facts.vocab_size,
        )


def tokenize_answer(asked: TokenizeRequest, tokens: Tokens, context_length: int | None) -> TokenizeAnswer:
    """The answer, with no more than was asked for."""
    told: list[int] | list[TokenPiece] = list(tokens.ids)
    if asked.with_pieces:
        told = [TokenPiece(id=each, piece=_piece(piece)) for each, piece in zip(tokens.ids, tokens.pieces, strict=True)]
    more = {"token_strs": list(tokens.entries)} if asked.return_token_strs else {}
    return TokenizeAnswer(count=len(told), max_model_len=context_length, tokens=told, **more)


def _piece(piece: bytes) -> str | list[int]:
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return list(piece)
