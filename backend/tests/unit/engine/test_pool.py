from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from app.engine.pool import KeyPool

LAYERS, HEADS, HEAD_DIM = 2, 3, 4


def fresh(tokens: list[int]) -> list[np.ndarray]:
    """Keys and values that tell whose they are: of token t in array a all 100 a + t."""
    rows = np.array(tokens, np.float32)[:, None] + np.zeros(HEADS * HEAD_DIM, np.float32)
    return [100 * number + rows for number in range(2 * LAYERS)]


def kept(pool: KeyPool, name: str) -> list[list[float]]:
    """What each array holds for a sequence, all heads and dimensions alike."""
    told = []
    for array in pool.arrays:
        tokens = array.reshape(-1, HEADS * HEAD_DIM)[pool._slots[name]]
        assert (tokens == tokens[:, :1]).all()
        told.append(tokens[:, 0].tolist())
    return told


def expected(tokens: list[int]) -> list[list[float]]:
    return [[100.0 * number + token for token in tokens] for number in range(2 * LAYERS)]


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["make", "fit", "drop"]), st.integers(0, 9)), max_size=40))
def test_every_sequence_finds_what_it_left(moves: list[tuple[int, str, int]]) -> None:
    pool, texts, next_token = KeyPool(LAYERS, HEADS, HEAD_DIM), dict[str, list[int]](), 1
    for number, move, size in moves:
        name = str(number)
        new = list(range(next_token, next_token + size))
        next_token += size
        if move == "drop":
            pool.drop(name)
            texts.pop(name, None)
        elif move == "make" or name not in texts:
            texts[name] = new
            pool.write(pool.make(name, size), np.arange(size), fresh(new))
        else:
            start = min(len(texts[name]), 2)
            behind = texts[name][start + 1 :]
            slots = pool.fit(name, start, start + size, len(behind))
            pool.write(slots[start : start + size], np.arange(size), fresh(new))
            texts[name] = [*texts[name][:start], *new, *behind]
        for each, tokens in texts.items():
            assert kept(pool, each) == expected(tokens)
        taken = [slot for each in texts for slot in pool._slots[each].tolist()]
        assert len(taken) == len(set(taken))
        assert 0 not in taken
        assert all(not array[:HEADS].any() for array in pool.arrays)


def test_memory_goes_back_when_nothing_is_kept() -> None:
    pool = KeyPool(LAYERS, HEADS, HEAD_DIM)
    small = pool.arrays[0].nbytes
    pool.make("a", 5000)
    pool.make("b", 10)
    pool.drop("a")
    assert pool.arrays[0].nbytes > 5000 * HEADS * HEAD_DIM * 4
    pool.drop("b")
    assert pool.arrays[0].nbytes == small
