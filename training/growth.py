"""Makes a larger network out of a trained one: wider, deeper, with another vocabulary.

With the same vocabulary the larger network computes what the smaller one did (as in Net2Net, arXiv 1511.05641): nothing
is written to new channels of the residual states, from new heads, from new units of the MLPs or by new layers. What
reads them starts random, as in a new network, so that training uses them from its first step on.
A new token starts as the mean of the old tokens that its text consists of.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from tokenizers import Tokenizer
from torch import Tensor

from app.engine.models.base import FamilyModel, LayerParts


@torch.no_grad()
def grow(model: FamilyModel, tokenizer: Tokenizer, smaller: FamilyModel, its_tokenizer: Tokenizer) -> None:
    """Writes the weights of a smaller trained network of the same family into a new one.

    Raises:
        ValueError: the networks differ in more than the numbers of channels, heads, units, layers and tokens.
    """
    _check(model, smaller)
    stack, old = model.stack(), smaller.stack()
    embedding, its_embedding = (cast(Tensor, each.embedding.weight) for each in (stack, old))
    embedding.zero_()
    for token, pieces in enumerate(tokens_within(tokenizer, its_tokenizer)):
        embedding[token, : its_embedding.shape[1]] = its_embedding[pieces].mean(0)
    _put_norm(stack.norm.weight, old.norm.weight)
    for layer, its_layer in zip(stack.layers, old.layers, strict=False):
        _put_layer(layer.parts(), its_layer.parts())
    for layer in stack.layers[len(old.layers) :]:
        layer.parts().out.weight.zero_()
        layer.parts().down.weight.zero_()


def tokens_within(tokenizer: Tokenizer, other: Tokenizer) -> list[list[int]]:
    """For each token of `tokenizer`, the tokens of the other one that its text consists of; itself, if it is there."""
    known = other.get_vocab(with_added_tokens=True)
    result = []
    for token in range(tokenizer.get_vocab_size(with_added_tokens=True)):
        own = known.get(str(tokenizer.id_to_token(token)))
        text = tokenizer.decode([token], skip_special_tokens=False)
        result.append([own] if own is not None else list(other.encode(text, add_special_tokens=False).ids))
    return result


def _check(model: FamilyModel, smaller: FamilyModel) -> None:
    new, old = model.config, smaller.config
    differing = [
        name for name in ("family", "head_dim", "norm_eps", "rope_theta") if getattr(new, name) != getattr(old, name)
    ]
    if new.num_heads * old.num_kv_heads != old.num_heads * new.num_kv_heads:
        differing.append("queries to a key head")
    if differing:
        raise ValueError(f"these differ: {', '.join(differing)}; a network can grow in width, heads, units and layers")
    for name in ("width", "num_layers", "num_heads", "mlp_width"):
        if getattr(new, name) < getattr(old, name):
            raise ValueError(f"{name} is {getattr(old, name)} in the checkpoint and {getattr(new, name)} in the recipe")


def _put_layer(new: LayerParts, old: LayerParts) -> None:
    _put_norm(new.attention_norm.weight, old.attention_norm.weight)
    _put_norm(new.mlp_norm.weight, old.mlp_norm.weight)
    for reader, its_reader in zip(_readers(new), _readers(old), strict=True):
        rows, columns = its_reader.weight.shape
        reader.weight[:rows, :columns] = its_reader.weight
        if reader.bias is not None:
            reader.bias.zero_()
            reader.bias[:rows] = its_reader.bias
    for writer, its_writer in ((new.out, old.out), (new.down, old.down)):
        rows, columns = its_writer.weight.shape
        writer.weight.zero_()
        writer.weight[:rows, :columns] = its_writer.weight


def _readers(parts: LayerParts) -> tuple[torch.nn.Linear, ...]:
    return parts.q, parts.k, parts.v, parts.gate, parts.up


def _put_norm(new: Tensor, old: Tensor) -> None:
    """The weight of a norm over more channels, of which the new ones are zero and lower the mean square."""
    new.fill_(1)
    new[: len(old)] = old * math.sqrt(len(old) / len(new))
