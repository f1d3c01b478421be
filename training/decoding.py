"""Plain greedy decoding for evaluation and for the samples in the log, one token a forward pass.

Written for reading, not for speed, and apart from the engine, so that an error in one shows against the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from app.engine.models.base import FamilyModel


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a token is drawn at a position; temperature 0 takes the best one."""

    temperature: float = 0.0
    top_k: int = 50
    seed: int = 0


GREEDY = Sampling()


@torch.no_grad()
def aligned_logits(model: FamilyModel, canvas: list[int], positions: list[int]) -> Tensor:
    """Logits [R, V] of the predictions *for* the given positions, whatever the family's shift."""
    ids = torch.tensor(canvas)
    states = model.hidden(ids, torch.arange(len(canvas)), [len(canvas)])
    rows = [max(position - model.config.prediction_shift, 0) for position in positions]
    return model.head(states[torch.tensor(rows)]).float()


def fill(
    model: FamilyModel, canvas: list[int], sampling: Sampling = GREEDY, forbidden: tuple[int, ...] = ()
) -> list[int]:
    """Fills all masks, the surest first. The canvas keeps its length; neither mask nor expand is ever chosen."""
    canvas = list(canvas)
    generator = torch.Generator().manual_seed(sampling.seed)
    while masked := _masked(model, canvas):
        logits = aligned_logits(model, canvas, masked)
        _forbid(logits, model.config.special.mask, model.config.special.expand, *forbidden)
        index, token = _surest(logits, sampling, generator)
        canvas[masked[index]] = token
    return canvas


def fill_blocks(
    model: FamilyModel, prompt: list[int], num_tokens: int, block: int, sampling: Sampling = GREEDY
) -> list[int]:
    """Continuation block by block, as LLaDA does it; stops behind the block that ends the text. New tokens only."""
    canvas = list(prompt)
    for start in range(0, num_tokens, block):
        masks = [model.config.special.mask] * min(block, num_tokens - start)
        canvas = fill(model, canvas + masks, Sampling(sampling.temperature, sampling.top_k, sampling.seed + start))
        if model.config.special.eos in canvas[len(prompt) :]:
            break
    new = canvas[len(prompt) :]
    return new[: new.index(model.config.special.eos)] if model.config.special.eos in new else new


def fill_variable(
    model: FamilyModel, prefix: list[int], num_masks: int, suffix: list[int], max_length: int = 64
) -> list[int]:
    """DreamOn's decoding: expand makes two masks of one, delete removes every mask from there on. Gives the middle.

    At most 2 * `max_length` expansions, and none while the middle is `max_length` long.
    """
    special = model.config.special
    assert special.expand is not None
    middle = [special.mask] * num_masks
    budget = 2 * max_length
    while special.mask in middle:
        canvas = [*prefix, *middle, *suffix]
        masked = [i for i, token in enumerate(middle) if token == special.mask]
        logits = aligned_logits(model, canvas, [len(prefix) + i for i in masked])
        no_growth = len(middle) >= max_length or budget == 0
        _forbid(logits, special.mask, special.expand if no_growth else None)
        index, token = _surest(logits, GREEDY, None)
        place = masked[index]
        if token == special.eos:
            middle = [t for i, t in enumerate(middle) if i < place or t != special.mask]
        elif token == special.expand:
            middle[place : place + 1] = [special.mask] * 2
            budget -= 1
        else:
            middle[place] = token
    return middle


def _masked(model: FamilyModel, canvas: list[int]) -> list[int]:
    return [i for i, token in enumerate(canvas) if token == model.config.special.mask]


def _forbid(logits: Tensor, *token_ids: int | None) -> None:
    for token_id in token_ids:
        if token_id is not None:
            logits[:, token_id] = -torch.inf


def _surest(logits: Tensor, sampling: Sampling, generator: torch.Generator | None) -> tuple[int, int]:
    """Row and token to commit: the row whose chosen token has the highest probability."""
    if sampling.temperature == 0:
        confidence, tokens = logits.softmax(-1).max(-1)
    else:
        kept = logits.topk(sampling.top_k).values[:, -1:]
        scaled = logits.masked_fill(logits < kept, -torch.inf) / sampling.temperature
        probabilities = scaled.softmax(-1)
        tokens = torch.multinomial(probabilities, 1, generator=generator).squeeze(1)
        confidence = probabilities.gather(1, tokens[:, None]).squeeze(1)
    row = int(confidence.argmax())
    return row, int(tokens[row])
