from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.engine.cache.span import ComputedSpan
from app.engine.passes.batch import pack
from app.engine.passes.work import SequenceInput

FILL, MASK = 99, 98


@st.composite
def inputs(draw: st.DrawFn) -> SequenceInput:
    ids = draw(st.lists(st.integers(0, 9), min_size=1, max_size=6))
    return SequenceInput(ids, sorted(draw(st.sets(st.integers(0, len(ids) - 1)))))


@given(st.lists(inputs(), max_size=5), st.sampled_from([0, 1]), st.integers(1, 9))
def test_sequences_lie_end_to_end_and_each_row_is_read_in_its_own(
    sequences: list[SequenceInput], shift: int, quantum: int
) -> None:
    batch = pack(sequences, shift, FILL, MASK, quantum)
    flat = [(index, place) for index, sequence in enumerate(sequences) for place in range(len(sequence.ids))]
    num_tokens = len(flat)
    assert batch.ids[:num_tokens] == [sequences[index].ids[place] for index, place in flat]
    assert batch.positions[:num_tokens] == [place for _, place in flat]
    assert batch.lengths == [len(sequence.ids) for sequence in sequences]
    assert [flat[row] for row in batch.rows[: batch.num_rows]] == [
        (index, max(place - shift, 0)) for index, sequence in enumerate(sequences) for place in sequence.wanted
    ]


@given(st.lists(inputs(), max_size=5), st.integers(1, 9))
def test_filling_completes_the_quantum_and_no_more(sequences: list[SequenceInput], quantum: int) -> None:
    batch = pack(sequences, 0, FILL, MASK, quantum)
    num_tokens = sum(batch.lengths)
    for length, asked in ((len(batch.ids), num_tokens), (len(batch.rows), batch.num_rows)):
        assert length % quantum == 0
        assert 0 <= length - asked < quantum
    assert set(batch.ids[num_tokens:]) <= {FILL}
    assert len(batch.positions) == len(batch.ids)
    assert all(row < len(batch.ids) for row in batch.rows)


def test_a_revisable_position_gets_a_mask_of_its_own_behind_its_sequence() -> None:
    batch = pack([SequenceInput([5, 6, 7], [0], revisable=[1, 2]), SequenceInput([8], [0])], 0, FILL, MASK, 8)
    assert batch.ids == [5, 6, 7, MASK, MASK, 8, FILL, FILL]
    assert batch.positions == [0, 1, 2, 1, 2, 0, 0, 0]
    assert batch.lengths == [5, 1]
    assert batch.rows[: batch.num_rows] == [0, 3, 4, 5]


def test_the_example_drawn_in_the_module_is_what_it_packs() -> None:
    sequences = [
        SequenceInput([0, 1, 12, 13, 14], [4], "a", ComputedSpan((2, 5))),
        SequenceInput([20, 21], [1], revisable=[0]),
    ]
    batch = pack(sequences, 0, FILL, MASK, 4)
    assert batch.ids == [12, 13, 14, 20, 21, MASK, FILL, FILL]
    assert batch.positions == [2, 3, 4, 0, 1, 0, 0, 0]
    assert (batch.lengths, batch.rows, batch.num_rows) == ([3, 3], [2, 4, 5, 0], 3)
    assert pack(sequences, 1, FILL, MASK, 4).rows[:3] == [1, 3, 5]
