"""The tokens that would repeat a run of tokens, beside a plain loop."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engine.decoding.ngrams import repeating

MASK, END = 9, 8
texts = st.lists(st.sampled_from([0, 1, 2, MASK, END]), max_size=24)
sizes = st.integers(1, 5)


def runs_of(text: Sequence[int], size: int) -> list[tuple[int, ...]]:
    runs = [tuple(text[start : start + size]) for start in range(len(text) - size + 1)]
    return [run for run in runs if not {MASK, END} & set(run)]


@given(texts, sizes)
def test_a_token_is_refused_where_it_would_complete_a_run_that_stands_there(text: list[int], size: int) -> None:
    refused = set(repeating(text, size, MASK, (END,)))
    written = set(runs_of(text, size))
    for index in (i for i, token_id in enumerate(text) if token_id == MASK):
        for token_id in (0, 1, 2):
            around = [*text[:index], token_id, *text[index + 1 :]]
            near = around[max(index - size + 1, 0) : index + size]
            assert ((index, token_id) in refused) is bool(written & set(runs_of(near, size)))


@given(texts, sizes)
def test_pairs_are_in_order_and_each_comes_once(text: list[int], size: int) -> None:
    pairs = repeating(text, size, MASK, (END,))
    assert list(pairs) == sorted(set(pairs))
    assert all(text[index] == MASK and token_id in (0, 1, 2) for index, token_id in pairs)


@pytest.mark.parametrize(
    ("text", "size", "refused"),
    [
        ([0, 1, 2, 0, 1, MASK], 3, ((5, 2),)),
        ([0, 1, 2, MASK, 1, 2], 3, ((3, 0),)),
        ([0, 1, 2, 0, MASK, 2], 3, ((4, 1),)),
        ([0, 1, 2, 0, MASK, MASK], 3, ()),
        ([0, 1, 2, 0, 1, MASK], 4, ()),
        ([0, 2, MASK], 1, ((2, 0), (2, 2))),
        ([0, 1, END, 0, END, 1, MASK], 2, ()),
        ([MASK], 3, ()),
        ([], 1, ()),
    ],
)
def test_examples(text: list[int], size: int, refused: tuple[tuple[int, int], ...]) -> None:
    assert repeating(text, size, MASK, (END,)) == refused
