from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engine.decoding.adjustment import Adjustment
from app.engine.decoding.commit.registry import rules_on
from app.engine.interface.events import FinishReason
from app.engine.interface.params import DecodingParams, GenerationRequest
from app.engine.passes.work import Work
from app.engine.request.life import Status
from app.engine.request.state import RequestState
from tests.profiles import examples
from tests.unit.engine.oracle import (
    EOS,
    EXPAND,
    MASK,
    TOKENS,
    TURN,
    Oracle,
    Writer,
    config_of,
    end_of,
    run_request,
    visible_text,
)
from tests.unit.engine.request.requests import FAMILIES, families, few, oracle_for, request_of, requests, seeds

# -- every request ----------------------------------------------------------------------------------------------------


@families
@few
@given(data=st.data(), context_length=st.sampled_from([6, 12, 64]), seed=seeds)
def test_no_request_exceeds_its_length_or_shows_what_is_no_text(
    family: str, data: st.DataObject, context_length: int, seed: int
) -> None:
    request = data.draw(requests(family))
    events = run_request(request, config_of(family, context_length), oracle_for(family, seed, devotion=0.3))
    text, end = visible_text(events), end_of(events)
    assert len(text) == end.num_tokens <= request.params.max_new_tokens
    assert not {MASK, EOS, request.params.end_of_turn} & set(text)
    assert family != "dreamon" or EXPAND not in text


@families
@examples(120)
@given(data=st.data(), context_length=st.sampled_from([12, 64]), seed=seeds)
def test_steps_that_no_reader_sees_may_be_left_out(
    family: str, data: st.DataObject, context_length: int, seed: int
) -> None:
    request = without_draws(data.draw(requests(family)))
    to_the_end = replace(request, params=replace(request.params, run_to_end=True))
    config, oracle = config_of(family, context_length), oracle_for(family, seed)
    quick, thorough = run_request(request, config, oracle), run_request(to_the_end, config, oracle)
    assert visible_text(quick) == visible_text(thorough)
    assert end_of(quick).reason is end_of(thorough).reason
    assert end_of(quick).nfe <= end_of(thorough).nfe


def without_draws(request: GenerationRequest) -> GenerationRequest:
    """A step that commits nothing still draws its random numbers, so only a greedy request is left unchanged by it."""
    is_random = request.params.algorithm == "random"
    params = replace(request.params, alg_temp=0.0, algorithm=None if is_random else request.params.algorithm)
    if rules_on(params):  # in the published loop `steps` do not bound a rule
        params = replace(params, steps=None)
    return replace(request, params=params, snapshots=False)


@families
@few
@given(data=st.data(), seed=seeds)
def test_a_request_is_reproduced_by_its_seed(family: str, data: st.DataObject, seed: int) -> None:
    request, config, oracle = data.draw(requests(family)), config_of(family), oracle_for(family, seed)
    assert run_request(request, config, oracle) == run_request(request, config, oracle)


@families
@few
@given(data=st.data(), seed=seeds)
def test_snapshots_do_not_change_the_result(family: str, data: st.DataObject, seed: int) -> None:
    request, config, oracle = data.draw(requests(family)), config_of(family), oracle_for(family, seed)
    events = run_request(request, config, oracle)
    silent = run_request(replace(request, snapshots=False), config, oracle)
    assert visible_text(events) == visible_text(silent)
    assert end_of(events) == end_of(silent)


# -- how it ends ------------------------------------------------------------------------------------------------------


@families
def test_a_text_that_does_not_end_is_cut_at_its_length(family: str) -> None:
    end = end_of(run_request(request_of(40, open_ended=True), config_of(family), Oracle(0)))
    assert (end.reason, end.num_tokens) == (FinishReason.LENGTH, 40)


@families
@pytest.mark.parametrize("length", [0, 1, 7, 20])
def test_a_text_that_the_model_ends_stops(family: str, length: int) -> None:
    events = run_request(request_of(40, open_ended=True), config_of(family), Writer(0, end=2 + length))
    assert end_of(events).reason is FinishReason.STOP
    assert visible_text(events) == [TOKENS[position % len(TOKENS)] for position in range(2, 2 + length)]


def test_llada_does_not_compute_what_lies_behind_the_end_of_the_text() -> None:
    request = request_of(24, open_ended=True)
    blocks = replace(request, params=DecodingParams(24, block_length=8))
    assert end_of(run_request(blocks, config_of("llada"), Writer(0, end=7))).nfe == 6
    to_the_end = replace(blocks, params=replace(blocks.params, run_to_end=True))
    assert end_of(run_request(to_the_end, config_of("llada"), Writer(0, end=7))).nfe == 24


def test_the_end_of_a_turn_ends_the_text_too() -> None:
    request = replace(request_of(8, open_ended=True), params=DecodingParams(8, end_of_turn=TURN))
    events = run_request(request, config_of("llada"), Oracle(0, (TURN,), devotion=1.0))
    assert (visible_text(events), end_of(events).reason) == ([], FinishReason.STOP)


@families
@pytest.mark.parametrize("end_id", [EOS, 22, 23])
def test_each_of_several_ends_ends_the_text(family: str, end_id: int) -> None:
    config = config_of(family, other_ends=(22, 23))
    events = run_request(request_of(40, open_ended=True), config, Writer(0, end=9, end_id=end_id))
    assert (len(visible_text(events)), end_of(events).reason) == (7, FinishReason.STOP)


def test_a_gap_that_shrinks_stops_with_what_is_left() -> None:
    request = GenerationRequest("r", (5,), (6,), DecodingParams(16))
    end = end_of(run_request(request, config_of("dreamon"), Writer(0, end=4)))
    assert (end.reason, end.num_tokens) == (FinishReason.STOP, 3)


@families
def test_a_gap_that_fills_its_length_ends_by_length(family: str) -> None:
    request = GenerationRequest("r", (5,), (6,), DecodingParams(8))
    assert end_of(run_request(request, config_of(family), Oracle(0))).reason is FinishReason.LENGTH


def test_a_gap_may_be_empty() -> None:
    request = GenerationRequest("r", (5,), (6,), DecodingParams(16))
    events = run_request(request, config_of("dreamon"), Oracle(0, (EOS,), devotion=1.0))
    assert (visible_text(events), end_of(events).reason) == ([], FinishReason.STOP)


def test_a_model_that_predicts_only_masks_ends_too() -> None:
    for family in FAMILIES:
        events = run_request(request_of(6, open_ended=True), config_of(family), Oracle(0, (MASK,), devotion=1.0))
        assert visible_text(events) == []


# -- what a step asks for ---------------------------------------------------------------------------------------------


def works_of(request: GenerationRequest, family: str, oracle: Oracle) -> list[Work]:
    state = RequestState(request, config_of(family), lambda event: None)
    state.start()
    works = []
    while state.status is Status.RUNNING:
        works.append(state.work)
        state.advance(oracle.answer(state.work))
    return works


def test_a_greedy_request_draws_nothing() -> None:
    assert all(work.uniforms == () for work in works_of(request_of(4), "llada", Oracle(0)))


@families
def test_a_warm_request_draws_one_number_per_row_from_its_seed(family: str) -> None:
    def draws(seed: int) -> list[tuple[float, ...]]:
        request = replace(request_of(5), params=DecodingParams(5, temperature=0.7, seed=seed))
        works = works_of(request, family, Oracle(0))
        assert all(len(work.uniforms) == work.num_rows for work in works)
        return [work.uniforms for work in works]

    assert draws(1) == draws(1)
    assert draws(1) != draws(2)
    flat = [uniform for step in draws(1) for uniform in step]
    assert len(set(flat)) == len(flat)
    assert all(0 <= uniform < 1 for uniform in flat)


def test_guidance_adds_a_branch_that_does_not_see_the_given_text() -> None:
    request = GenerationRequest("r", (5, 6), (7,), DecodingParams(3, cfg_scale=1.5))
    for work in works_of(request, "llada", Oracle(0)):
        conditional, blind = work.sequences
        assert work.guidance_scale == 1.5
        assert list(blind.ids) == [MASK, MASK, *conditional.ids[2:5], MASK]
        assert blind.wanted == conditional.wanted


def test_guidance_keeps_what_was_denoised_outside_the_gap() -> None:
    request = GenerationRequest("r", (5, MASK, 6), (), DecodingParams(2, cfg_scale=1.0))
    for work in works_of(request, "llada", Oracle(0)):
        conditional, blind = work.sequences
        assert list(blind.ids) == [MASK, conditional.ids[1], MASK, *conditional.ids[3:]]


def test_only_tokens_that_the_request_has_written_are_penalised() -> None:
    request = replace(request_of(6), params=DecodingParams(6, repetition_penalty=1.3))
    for work in works_of(request, "llada", Oracle(0)):
        written = {token_id for token_id in work.sequences[0].ids[2:] if token_id != MASK}
        assert {token_id for token_id, _ in work.adjustment.counts} == written
    assert written


def test_a_token_counts_as_often_as_it_is_committed_at_any_position_and_the_given_text_does_not() -> None:
    params = DecodingParams(12, frequency_penalty=0.5, presence_penalty=0.2)
    request = GenerationRequest("r", (5, 6, 7), (8, 5), params)
    most = 0
    for work in works_of(request, "llada", Oracle(0, favourites=(5, 9))):
        span = work.sequences[0].ids[3:-2]
        assert dict(work.adjustment.counts) == Counter(token_id for token_id in span if token_id != MASK)
        assert (work.adjustment.frequency_penalty, work.adjustment.presence_penalty) == (0.5, 0.2)
        most = max([most, *dict(work.adjustment.counts).values()])
    assert most > 2


def test_tokens_that_change_the_length_are_not_counted() -> None:
    request = GenerationRequest("r", (5,), (8,), DecodingParams(12, frequency_penalty=0.5, initial_masks=4))
    works = works_of(request, "dreamon", Oracle(0, favourites=(EXPAND, EOS)))
    assert not any({EXPAND, EOS} & dict(work.adjustment.counts).keys() for work in works)


@families
def test_the_rows_of_a_step_are_told_what_would_repeat_a_run_that_the_request_has_written(family: str) -> None:
    params = DecodingParams(24, no_repeat_ngram_size=2)
    request = GenerationRequest("r", (5, 6, 7), (), params, open_ended=True)
    works = works_of(request, family, Oracle(0, favourites=(5, 6, 7), devotion=0.9))
    for work in works:
        written, expected = work.sequences[0].ids[3:], set()
        runs = {run for run in pairwise(written) if not {MASK, EOS} & set(run)}
        for row, index in enumerate(position - 3 for position in work.sequences[0].wanted):
            for token_id in (5, 6, 7):
                around = [*written[:index][-1:], token_id, *written[index + 1 :][:1]]
                expected |= {(row, token_id)} if runs & set(pairwise(around)) else set()
        assert expected == {pair for pair in work.adjustment.repeating if pair[1] in (5, 6, 7)}
    assert any(work.adjustment.repeating for work in works)


def test_a_request_that_allows_repetitions_is_told_of_none() -> None:
    works = works_of(request_of(8), "llada", Oracle(0, favourites=(5,), devotion=1.0))
    assert not any(work.adjustment.repeating for work in works)


@families
def test_every_step_of_a_request_has_its_biases(family: str) -> None:
    request = replace(request_of(6), params=DecodingParams(6, logit_bias={7: -100.0, 9: 2.0}))
    works = works_of(request, family, Oracle(0))
    assert all(work.adjustment == Adjustment(bias=((7, -100.0), (9, 2.0))) for work in works)


def test_the_end_of_the_text_is_not_penalised() -> None:
    params = DecodingParams(12, repetition_penalty=1.3, end_of_turn=5, run_to_end=True)
    works = works_of(replace(request_of(12), params=params), "llada", Oracle(0, favourites=(EOS, 5)))
    assert any({EOS, 5} <= set(work.sequences[0].ids) for work in works)
    assert not any({EOS, 5} & {token_id for token_id, _ in work.adjustment.counts} for work in works)


def test_none_of_several_ends_is_penalised() -> None:
    request = replace(request_of(12), params=DecodingParams(12, repetition_penalty=1.3, run_to_end=True))
    oracle, config = Oracle(0, favourites=(EOS, 23)), config_of("llada", other_ends=(23,))
    state = RequestState(request, config, lambda event: None)
    state.start()
    while state.status is Status.RUNNING:
        assert not {EOS, 23} & {token_id for token_id, _ in state.work.adjustment.counts}
        state.advance(oracle.answer(state.work))
    assert {EOS, 23} <= set(state.canvas.ids)


def test_tokens_of_earlier_rounds_are_penalised_too() -> None:
    request = replace(request_of(15, open_ended=True), params=DecodingParams(15, repetition_penalty=1.3))
    state = RequestState(request, config_of("llada", 12), lambda event: None)
    state.start()
    oracle, written = Oracle(0), set[int]()
    while state.status is Status.RUNNING:
        assert written <= {token_id for token_id, _ in state.work.adjustment.counts}
        state.advance(oracle.answer(state.work))
        written |= {token_id for _, token_id, _ in state.edits.committed}


# -- status -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [Status.FINISHED, Status.CANCELLED, Status.FAILED])
@pytest.mark.parametrize("second", list(Status))
def test_nothing_follows_the_end(end: Status, second: Status) -> None:
    state = RequestState(request_of(1), config_of("llada"), lambda event: None)
    state.move_to(Status.RUNNING)
    state.move_to(end)
    with pytest.raises(AssertionError, match=f"{end} -> {second}"):
        state.move_to(second)


def test_nothing_is_finished_before_it_ran() -> None:
    state = RequestState(request_of(1), config_of("llada"), lambda event: None)
    with pytest.raises(AssertionError):
        state.move_to(Status.FINISHED)
