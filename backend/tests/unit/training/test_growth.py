"""A grown network computes what the smaller one did, and every new weight can learn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest
import torch

from app.engine.models.base import FamilyModel
from tests.unit.training.conftest import SHAPE, TEXTS, VOCAB_SIZE, tiny_recipe, tokenizer_for
from training.growth import grow, tokens_within
from training.initial import build
from training.tokenizer import special_ids, train_tokenizer

LARGER = {"width": 64, "layers": 3, "heads": 4, "kv_heads": 2, "mlp_width": 96}


def model_of(family: str, seed: int, **changes: Any) -> FamilyModel:
    torch.manual_seed(seed)
    shape = SHAPE | {"width": 32, "heads": 2, "kv_heads": 1} | changes
    return build(replace(tiny_recipe(family, {}), shape=shape), tokenizer_for(family))


def logits_of(model: FamilyModel) -> torch.Tensor:
    ids = torch.arange(20) * 7 % 250
    return model.head(model.hidden(ids, torch.arange(20), [12, 8]))


@pytest.mark.parametrize("changes", [LARGER, {}], ids=["larger", "as large"])
@pytest.mark.parametrize("family", ["dream", "llada"])
def test_a_grown_network_computes_what_the_smaller_one_did(family: str, changes: dict[str, int]) -> None:
    smaller, grown, tokenizer = model_of(family, 1), model_of(family, 2, **changes), tokenizer_for(family)
    for norm in (smaller.stack().norm, smaller.stack().layers[0].parts().mlp_norm):
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
    # The epsilon of a norm weighs a little more over channels that are zero; large states hide it.
    torch.nn.init.normal_(smaller.state_dict()[smaller.EMBEDDING_NAME])
    grow(grown, tokenizer, smaller, tokenizer)
    torch.testing.assert_close(logits_of(grown), logits_of(smaller), rtol=1e-3, atol=1e-3)


def test_the_second_step_has_a_gradient_for_every_new_weight() -> None:
    smaller, grown, tokenizer = model_of("dream", 1), model_of("dream", 2, **LARGER), tokenizer_for("dream")
    grow(grown, tokenizer, smaller, tokenizer)
    optimizer = torch.optim.Adam(grown.parameters(), lr=1e-2)
    for _ in range(2):
        optimizer.step()
        optimizer.zero_grad()
        torch.autograd.backward(logits_of(grown).square().mean())
    for layer in grown.stack().layers:
        for linear in layer.parts().linears:
            assert torch.count_nonzero(cast(torch.Tensor, linear.weight.grad)) > 0.99 * linear.weight.numel()


def test_a_new_token_starts_as_the_mean_of_the_old_ones_in_its_text() -> None:
    tokenizer, larger = tokenizer_for("dream"), train_tokenizer(TEXTS, VOCAB_SIZE + 8, "dream")
    smaller, grown = model_of("dream", 1), model_of("dream", 2, vocab_size=VOCAB_SIZE + 8)
    within = tokens_within(larger, tokenizer)
    assert [len(pieces) for pieces in within].count(1) >= VOCAB_SIZE - 1
    assert within[special_ids(larger, "dream")["mask"]] == [special_ids(tokenizer, "dream")["mask"]]
    grow(grown, larger, smaller, tokenizer)
    new, old = (model.state_dict()["model.embed_tokens.weight"] for model in (grown, smaller))
    joined = next(token for token, pieces in enumerate(within) if len(pieces) == 2)
    torch.testing.assert_close(new[joined], old[within[joined]].mean(0))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({"mlp_width": 16}, "mlp_width is 64 in the checkpoint and 16 in the recipe"),
        ({"layers": 1}, "num_layers is 2 in the checkpoint and 1 in the recipe"),
        ({"width": 64}, "these differ: head_dim"),
        ({"kv_heads": 2}, "these differ: queries to a key head"),
    ],
)
def test_a_network_that_cannot_be_grown_says_what_differs(shape: dict[str, int], message: str) -> None:
    tokenizer = tokenizer_for("dream")
    with pytest.raises(ValueError, match=message):
        grow(model_of("dream", 2, **shape), tokenizer, model_of("dream", 1), tokenizer)
