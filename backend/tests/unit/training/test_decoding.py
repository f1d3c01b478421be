from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from app.engine.canvas.special import SpecialIds
from app.engine.models.base import FamilyModel, ModelConfig
from tests.unit.training.conftest import TEXTS, tiny_recipe
from training.decoding import (
    GREEDY,
    Decoding,
    Sampling,
    block_filling,
    decode_all,
    fill,
    fill_blocks,
    fill_variable,
    filling,
    growing,
    variable_filling,
)
from training.initial import build
from training.objectives import Language

EOS, MASK, EXPAND = 17, 18, 19


class Oracle(FamilyModel):
    """Predicts the tokens that `wish` gives for the canvas, with most confidence at the leftmost position."""

    def __init__(self, wish: Callable[[list[int]], list[int]], shift: int) -> None:
        super().__init__()
        special = SpecialIds(mask=MASK, eos=EOS, pad=EOS, expand=EXPAND)
        self.config = ModelConfig("dreamon", 20, 4, 1, 1, 1, 4, 4, 64, 1e4, 1e-6, False, special, shift)
        self.wish = wish

    def hidden(self, ids: Tensor, positions: Tensor, lengths: Sequence[int], *_: Any, **__: Any) -> Tensor:
        if len(lengths) > 1:
            parts = zip(torch.split(ids, list(lengths)), torch.split(positions, list(lengths)), strict=True)
            return torch.cat([self.hidden(one, places, [len(one)]) for one, places in parts])
        wished = self.wish(ids.tolist())
        read_at = [max(i - self.config.prediction_shift, 0) for i in range(len(wished))]
        states = torch.zeros(len(wished), 20)
        # With a shift row 0 speaks for positions 0 and 1, but position 0 is never masked: the later one is heard.
        for position, row in enumerate(read_at):
            states[row] = 0
            states[row, wished[position]] = 20 - 0.5 * position
        return states

    def head(self, states: Tensor) -> Tensor:
        return states


@pytest.mark.parametrize("shift", [0, 1])
def test_fill_writes_every_mask_and_nothing_else(shift: int) -> None:
    oracle = Oracle(lambda canvas: list(range(len(canvas))), shift)
    assert fill(oracle, [9, MASK, 2, MASK, MASK, 7]) == [9, 1, 2, 3, 4, 7]


@pytest.mark.parametrize("num_masks", [1, 3, 5, 9])
def test_a_variable_gap_finds_its_length_from_every_start(num_masks: int) -> None:
    """The oracle wants the five tokens 1..5 between 0 and 6, and says so with expand and delete."""

    def wish(canvas: list[int]) -> list[int]:
        room = len(canvas) - 2
        middle = [1, 2, 3, 4, 5][:room] + [EOS] * (room - 5)
        if room < 5:
            middle[-1] = EXPAND
        return [0, *middle, 6]

    assert fill_variable(Oracle(wish, 1), [0], num_masks, [6]) == [1, 2, 3, 4, 5]


def test_expansion_ends_at_the_longest_length() -> None:
    oracle = Oracle(lambda canvas: [EXPAND] * len(canvas), 1)
    assert len(fill_variable(oracle, [0], 2, [6], max_length=8)) == 8


def test_continuation_stops_at_the_end_of_the_text() -> None:
    oracle = Oracle(lambda canvas: [i if i < 7 else EOS for i in range(len(canvas))], 0)
    assert fill_blocks(oracle, [0, 1], num_tokens=40, block=4) == [2, 3, 4, 5, 6]


def counting(length: int) -> Oracle:
    """Writes its position everywhere, and deletes from `length` on."""
    return Oracle(lambda canvas: [i if i < length else EOS for i in range(len(canvas))], 1)


def test_a_continuation_grows_span_by_span_until_its_end_is_deleted() -> None:
    oracle = counting(8)
    [grown] = decode_all(oracle, [growing([0], 40, 3, oracle.config.special, GREEDY)])
    assert grown.text.ids == [1, 2, 3, 4, 5, 6, 7]
    assert grown.text.ended


def test_a_continuation_without_end_stops_at_its_limit() -> None:
    oracle = counting(100)
    [grown] = decode_all(oracle, [growing([0], 7, 3, oracle.config.special, GREEDY)])
    assert grown.text.ids == [1, 2, 3, 4, 5, 6, 7]
    assert not grown.text.ended


def test_a_gap_deleted_whole_is_empty() -> None:
    oracle = counting(0)
    [empty] = decode_all(oracle, [variable_filling([0], 4, [9], oracle.config.special)])
    assert (empty.text.ids, empty.text.ended, empty.num_passes) == ([], True, 4)


def test_every_pass_writes_deletes_or_expands() -> None:
    """Expands for ever, and deletes what it got at the limit: the number of passes is bounded all the same."""
    oracle = Oracle(lambda canvas: [EXPAND if len(canvas) < 10 else EOS] * len(canvas), 1)
    [decoded] = decode_all(oracle, [variable_filling([0], 2, [6], oracle.config.special, max_length=8)])
    assert decoded.num_passes <= 2 + 4 * 8


def random_model(family: str, language: Language) -> FamilyModel:
    torch.manual_seed(3)
    model = build(tiny_recipe(family, {}), language.tokenizer)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    return model


def decodings(language: Language) -> list[Decoding]:
    """Canvases of many lengths, greedy and sampled."""
    special, made = language.special, []
    for seed, text in enumerate(TEXTS[:8]):
        prompt = language.beginning + language.encode(text)[: 5 + seed]
        masks = [special.mask] * (3 + seed)
        made += [
            filling([*prompt, *masks, *prompt], special, GREEDY),
            filling([*prompt, *masks], special, Sampling(0.7, seed=seed)),
            block_filling(prompt, 24, 8, special, Sampling(0.7, seed=seed)),
        ]
        if special.expand is not None:
            made.append(variable_filling(prompt, 2 + seed, [special.eos], special, max_length=12))
            made.append(growing(prompt, 24, 4, special, Sampling(0.7, seed=seed)))
    return made


@pytest.mark.parametrize("family", ["llada", "dream"])
@pytest.mark.parametrize(
    "batch_tokens", [1, pytest.param(100, marks=pytest.mark.thorough), pytest.param(10_000, marks=pytest.mark.thorough)]
)
def test_a_canvas_decoded_in_lockstep_gives_the_same_text_as_alone(
    family: str, batch_tokens: int, request: pytest.FixtureRequest
) -> None:
    language: Language = request.getfixturevalue("llada_language" if family == "llada" else "dreamon_language")
    model = random_model(family, language)
    together = decode_all(model, decodings(language), batch_tokens)
    assert together == [decode_all(model, [one])[0] for one in decodings(language)]
    assert len({tuple(decoded.text.ids) for decoded in together}) > len(together) // 2


def test_nothing_masked_takes_no_pass() -> None:
    oracle = counting(3)
    [decoded] = decode_all(oracle, [filling([1, 2], oracle.config.special, GREEDY)])
    assert (decoded.text.ids, decoded.num_passes) == ([1, 2], 0)
