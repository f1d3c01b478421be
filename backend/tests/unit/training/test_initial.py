from __future__ import annotations

from dataclasses import replace

import torch

from app.engine.models.layers import Rotary
from app.engine.models.llada import Block, LLaDA
from tests.unit.training.conftest import SHAPE, tiny_recipe, tokenizer_for
from training.initial import NEIGHBOURS, build


def test_the_first_heads_of_a_llada_look_at_their_neighbours() -> None:
    torch.manual_seed(0)
    shape = SHAPE | {"width": 192, "heads": 3, "kv_heads": 3}
    model = build(replace(tiny_recipe("llada", {}), shape=shape), tokenizer_for("llada"))
    assert isinstance(model, LLaDA)
    transformer = model.model.transformer
    block = transformer.blocks[0]
    assert isinstance(block, Block)
    states = block.attn_norm(transformer.wte(torch.randint(0, 200, (40,))))
    cos, sin = model.rotary.angles(torch.arange(40))
    query, key = (
        Rotary.rotate(projection(states).unflatten(-1, (-1, block.head_dim)), cos, sin)
        for projection in (block.q_proj, block.k_proj)
    )
    attention = (torch.einsum("ihd,jhd->hij", query, key) / block.head_dim**0.5).softmax(-1)
    for head, offset in enumerate(NEIGHBOURS[0]):
        at_offset, opposite = (float(attention[head].diagonal(o).mean().detach()) for o in (offset, -offset))
        assert at_offset > 0.15  # spread evenly it were 0.025
        assert at_offset > 2 * opposite


def test_layers_that_write_to_the_residual_stream_start_smaller() -> None:
    torch.manual_seed(0)
    weights = build(tiny_recipe("dream", {}), tokenizer_for("dream")).state_dict()
    assert (
        weights["model.layers.0.self_attn.o_proj.weight"].std()
        < weights["model.layers.0.self_attn.q_proj.weight"].std()
    )
    assert float(weights["model.layers.0.self_attn.q_proj.bias"].abs().max()) == 0
