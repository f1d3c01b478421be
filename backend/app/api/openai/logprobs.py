"""Log-probabilities of the service's tokens in OpenAI's two forms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel


class TextLogprobs(BaseModel):
    """The log-probabilities of a completion, as four lists of equal length."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class Alternative(BaseModel):
    token: str
    logprob: float
    bytes: list[int]


class TokenLogprob(Alternative):
    top_logprobs: list[Alternative]


class ChatLogprobs(BaseModel):
    """The log-probabilities of a chat message."""

    content: list[TokenLogprob]
    refusal: None = None


def text_logprobs(reported: Sequence[dict[str, Any]]) -> TextLogprobs:
    """The form of completions. The token itself is always among its alternatives."""
    return TextLogprobs(
        tokens=[each["token"] for each in reported],
        token_logprobs=[each["logprob"] for each in reported],
        top_logprobs=[{best["token"]: best["logprob"] for best in (*each["top"], each)} for each in reported],
        text_offset=[each["offset"] for each in reported],
    )


def chat_logprobs(reported: Sequence[dict[str, Any]]) -> ChatLogprobs:
    """The form of chat answers."""
    return ChatLogprobs(
        content=[
            TokenLogprob(token=each["token"], logprob=each["logprob"], bytes=each["bytes"], top_logprobs=each["top"])
            for each in reported
        ]
    )
