"""SDAR's published sampling loop, transcribed plainly: the baseline of block-causal decoding.

As in JetAstra/SDAR's `generate.py` a request is alone, its keys and values grow by concatenation, every denoising pass
reads logits of the whole block, and a pass of its own caches each finished block, the last one too. The network is the
project's own, so that a ratio compares loops and not layers.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from app.engine.models.attention import BlockCausal
from app.engine.models.base import FamilyModel
from app.engine.models.layers import attend_across
from benchmarks.plain import Decoded


@dataclass
class ConcatenatedCache:
    """Keys and values of all finished blocks, layer by layer: [T, K, D] each."""

    keys: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)


@dataclass(frozen=True)
class BesideCache:
    """The tokens of one block see the cache and each other."""

    cache: ConcatenatedCache
    stores: bool

    def attend(self, layer: int, q: Tensor, k: Tensor, rotated_k: Tensor, v: Tensor) -> Tensor:
        """See `AttentionVariant.attend`."""
        keys = torch.cat((self.cache.keys[layer], rotated_k))
        values = torch.cat((self.cache.values[layer], v))
        if self.stores:
            self.cache.keys[layer], self.cache.values[layer] = keys, values
        return attend_across(q, keys, values)


@dataclass(frozen=True)
class FillsCache:
    """The whole blocks of the prompt, under the mask of blocks."""

    cache: ConcatenatedCache
    mask: BlockCausal

    def attend(self, layer: int, q: Tensor, k: Tensor, rotated_k: Tensor, v: Tensor) -> Tensor:
        """See `AttentionVariant.attend`."""
        self.cache.keys.append(rotated_k)
        self.cache.values.append(v)
        return self.mask.attend(layer, q, k, rotated_k, v)


def _states(model: FamilyModel, x: Tensor, start: int, variant: BesideCache | FillsCache) -> Tensor:
    positions = torch.arange(start, start + len(x), device=x.device)
    return model.hidden(x, positions, [len(x)], None, [variant])


def _sample(logits: Tensor, temperature: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Tokens [B] and their probabilities [B]."""
    if temperature == 0:
        return (logits.argmax(-1), logits.softmax(-1).amax(-1))
    probabilities = (logits / temperature).softmax(-1)
    tokens = torch.multinomial(probabilities, 1, generator=generator)
    return tokens[:, 0], probabilities.gather(-1, tokens)[:, 0]


@torch.inference_mode()
def sdar(
    model: FamilyModel,
    prompt: list[int],
    *,
    gen_length: int,
    block_length: int,
    temperature: float = 0.0,
    threshold: float | None = None,
    seed: int = 0,
) -> Decoded:
    """The loop `block_diffusion_generate` with one token a step at least, and no early stop; with a threshold the
    remasking `low_confidence_dynamic`."""
    device = next(model.parameters()).device
    mask_id, generator = model.config.special.mask, torch.Generator(device).manual_seed(seed)
    num_blocks = -(-(len(prompt) + gen_length) // block_length)
    x = torch.full((num_blocks * block_length,), mask_id, device=device)
    x[: len(prompt)] = torch.tensor(prompt, device=device)
    cache, given = ConcatenatedCache(), len(prompt) // block_length * block_length
    _states(model, x[:given], 0, FillsCache(cache, BlockCausal(0, given, block_length, device)))
    nfe = 1
    for start in range(given, len(x), block_length):
        block = x[start : start + block_length]
        while bool((block == mask_id).any()):
            logits = model.head(_states(model, block, start, BesideCache(cache, stores=False)))
            tokens, confidences = _sample(logits, temperature, generator)
            confidences = torch.where(block == mask_id, confidences, -torch.inf)
            chosen = confidences.topk(1).indices
            if threshold is not None and bool((confidences > threshold).any()):
                chosen = (confidences > threshold).nonzero()[:, 0]
            block[chosen] = tokens[chosen]
            nfe += 1
        _states(model, block, start, BesideCache(cache, stores=True))
        nfe += 1
    return Decoded(x[len(prompt) : len(prompt) + gen_length].tolist(), nfe)
