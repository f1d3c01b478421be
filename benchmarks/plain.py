"""The published sampling loops, transcribed plainly: the baseline that speed is measured against.

A loop has one request and one canvas, and recomputes everything at every step: logits of the whole canvas, softmax over
the whole vocabulary, choices made on the device and read back one by one. The network is the project's own, so that a
ratio compares loops and not layers. At temperature 0 the engine's tokens are the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from app.engine.models.base import FamilyModel


@dataclass(frozen=True, slots=True)
class Decoded:
    ids: list[int]
    """The ids of the span, including masks that were never decided."""
    nfe: int


@torch.inference_mode()
def whole_canvas_logits(model: FamilyModel, x: Tensor) -> Tensor:
    """The logits [L, V] of a canvas x [L], aligned with the positions that they predict."""
    states = model.hidden(x, torch.arange(len(x), device=x.device), [len(x)])
    logits = model.head(states)
    if model.config.prediction_shift:
        logits = torch.cat((logits[:1], logits[:-1]))
    return logits


def add_gumbel_noise(logits: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    if temperature == 0:
        return logits
    logits = logits.double()
    noise = torch.rand(logits.shape, dtype=torch.float64, device=logits.device, generator=generator)
    return logits.exp() / (-noise.log()) ** temperature


@torch.inference_mode()
def llada(
    model: FamilyModel,
    prompt: list[int],
    *,
    gen_length: int,
    block_length: int,
    steps: int,
    temperature: float = 0.0,
    seed: int = 0,
) -> Decoded:
    """The loop `generate` of ML-GSAI/LLaDA with low-confidence remasking; it has no early stop."""
    device = next(model.parameters()).device
    mask_id, generator = model.config.special.mask, torch.Generator(device).manual_seed(seed)
    x = torch.tensor([*prompt, *[mask_id] * gen_length], device=device)
    num_blocks = gen_length // block_length
    steps_per_block = steps // num_blocks
    for block in range(num_blocks):
        end = len(prompt) + (block + 1) * block_length
        num_masks = int((x[end - block_length : end] == mask_id).sum())
        base, rest = divmod(num_masks, steps_per_block)
        for step in range(steps_per_block):
            mask_index = x == mask_id
            logits = whole_canvas_logits(model, x)
            x0 = add_gumbel_noise(logits, temperature, generator).argmax(-1)
            p = F.softmax(logits, dim=-1)
            x0_p = p.gather(-1, x0[:, None])[:, 0]
            x0_p[end:] = -torch.inf
            x0 = torch.where(mask_index, x0, x)
            confidence = torch.where(mask_index, x0_p, -torch.inf)
            chosen = confidence.topk(base + (step < rest)).indices
            x[chosen] = x0[chosen]
    return Decoded(x[len(prompt) :].tolist(), steps)


@torch.inference_mode()
def sample_tokens(
    logits: Tensor, *, temperature: float, top_p: float | None, top_k: int | None, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """The scores [R] and tokens [R] from `sample_tokens` of DreamLM/Dream with negative entropy."""
    if temperature > 0:
        logits = logits / temperature
    if top_p is not None and top_p < 1:
        ordered, columns = logits.sort(descending=True)
        drop = ordered.softmax(-1).cumsum(-1) > top_p
        drop[:, 1:] = drop[:, :-1].clone()
        drop[:, 0] = False
        drop = torch.zeros_like(drop).scatter(-1, columns, drop)
        logits = logits.masked_fill(drop, torch.finfo(logits.dtype).min)
    if top_k is not None:
        weakest = logits.topk(min(top_k, logits.shape[-1])).values[:, -1:]
        logits = logits.masked_fill(logits < weakest, torch.finfo(logits.dtype).min)
    probabilities = logits.softmax(-1)
    if temperature > 0:
        token = torch.multinomial(probabilities, 1, generator=generator)[:, 0]
    else:
        token = probabilities.argmax(-1)
    return (probabilities * (probabilities + 1e-10).log()).sum(-1), token


@torch.inference_mode()
def dreamon(
    model: FamilyModel,
    prefix: list[int],
    suffix: list[int],
    *,
    num_masks: int,
    max_new_tokens: int,
    temperature: float = 0.0,
    top_p: float | None = None,
    top_k: int | None = None,
    seed: int = 0,
) -> Decoded:
    """The loop `diffusion_generate` of DreamOn with one commit a step."""
    device = next(model.parameters()).device
    special, generator = model.config.special, torch.Generator(device).manual_seed(seed)
    assert special.expand is not None, "only checkpoints with an expand token have a variable length"
    x = torch.tensor([*prefix, *[special.mask] * num_masks, *suffix], device=device)
    budget, nfe = 2 * (max_new_tokens + len(suffix)), 0
    max_canvas = len(prefix) + max_new_tokens + len(suffix)
    while bool((x == special.mask).any()) and nfe < 4 * max_new_tokens:
        mask_index = x == special.mask
        logits = whole_canvas_logits(model, x)[mask_index]
        if len(x) >= max_canvas or budget <= 0:
            logits[:, special.expand] -= 1e9
        score, token = sample_tokens(logits, temperature=temperature, top_p=top_p, top_k=top_k, generator=generator)
        places = mask_index.nonzero()[:, 0]
        best = score.topk(1).indices
        x[places[best]] = token[best]
        for place in places[best].tolist():
            if x[place] == special.eos:
                x = torch.cat((x[:place], x[place + 1 :]))
            elif x[place] == special.expand:
                x = torch.cat((x[:place], x.new_full((2,), special.mask), x[place + 1 :]))
                budget -= 1
        nfe += 1
    return Decoded(x[len(prefix) : len(x) - len(suffix)].tolist(), nfe)
