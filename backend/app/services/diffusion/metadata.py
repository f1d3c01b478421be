"""The metadata of an answer's events, by the names that they have on the wire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict, cast


class AnswerMetadata(TypedDict, total=False):
    """The metadata of the `start` event, and of the `complete` event and the result, which say more."""

    request_id: str
    model_id: str
    device: str
    seed: int | None
    prompt_tokens: int | None
    prompt_text: str
    """The given text, where it was given as token ids."""
    requested_model: str
    moved_from: str
    """The model's own device, where the answer ended on another one."""
    truncated_prompt_tokens: int
    denoising_steps: int | None
    finish_reason: str
    """`stop`, `length`, or what a model from outside says."""
    stop_string: str | None
    tokens_generated: int
    tokens_per_second: float
    queue_time: float
    processing_time: float
    holes: Mapping[str, Mapping[str, Any]]
    """The answer of each hole, where the request was to read."""
    likelihoods: Sequence[Mapping[str, Any]]
    """The likelihood of each text, where the request was for their likelihood."""
    logprobs: list[dict[str, Any]]
    """A result has them; in a stream the `token` events carry them."""


def answer_metadata(*parts: Mapping[str, Any]) -> AnswerMetadata:
    """The metadata of one answer, for whoever reads them by name; what a later part says holds."""
    return cast(AnswerMetadata, {name: value for part in parts for name, value in part.items()})


def num_seen_tokens(metadata: AnswerMetadata) -> int:
    """Tokens of the given text that the model saw."""
    return (metadata.get("prompt_tokens") or 0) - metadata.get("truncated_prompt_tokens", 0)
