from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from app.engine.layout import ROW_QUANTUM, Arrays, Heads, Part, arrays_of

lengths = st.lists(st.integers(1, 70), min_size=1, max_size=5)


def arrays(parts: list[Part], num_heads: int = 2, num_threads: int = 2) -> Arrays:
    return arrays_of(parts, Heads(num_heads, num_heads), num_threads)


def texts(sizes: list[int]) -> list[Part]:
    """Each with its last token wanted, and every third one."""
    return [Part(range(size), range(size), [*range(0, size - 1, 3), size - 1]) for size in sizes]


@given(lengths, st.integers(1, 3), st.integers(1, 4))
def test_every_query_comes_back_to_its_own_place(sizes: list[int], num_heads: int, num_threads: int) -> None:
    made = arrays(texts(sizes), num_heads, num_threads)
    for prefix, rows in (("", made["ids"]), ("last_", made["rows"])):
        spread, places = made[f"{prefix}query_rows"], made[f"{prefix}places"]
        assert places.shape == (len(rows), num_heads)
        assert len(rows) % ROW_QUANTUM == 0
        back = spread.ravel()[places]
        num_real = sum(sizes) if not prefix else sum(len(part.rows) for part in texts(sizes))
        assert np.array_equal(back[:num_real], np.arange(num_real * num_heads).reshape(num_real, num_heads))
        assert np.array_equal(back[num_real:], np.repeat(back[:1], len(rows) - num_real, axis=0))
        assert spread.shape[-1] >= ROW_QUANTUM


@given(lengths)
def test_keys_are_the_sequences_own_and_the_rest_is_masked(sizes: list[int]) -> None:
    made = arrays(texts(sizes))
    start = 0
    for size, rows, mask in zip(sizes, made["key_rows"], made["mask"], strict=True):
        assert rows[1, :size].tolist() == [2 * row + 1 for row in range(start, start + size)]
        assert set(rows[1, size:].tolist()) <= {2 * start + 1}
        assert not mask[..., :size].any()
        assert (mask[..., size:] == -np.inf).all()
        start += size


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9), st.integers(0, 9)), min_size=1, max_size=4))
def test_the_fresh_keys_of_windows_stand_in_their_order_among_the_kept(spans: list[tuple[int, int, int]]) -> None:
    parts, first = [], 1
    for before, inside, behind in spans:
        slots = np.arange(first, first + before + inside + behind)
        first += len(slots)
        parts.append(Part(range(inside), range(before, before + inside), [0], slots=slots, start=before))
    made = arrays(parts)
    for number, part in enumerate(parts):
        assert part.slots is not None
        assert made["key_rows"][number, 0, : part.num_keys].tolist() == [2 * slot for slot in part.slots.tolist()]
        assert set(made["key_rows"][number, 0, part.num_keys :].tolist()) <= {0}
        assert made["key_positions"][number].tolist() == list(range(made["key_positions"].shape[1]))
    expected = [
        (number, head, part.start + i) for number, part in enumerate(parts) for i in part.ids for head in (0, 1)
    ]
    assert [tuple(place) for place in made["fresh_places"].reshape(-1, 3).tolist()][: len(expected)] == expected


def test_a_doubted_token_is_seen_by_nobody_and_sees_all_but_the_token_in_its_place() -> None:
    made = arrays([Part([1, 2, 3, 9, 9], [0, 1, 2, 0, 2], [1, 3, 4], doubted=[0, 2])])
    see = made["mask"][0, 0, :5] == 0
    assert see.astype(int).tolist() == [[1, 1, 1, 0, 0]] * 3 + [[0, 1, 1, 1, 0], [1, 1, 0, 0, 1]]
    assert (made["last_mask"][0, 0, :3] == 0).astype(int).tolist() == [
        [1, 1, 1, 0, 0],
        [0, 1, 1, 1, 0],
        [1, 1, 0, 0, 1],
    ]
