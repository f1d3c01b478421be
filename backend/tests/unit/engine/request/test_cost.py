from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.engine.request.life import Status
from app.engine.request.state import RequestState
from tests.unit.engine.oracle import (
    config_of,
)
from tests.unit.engine.request.requests import families, few, oracle_for, requests, seeds


@families
@few
@given(data=st.data(), context_length=st.sampled_from([6, 12, 64]), seed=seeds)
def test_no_step_needs_more_memory_than_was_admitted(
    family: str, data: st.DataObject, context_length: int, seed: int
) -> None:
    request, oracle = data.draw(requests(family)), oracle_for(family, seed, devotion=0.3)
    state = RequestState(request, config_of(family, context_length), lambda event: None)
    max_tokens, max_rows = state.max_tokens, state.max_rows
    state.start()
    while state.status is Status.RUNNING:
        assert sum(len(sequence.ids) for sequence in state.work.sequences) <= max_tokens
        assert state.work.num_rows <= max_rows
        state.advance(oracle.answer(state.work))
