from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from app.engine.decoding.guidance import guide, unconditional_ids

MASK = 0


@given(st.lists(st.integers(0, 9)), st.sets(st.integers(0, 9)))
def test_the_unconditional_branch_does_not_see_the_given_text(ids: list[int], given: set[int]) -> None:
    expected = list(ids)
    for position in given & set(range(len(ids))):
        expected[position] = MASK
    assert unconditional_ids(ids, given, MASK) == expected


def test_a_scale_of_zero_changes_nothing() -> None:
    conditional, unconditional = torch.tensor([[1.0, -2.0]]), torch.tensor([[0.5, 4.0]])
    assert torch.equal(guide(conditional, unconditional, 0.0), conditional)


@pytest.mark.parametrize(("scale", "expected"), [(1.0, [1.5, -8.0]), (0.5, [1.25, -5.0])])
def test_guidance_goes_on_in_the_direction_of_the_prompt(scale: float, expected: list[float]) -> None:
    guided = guide(torch.tensor([[1.0, -2.0]]), torch.tensor([[0.5, 4.0]]), scale)
    assert guided.tolist() == [expected]
