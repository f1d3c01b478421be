from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from app.engine.decoding.rules import LogitRules
from app.engine.interface.params import DecodingParams, GenerationRequest
from app.engine.request.state import RequestState
from tests.unit.engine.oracle import (
    EOS,
    MASK,
    Oracle,
    config_of,
    end_of,
    run_request,
)

# -- the length of a gap ----------------------------------------------------------------------------------------------


class SureOf(Oracle):
    """Is sure of itself where the canvas has `seed` masks."""

    def _row(self, ids: Sequence[int], position: int, rules: LogitRules) -> tuple[int, float]:
        token_id, _ = super()._row(ids, position, rules)
        return token_id, 0.9 if list(ids).count(MASK) == self.seed else 1e-6


def gap(max_new_tokens: int, *mask_lengths: int, **changes: Any) -> GenerationRequest:
    params = DecodingParams(max_new_tokens, mask_lengths=mask_lengths, **changes)
    return GenerationRequest("r", (5, 6), (7,), params)


@pytest.mark.parametrize("family", ["llada", "dream"])
@pytest.mark.parametrize("length", [2, 5, 9])
def test_the_length_with_the_highest_confidence_is_filled(family: str, length: int) -> None:
    end = end_of(run_request(gap(9, 2, 5, 9), config_of(family), SureOf(length)))
    assert end.num_tokens == length


def test_all_candidate_lengths_share_one_forward_pass() -> None:
    state = RequestState(gap(6, 9, 2, 5, 2), config_of("llada"), lambda event: None)
    state.start()
    assert [tuple(sequence.ids) for sequence in state.work.sequences] == [
        (5, 6, *[MASK] * length, 7) for length in (2, 5, 6)
    ]
    assert [list(sequence.wanted) for sequence in state.work.sequences] == [[*range(2, 2 + n)] for n in (2, 5, 6)]
    state.advance(SureOf(2).answer(state.work))
    assert (state.nfe, state.canvas.span_length) == (1, 2)


@pytest.mark.parametrize(("lengths", "expected"), [((3,), 3), ((7, 9), 6), ((), 6)])
def test_no_pass_is_spent_if_there_is_no_choice(lengths: tuple[int, ...], expected: int) -> None:
    end = end_of(run_request(gap(6, *lengths), config_of("llada"), Oracle(0)))
    assert (end.num_tokens, end.nfe) == (expected, expected)


def test_the_choice_heeds_the_ban_on_the_end_of_the_text() -> None:
    state = RequestState(gap(6, 2, 5, eos_never_predicted=True), config_of("llada"), lambda event: None)
    state.start()
    assert state.work.rules.banned == (EOS,)
