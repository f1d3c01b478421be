"""The events that a model sends to the service: Started, then Pieces and CanvasSteps, then Ended.

Everything but the text is optional: `None` where the model does not know it. A model may leave out Started and Ended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias


@dataclass(frozen=True, slots=True)
class Started:
    """The model has begun."""

    device: str | None = None
    num_prompt_tokens: int | None = None
    """Tokens of the given text."""
    num_truncated: int | None = None
    """Tokens among these that it does not see."""
    prompt_text: str | None = None
    """The given text, where it was given as token ids."""


@dataclass(frozen=True, slots=True)
class Piece:
    """The next piece of final text."""

    text: str
    num_tokens: int = 1
    """Tokens that it stands for."""
    num_denoising_steps: int | None = None
    """The number of denoising steps so far."""
    logprobs: tuple[Mapping[str, Any], ...] = ()
    """One object for each token, as it leaves in the `token` event."""


@dataclass(frozen=True, slots=True)
class CanvasStep:
    """The canvas after a denoising step."""

    data: Any
    """The data of the `step` event; `NativeDiffusionModel` describes its own."""


@dataclass(frozen=True, slots=True)
class HolesRead:
    """The holes of a text have been read."""

    holes: Mapping[str, Mapping[str, Any]]
    """The answer of each, by its name; `native/reading.py` describes it."""


@dataclass(frozen=True, slots=True)
class LikelihoodsRead:
    """The likelihoods of texts have been estimated."""

    likelihoods: Sequence[Mapping[str, Any]]
    """That of each text, in their order; `native/likelihood.py` describes it."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The model has nothing more to say."""

    finish_reason: str | None = None
    num_tokens: int | None = None
    """Tokens of the whole answer, also those without a text of their own."""
    num_denoising_steps: int | None = None
    device: str | None = None
    """The device on which it ended."""
    num_prompt_tokens: int | None = None
    """Tokens of the given text, where the model knows them only now."""


ModelEvent: TypeAlias = Started | Piece | CanvasStep | HolesRead | LikelihoodsRead | Ended
