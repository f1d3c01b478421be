from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engine.cache import lanes as cache_lanes
from app.engine.cache.lanes import CachedLanes, Stack

ARRAYS, HEADS, HEAD_DIM = 4, 3, 2


def stack_of(texts: list[list[int]]) -> Stack:
    """Keys and values that tell whose they are: of token t in array a all 1000 a + t. Nonsense behind the tokens."""
    stack = []
    for number in range(ARRAYS):
        array = np.full((len(texts), HEADS, max(map(len, texts)), HEAD_DIM), -1, np.float32)
        for lane, tokens in enumerate(texts):
            array[lane, :, : len(tokens)] = 1000 * number + np.array(tokens, np.float32)[:, None]
        stack.append(array)
    return stack


def cached(keys: CachedLanes, names: list[str]) -> list[list[int]]:
    """The tokens that are cached of these sequences, which every array, head and dimension has to agree about."""
    stack = keys.gather(names)
    first = [stack[0][lane, 0, : keys.length(name), 0].astype(int).tolist() for lane, name in enumerate(names)]
    for lane, tokens in enumerate(first):
        for array, expected in zip(stack, stack_of([tokens]), strict=True):
            assert array.shape[0] == len(names)
            assert np.array_equal(array[lane, :, : len(tokens)], expected[0])
    return first


sequences = st.lists(st.integers(0, 5), min_size=1, max_size=4, unique=True)


@given(
    st.lists(
        st.tuples(st.sampled_from(["store", "read", "refresh", "extend", "drop"]), sequences, st.integers(1, 9)),
        max_size=30,
    )
)
def test_every_sequence_finds_what_it_stored(moves: list[tuple[str, list[int], int]]) -> None:
    keys, texts, next_token = CachedLanes(), dict[str, list[int]](), 1
    for move, numbers, size in moves:
        known = [str(number) for number in numbers if str(number) in texts]
        if move == "store":
            lanes = [list(range(next_token + 10 * n, next_token + 10 * n + size + n)) for n, _ in enumerate(numbers)]
            next_token += 100
            names = [str(number) if number else None for number in numbers]  # number 0 is not cached
            keys.store(names, [len(tokens) for tokens in lanes], stack_of(lanes))
            texts |= {name: tokens for name, tokens in zip(names, lanes, strict=True) if name is not None}
        elif move == "refresh" and known:
            new = [next_token]
            next_token += 100
            keys.refresh(known[0], len(texts[known[0]]) - 1, [array[0] for array in stack_of([new])])
            texts[known[0]][-1:] = new
        elif move == "extend" and known:
            start, size = max(len(texts[known[0]]) - size, 0), 20 * size
            new = list(range(next_token, next_token + size))
            next_token += 200
            keys.extend(known[0], start, [array[0] for array in stack_of([new])])
            texts[known[0]][start:] = new
        elif move == "drop":
            for name in known:
                keys.drop(name)
                del texts[name]
        elif known:
            assert cached(keys, known) == [texts[name] for name in known]
    for name, tokens in texts.items():
        assert cached(keys, [name]) == [tokens]


def test_sequences_that_were_stored_together_are_read_where_they_are() -> None:
    keys, stack = CachedLanes(), stack_of([[1, 2], [3], [4, 5, 6]])
    keys.store(["a", "b", "c"], [2, 1, 3], stack)
    assert all(np.shares_memory(*pair) for pair in zip(keys.gather(["a", "b", "c"]), stack, strict=True))
    assert all(np.shares_memory(*pair) for pair in zip(keys.gather(["b", "c"]), stack, strict=True))
    mixed = keys.gather(["c", "a"])
    assert not any(np.shares_memory(*pair) for pair in zip(mixed, stack, strict=True))
    assert all(np.shares_memory(*pair) for pair in zip(keys.gather(["c", "a"]), mixed, strict=True))


def test_one_sequence_of_many_does_not_hold_the_memory_of_all() -> None:
    keys, stack = CachedLanes(), stack_of([[1], [2], [3]])
    keys.store(["a", "b", "c"], [1, 1, 1], stack)
    assert not np.shares_memory(keys.gather(["b"])[0], stack[0])


def test_slots_behind_a_shorter_sequence_hold_numbers() -> None:
    """They are masked, but NaN times nothing is NaN."""
    keys = CachedLanes()
    keys.store(["short"], [1], stack_of([[1, 2, 3]]))
    keys.store(["broken"], [3], [np.full_like(array, np.nan) for array in stack_of([[1, 2, 3]])])
    gathered = keys.gather(["short", "broken"])
    assert not any(np.isnan(array[0]).any() for array in gathered)


def test_a_stack_that_finds_no_room_leaves_what_is_cached_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = CachedLanes()
    keys.store(["a", "b"], [2, 3], stack_of([[1, 2], [3, 4, 5]]))
    with monkeypatch.context() as patch:

        def refuse(*_: object) -> Stack:
            raise MemoryError

        patch.setattr(cache_lanes, "_stacked", refuse)
        with pytest.raises(MemoryError):
            keys.gather(["b", "a"])
    assert cached(keys, ["a"]) == [[1, 2]]
    assert cached(keys, ["b", "a"]) == [[3, 4, 5], [1, 2]]
