from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from app.engine.models.base import FamilyModel, ModelConfig
from app.engine.special import SpecialIds
from training.decoding import fill, fill_blocks, fill_variable

EOS, MASK, EXPAND = 17, 18, 19


class Oracle(FamilyModel):
    """Predicts for each position what `wish` says of the canvas, the leftmost one surest."""

    def __init__(self, wish: Callable[[list[int]], list[int]], shift: int) -> None:
        super().__init__()
        special = SpecialIds(mask=MASK, eos=EOS, pad=EOS, expand=EXPAND)
        self.config = ModelConfig("dreamon", 20, 4, 1, 1, 1, 4, 64, 1e4, 1e-6, False, special, shift)
        self.wish = wish

    def hidden(self, ids: Tensor, positions: Tensor, lengths: Sequence[int]) -> Tensor:
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
