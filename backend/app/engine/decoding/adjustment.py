"""Changes of a request's logits before anything is read from them: biases, penalties for what has been committed, and
bans of what would repeat a run of tokens.

For a token with the bias b that stands n times on what the request has written, n at least 1 for the penalties:

    model's logit   l
    biased          l + b
    repetition r    divided by r where it is positive, else multiplied by it    CTRL, arXiv 1909.05858
    frequency f     less n · f                                                  as in OpenAI's API
    presence p      less p

A logit of 2 with b = 1, r = 1.5, f = 0.5, p = 0.2 and n = 3: 3, then 2, 0.5 and 0.3. The order is vLLM's. Last, and
at one position alone, a token that would repeat a run (`ngrams.py`) gets a logit so low that its probability is 0,
unless a constraint allows no other.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from app.engine.interface.params import DecodingParams

_BAN = 1e4
"""Taken from the logit of what would repeat a run. It is finite, so that a constraint may still choose the token."""


@dataclass(frozen=True, slots=True)
class Adjustment:
    """The change of one step's logits; biases and penalties are the same at all positions."""

    bias: tuple[tuple[int, float], ...] = ()
    """Token ids, each once, and what is added to their logits."""
    counts: tuple[tuple[int, int], ...] = ()
    """Token ids, each once, and how often they have been committed; empty where there is no penalty."""
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repeating: tuple[tuple[int, int], ...] = ()
    """Rows and the token ids that would repeat a run there, each pair once."""

    def apply(self, logits: Tensor) -> Tensor:
        """Gives the logits [R, V] as they are read: themselves where nothing changes, else a copy in float32."""
        if not self.bias and not self.counts and not self.repeating:
            return logits
        adjusted = logits.float().clone()
        if self.bias:
            add_bias(adjusted, self.bias)
        if self.counts:
            penalise(adjusted, self)
        if self.repeating:
            rows, token_ids = zip(*self.repeating, strict=True)
            adjusted[list(rows), list(token_ids)] -= _BAN
        return adjusted


NO_ADJUSTMENT = Adjustment()


def bias_of(params: DecodingParams) -> tuple[tuple[int, float], ...]:
    """Gives the biases of a request."""
    return tuple((params.logit_bias or {}).items())


def penalises(params: DecodingParams) -> bool:
    """Whether a request asks for any penalty."""
    return params.repetition_penalty != 1.0 or params.frequency_penalty != 0.0 or params.presence_penalty != 0.0


def add_bias(logits: Tensor, bias: tuple[tuple[int, float], ...]) -> None:
    """Adds to logits [R, V] in place."""
    columns, values = zip(*bias, strict=True)
    logits[:, list(columns)] += torch.tensor(values, device=logits.device)


def penalise(logits: Tensor, adjustment: Adjustment) -> None:
    """Makes tokens that have been committed less probable, in logits [R, V], in place."""
    token_ids, counts = zip(*adjustment.counts, strict=True)
    columns = torch.tensor(token_ids, device=logits.device)
    values, penalty = logits[:, columns], adjustment.repetition_penalty
    if penalty != 1.0:
        values = torch.where(values > 0, values / penalty, values * penalty)
    if adjustment.frequency_penalty != 0.0 or adjustment.presence_penalty != 0.0:
        times = torch.tensor(counts, dtype=torch.float32, device=logits.device)
        values = values - (times * adjustment.frequency_penalty + adjustment.presence_penalty)
    logits[:, columns] = values
