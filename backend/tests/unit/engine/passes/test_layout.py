from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from app.engine.passes.layout import ROW_QUANTUM, Arrays, CachedKeys, Heads, Part, arrays_of, cached_positions

lengths = st.lists(st.integers(1, 70), min_size=1, max_size=5)


def arrays(parts: list[Part], num_heads: int = 2, num_threads: int = 2) -> Arrays:
    return arrays_of(parts, Heads(num_heads, num_heads), num_threads)


def texts(sizes: list[int]) -> list[Part]:
    """Each with its last token wanted, and every third one."""
    return [Part(range(size), range(size), [*range(0, size - 1, 3), size - 1]) for size in sizes]


@given(lengths, st.integers(1, 3), st.integers(1, 4))
def test_the_result_of_every_query_comes_back_to_its_token(sizes: list[int], num_heads: int, num_threads: int) -> None:
    made = arrays(texts(sizes), num_heads, num_threads)
    for prefix, rows in (("", made["ids"]), ("last_", made["rows"])):
        spread, attended = made[f"{prefix}query_rows"], made[f"{prefix}attended_rows"]
        assert attended.shape == (len(rows), num_heads)
        assert len(rows) % ROW_QUANTUM == 0
        back = spread.ravel()[attended]
        num_real = sum(sizes) if not prefix else sum(len(part.rows) for part in texts(sizes))
        assert np.array_equal(back[:num_real], np.arange(num_real * num_heads).reshape(num_real, num_heads))
        assert np.array_equal(back[num_real:], np.repeat(back[:1], len(rows) - num_real, axis=0))
        assert spread.shape[-1] >= ROW_QUANTUM


@given(lengths)
def test_the_keys_of_a_lane_are_those_of_its_sequence_and_padding_is_masked(sizes: list[int]) -> None:
    made = arrays(texts(sizes))
    start = 0
    for size, rows, mask in zip(sizes, made["key_rows"], made["mask"], strict=True):
        assert rows[1, :size].tolist() == [2 * row + 1 for row in range(start, start + size)]
        assert set(rows[1, size:].tolist()) <= {2 * start + 1}
        assert not mask[..., :size].any()
        assert (mask[..., size:] == -np.inf).all()
        start += size


@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.integers(1, 9), st.integers(0, 9), st.integers(-3, 3)), min_size=1, max_size=4
    )
)
def test_a_span_sees_itself_and_the_cached_keys_around_it(spans: list[tuple[int, int, int, int]]) -> None:
    parts = []
    for before, inside, behind, shift in spans:
        num_now = max(inside + shift, 1)
        cached = CachedKeys(before + inside + behind, before, before + inside)
        parts.append(Part(range(num_now), range(before, before + num_now), [0], cached=cached))
    num_cached = max(sum(span[:3]) for span in spans) + 1
    made = arrays_of(parts, Heads(2, 2), 2, num_cached)
    positions_of_cached = cached_positions(parts, num_cached)
    for number, (part, (before, _, behind, _)) in enumerate(zip(parts, spans, strict=True)):
        now = part.num_queries
        positions = [*made["key_positions"][number].tolist(), *positions_of_cached[number].tolist()]
        for prefix in ("", "last_"):
            for query in made[f"{prefix}mask"][number, 0]:
                seen = [position for position, hidden in zip(positions, query, strict=True) if hidden == 0]
                assert seen[:now] == list(range(before, before + now))
                assert sorted(seen) == list(range(before + now + behind)), "every position once"
                assert len(query) == part.num_slots + num_cached


def test_a_revisable_token_is_seen_by_no_other_and_sees_all_but_the_token_at_its_position() -> None:
    made = arrays([Part([1, 2, 3, 9, 9], [0, 1, 2, 0, 2], [1, 3, 4], revisable=[0, 2])])
    see = made["mask"][0, 0, :5] == 0
    assert see.astype(int).tolist() == [[1, 1, 1, 0, 0]] * 3 + [[0, 1, 1, 1, 0], [1, 1, 0, 0, 1]]
    assert (made["last_mask"][0, 0, :3] == 0).astype(int).tolist() == [
        [1, 1, 1, 0, 0],
        [0, 1, 1, 1, 0],
        [1, 1, 0, 0, 1],
    ]


def test_the_example_drawn_in_the_module_is_what_it_computes() -> None:
    made = arrays_of([Part([10, 11, 12], [0, 1, 2], [2]), Part([20, 21], [0, 1], [1])], Heads(1, 1), 2)
    assert made["ids"].tolist() == [10, 11, 12, 20, 21, 10, 10, 10]
    assert made["query_rows"][:, 0].tolist() == [[0, 1, 2, 0], [3, 4, 0, 0]]
    assert made["key_rows"][:, 0].tolist() == [[0, 1, 2], [3, 4, 3]]
    assert made["mask"][:, 0, 0].tolist() == [[0, 0, 0], [0, 0, -np.inf]]
    assert made["attended_rows"][:, 0].tolist() == [0, 1, 2, 4, 5, 0, 0, 0]
    assert made["rows"].tolist() == [2, 4, 0, 0]
    span = Part([7, 8, 9], [2, 3, 4], [0], cached=CachedKeys(6, start=2, end=4))
    made = arrays_of([span], Heads(1, 1), 2, num_cached=6)
    seen = made["mask"][0, 0, 0] == 0
    assert (span.num_slots, [int(slot) for slot in np.flatnonzero(seen)]) == (16, [0, 1, 2, 16, 17, 20, 21])
    assert made["key_positions"][0, :3].tolist() == [2, 3, 4]
    assert cached_positions([span], 6)[0, [0, 1, 4, 5]].tolist() == [0, 1, 5, 6]


def test_large_spans_are_filled_up_to_a_larger_multiple() -> None:
    sizes = [Part(range(n), range(n), [], cached=CachedKeys(n, 0, n)).num_slots for n in (3, 100, 300)]
    assert sizes == [16, 112, 320]


def test_rows_of_two_heads_are_those_drawn_beside_the_graphs() -> None:
    made = arrays_of([Part([10, 11, 12], [0, 1, 2], [2]), Part([20, 21], [0, 1], [1])], Heads(2, 2), 2)
    assert made["key_rows"].tolist() == [[[0, 2, 4], [1, 3, 5]], [[6, 8, 6], [7, 9, 7]]]
