"""Makes the weights that training starts from."""

from __future__ import annotations

import math

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from app.engine.families.build import build_model
from app.engine.models.base import FamilyModel
from app.engine.models.llada import Block, LLaDA
from training.export import published_config
from training.recipe import Recipe
from training.tokenizer import special_ids

EMBEDDING_STD = 0.02
NEIGHBOURS = ((-1, 1, -2), (2, -1, 1), (-3, 3, -1))
"""The offsets that the heads of each of the first layers attend to at the start of training."""
SHARPNESS = 4.0
"""The size of the queries and keys that encode the offsets: neighbours of an offset get 0.2 of its weight."""


def build(recipe: Recipe, tokenizer: Tokenizer) -> FamilyModel:
    """The family's network, tied, with small random weights."""
    config = published_config(recipe.family, recipe.shape, special_ids(tokenizer, recipe.family))
    model = build_model(config)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2:
            nn.init.normal_(parameter, std=_standard_deviation(name, parameter, recipe.shape["layers"]))
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
    if isinstance(model, LLaDA):
        look_at_neighbours(model)
    return model


def is_embedding(name: str) -> bool:
    return "wte" in name or "embed_tokens" in name


def _standard_deviation(name: str, matrix: Tensor, num_layers: int) -> float:
    """The standard deviation of a matrix; those that write to the residual stream start smaller in deeper networks."""
    if is_embedding(name):
        return EMBEDDING_STD
    writes = any(part in name for part in ("attn_out", "ff_out", "o_proj", "down_proj"))
    return 1 / math.sqrt(matrix.shape[1] * (2 * num_layers if writes else 1))


@torch.no_grad()
def look_at_neighbours(model: LLaDA) -> None:
    """Lets the first heads of a LLaDA attend by position; without shift and biases it learns its neighbours slowly.

    All embeddings get one direction in common (the tied head is blind to it); queries and keys read that direction,
    with a phase that the rotary embedding turns into a peak at the head's offset.
    """
    transformer = model.model.transformer
    common = torch.randn(model.config.width) * EMBEDDING_STD
    transformer.wte.weight += common
    for block, offsets in zip(transformer.blocks, NEIGHBOURS, strict=False):
        assert isinstance(block, Block)
        for head, offset in zip(range(model.config.num_heads), offsets, strict=False):
            _attend_at(block, head, offset, common / common.norm(), model.config.rope_theta)


def _attend_at(block: Block, head: int, offset: int, common: Tensor, theta: float) -> None:
    """Adds score(i, j) = sum of cos(f · (j - i - offset)) over the high frequencies f to one head."""
    size = block.head_dim
    frequencies = theta ** (-torch.arange(0, size, 2) / size)
    # After the norm a token's part along the common direction is about sqrt(width / 2) long.
    strength = (frequencies > 0.05).float() * SHARPNESS / math.sqrt(len(common) / 2)
    query = torch.cat((strength * (frequencies * offset).cos(), strength * (frequencies * offset).sin()))
    key = torch.cat((strength, torch.zeros_like(strength)))
    rows = slice(head * size, (head + 1) * size)
    block.q_proj.weight[rows] += query[:, None] * common
    if head < block.k_proj.weight.shape[0] // size:
        block.k_proj.weight[rows] += key[:, None] * common
