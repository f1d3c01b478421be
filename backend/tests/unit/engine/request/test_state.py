from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engine.decoding.commit.registry import rules_on
from app.engine.decoding.rules import LogitRules
from app.engine.decoding.step import Prediction
from app.engine.families.dreamon import DREAMON
from app.engine.interface.events import CanvasSnapshot, EngineEvent, FinishReason, Step
from app.engine.interface.params import DecodingParams, GenerationRequest
from app.engine.passes.work import Work
from app.engine.request.state import RequestState, Status
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

seeds = st.integers(0, 2**32)
STARTING_MASKS = DREAMON.span.first_length(DecodingParams(2048), 2048)
"""The starting masks of a request of dreamon that names none."""
texts = st.lists(st.integers(4, 23), max_size=9).map(tuple)
shared = {
    "max_new_tokens": st.integers(1, 30),
    "steps": st.none() | st.integers(1, 20),
    "seed": seeds,
    "repetition_penalty": st.sampled_from([1.0, 1.2]),
    "end_of_turn": st.sampled_from([None, TURN]),
}
lengths = st.sampled_from([(), (3,), (2, 5, 9), (4, 1)])
params_of = {
    "llada": st.builds(
        DecodingParams,
        **shared,
        block_length=st.none() | st.integers(1, 8),
        algorithm=st.sampled_from([None, "random"]),
        confidence_threshold=st.none() | st.floats(0.1, 1),
        cfg_scale=st.sampled_from([0.0, 1.0]),
        mask_lengths=lengths,
    ),
    "dream": st.builds(
        DecodingParams,
        **shared,
        algorithm=st.sampled_from([None, "origin"]),
        alg_temp=st.sampled_from([0.0, 0.5]),
        mask_lengths=lengths,
    ),
    "dreamon": st.builds(
        DecodingParams,
        **shared,
        alg_temp=st.sampled_from([0.0, 0.5]),
        expand_budget=st.none() | st.integers(0, 6),
        pad_delete_to_right=st.booleans(),
    ),
}
FAMILIES = tuple(params_of)
families = pytest.mark.parametrize("family", FAMILIES)
few = examples(40)
FAVOURITES = {"llada": (EOS, TURN), "dream": (EOS, TURN, MASK), "dreamon": (EOS, EXPAND, EXPAND, TURN)}


def oracle_for(family: str, seed: int, devotion: float = 0.1) -> Oracle:
    """Ends the text now and then, and lengthens or shortens the canvas where the family can."""
    return Oracle(seed, FAVOURITES[family], devotion)


@st.composite
def requests(draw: st.DrawFn, family: str) -> GenerationRequest:
    return GenerationRequest(
        "r", draw(texts), draw(texts), draw(params_of[family]), open_ended=draw(st.booleans()), snapshots=True
    )


def request_of(max_new_tokens: int, *, prefix: Sequence[int] = (5, 6), **options: bool) -> GenerationRequest:
    return GenerationRequest("r", tuple(prefix), (), DecodingParams(max_new_tokens), **options)


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


@families
@few
@given(data=st.data(), context_length=st.sampled_from([6, 12, 64]), seed=seeds)
def test_no_step_needs_more_than_admission_was_told(
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


# -- how it ends ------------------------------------------------------------------------------------------------------


@families
def test_a_text_that_does_not_end_is_cut_at_its_length(family: str) -> None:
    end = end_of(run_request(request_of(40, open_ended=True), config_of(family), Oracle(0)))
    assert (end.reason, end.num_tokens) == (FinishReason.LENGTH, 40)


@families
@pytest.mark.parametrize("length", [0, 1, 7, 20])
def test_a_text_that_ends_by_itself_stops(family: str, length: int) -> None:
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
def test_a_gap_that_takes_all_it_may_was_ended_by_its_length(family: str) -> None:
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


# -- rounds -----------------------------------------------------------------------------------------------------------


def rounds_of(request: GenerationRequest, family: str, context_length: int, oracle: Oracle) -> list[tuple[int, ...]]:
    """The canvas that each round starts with."""
    state = RequestState(request, config_of(family, context_length), lambda event: None)
    state.start()
    starts: list[tuple[int, ...]] = []
    canvas = None
    while state.status is Status.RUNNING:
        if state.canvas is not canvas:
            canvas = state.canvas
            starts.append(tuple(canvas.ids))
        state.advance(oracle.answer(state.work))
    return starts


def test_a_long_continuation_slides_its_window_over_what_was_written() -> None:
    request, oracle = request_of(15, prefix=range(4, 24), open_ended=True), Oracle(0)
    text = [*request.prefix, *visible_text(run_request(request, config_of("llada", 12), oracle))]
    assert len(text) == 35
    assert rounds_of(request, "llada", 12, oracle) == [
        (*text[14:20], *[MASK] * 6),
        (*text[20:26], *[MASK] * 6),
        (*text[23:32], *[MASK] * 3),
    ]


def test_what_was_left_out_of_a_long_prompt_is_counted() -> None:
    state = RequestState(request_of(15, prefix=range(4, 24)), config_of("llada", 12), lambda event: None)
    assert state.num_truncated == 14


def test_dreamon_starts_small_and_goes_on_until_its_length() -> None:
    request, oracle, some = request_of(40, open_ended=True), Oracle(0), STARTING_MASKS
    text = [*request.prefix, *visible_text(run_request(request, config_of("dreamon"), oracle))]
    assert rounds_of(request, "dreamon", 64, oracle) == [
        (*text[:2], *[MASK] * some),
        (*text[: 2 + some], *[MASK] * some),
        (*text[: 2 + 2 * some], *[MASK] * (40 - 2 * some)),
    ]


def test_infilling_has_one_round() -> None:
    request = GenerationRequest("r", tuple(range(4, 24)), (5, 6), DecodingParams(15))
    assert len(rounds_of(request, "llada", 12, Oracle(0))) == 1
    assert end_of(run_request(request, config_of("llada", 12), Oracle(0))).num_tokens == 6


@pytest.mark.parametrize(("initial_masks", "expected"), [(None, 10), (3, 3), (10, 10)])
def test_dreamons_first_span(initial_masks: int | None, expected: int) -> None:
    request = replace(request_of(10), params=DecodingParams(10, initial_masks=initial_masks))
    assert rounds_of(request, "dreamon", 64, Oracle(0))[0].count(MASK) == expected


@pytest.mark.parametrize(("steps", "nfe"), [(1, 1), (4, 4), (16, 16), (100, 16)])
def test_steps_tell_dreamon_how_much_to_commit_at_once(steps: int, nfe: int) -> None:
    request = replace(request_of(16), params=DecodingParams(16, steps=steps))
    assert end_of(run_request(request, config_of("dreamon"), Oracle(0))).nfe == nfe


def test_steps_are_spread_over_rounds() -> None:
    request = replace(request_of(16, open_ended=True), params=DecodingParams(16, steps=8))
    events = run_request(request, config_of("llada", 12), Oracle(0))
    assert (end_of(events).num_tokens, end_of(events).nfe) == (16, 8)


# -- commits that are taken back -------------------------------------------------------------------------------------


@examples(150)
@given(st.integers(1, 14), st.integers(1, 5), st.floats(0.1, 0.9), st.floats(0.1, 0.9), st.booleans(), seeds)
def test_what_was_told_stays_whatever_is_taken_back(
    length: int, block_length: int, threshold: float, doubt: float, open_ended: bool, seed: int
) -> None:
    """A model that predicts the mask token leaves places open in blocks that are over."""
    params = DecodingParams(
        length, block_length=block_length, confidence_threshold=threshold, revoke_threshold=doubt, temperature=1.0
    )
    request = GenerationRequest("r", (5, 6), (), params, open_ended=open_ended, snapshots=True)
    told: list[int] = []
    for event in run_request(request, config_of("llada", 12), Oracle(seed, (MASK, EOS), devotion=0.4)):
        told += getattr(event, "new_final", ())
        if isinstance(event, Step) and event.snapshot is not None:
            assert list(event.snapshot.ids[: len(told)]) == told


def test_a_place_that_an_earlier_block_left_open_is_revisable_with_this_one() -> None:
    told: list[int] = []
    params = DecodingParams(4, block_length=2, confidence_threshold=0.5, revoke_threshold=0.9)
    state = RequestState(
        GenerationRequest("r", (5, 6), (), params),
        config_of("llada"),
        lambda event: told.extend(getattr(event, "new_final", ())),
    )
    state.start()
    for step in range(100):
        if state.status is not Status.RUNNING:
            break
        wanted, revisable = state.work.sequences[0].wanted, state.work.sequences[0].revisable
        tokens = [MASK if step < 2 else 4 + position + step for position in wanted]
        sure = [0.95 if step != 2 or position < 4 else 0.1 for position in wanted]
        state.advance(Prediction(tokens, sure, sure, support=[0.05] * len(revisable)))
        assert told == state.canvas.span_ids[: len(told)]
    assert len(told) == 4


# -- how many steps ----------------------------------------------------------------------------------------------------

RULES: tuple[dict[str, Any], ...] = (
    {},
    {"confidence_threshold": 0.99},
    {"confidence_factor": 0.01},
    {"entropy_bound": 0.01},
    {"confidence_threshold": 0.99, "local_threshold": 0.9},
    {"confidence_threshold": 0.5, "revoke_threshold": 0.9},
    {"confidence_threshold": 0.1, "stability_bound": 0.01},
    {"algorithm": "random"},
)


def steps_taken(request: GenerationRequest, family: str, oracle: Oracle, context_length: int = 64) -> int:
    state = RequestState(request, config_of(family, context_length), lambda event: None)
    num_probes = bool(state._lengths)
    state.start()
    while state.status is Status.RUNNING:
        answer = oracle.answer(state.work)
        divergences = [1.0] * len(answer.token_ids) if state.work.divergences_name else []
        state.advance(replace(answer, divergences=divergences))
    return state.nfe - num_probes


@examples(100)
@given(
    st.sampled_from(RULES), st.integers(1, 30), st.integers(1, 30), st.none() | st.integers(1, 9), lengths,
    st.sampled_from(["none", "dual"]), seeds,
)  # fmt: skip
def test_no_rule_takes_more_steps_than_it_may(
    rule: dict[str, Any],
    length: int,
    steps: int,
    block_length: int | None,
    mask_lengths: tuple[int, ...],
    cache: str,
    seed: int,
) -> None:
    cache = "none" if "revoke_threshold" in rule else cache
    params = DecodingParams(
        length, steps=steps, block_length=block_length, mask_lengths=mask_lengths, cache=cache, **rule
    )
    request = GenerationRequest("r", (5,), (6,), params)
    assert steps_taken(request, "llada", Oracle(seed)) <= steps
    text = (
        visible_text(run_request(request, config_of("llada"), Oracle(seed))) if "stability_bound" not in rule else [0]
    )
    assert text


@given(st.integers(1, 30), st.integers(1, 30), seeds)
def test_rounds_share_their_steps(length: int, steps: int, seed: int) -> None:
    for family in ("llada", "dream"):
        request = GenerationRequest("r", (5,), (), DecodingParams(length, steps=steps), open_ended=True)
        num_rounds = len(rounds_of(request, family, 12, Oracle(seed)))
        assert steps_taken(request, family, Oracle(seed), 12) <= max(steps, num_rounds)


def test_steps_that_are_short_are_spread_and_not_left_to_the_last_one() -> None:
    params = DecodingParams(16, steps=4, confidence_threshold=1.0)
    events = run_request(replace(request_of(16), params=params, snapshots=True), config_of("llada"), Oracle(0))
    assert [len(snapshot.commits) for snapshot in snapshots(events)] == [4, 4, 4, 4]


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
def test_the_length_of_which_the_model_is_surest_is_filled(family: str, length: int) -> None:
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
def test_where_there_is_nothing_to_choose_no_pass_is_spent(lengths: tuple[int, ...], expected: int) -> None:
    end = end_of(run_request(gap(6, *lengths), config_of("llada"), Oracle(0)))
    assert (end.num_tokens, end.nfe) == (expected, expected)


def test_the_choice_heeds_the_ban_on_the_end_of_the_text() -> None:
    state = RequestState(gap(6, 2, 5, eos_never_predicted=True), config_of("llada"), lambda event: None)
    state.start()
    assert state.work.rules.banned == (EOS,)


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


def test_only_what_the_request_has_written_is_penalised() -> None:
    request = replace(request_of(6), params=DecodingParams(6, repetition_penalty=1.3))
    for work in works_of(request, "llada", Oracle(0)):
        written = {token_id for token_id in work.sequences[0].ids[2:] if token_id != MASK}
        assert set(work.penalised_ids) == written
    assert written


def test_the_end_of_the_text_is_not_penalised() -> None:
    params = DecodingParams(12, repetition_penalty=1.3, end_of_turn=5, run_to_end=True)
    works = works_of(replace(request_of(12), params=params), "llada", Oracle(0, favourites=(EOS, 5)))
    assert any({EOS, 5} <= set(work.sequences[0].ids) for work in works)
    assert not any({EOS, 5} & set(work.penalised_ids) for work in works)


def test_none_of_several_ends_is_penalised() -> None:
    request = replace(request_of(12), params=DecodingParams(12, repetition_penalty=1.3, run_to_end=True))
    oracle, config = Oracle(0, favourites=(EOS, 23)), config_of("llada", other_ends=(23,))
    state = RequestState(request, config, lambda event: None)
    state.start()
    while state.status is Status.RUNNING:
        assert not {EOS, 23} & set(state.work.penalised_ids)
        state.advance(oracle.answer(state.work))
    assert {EOS, 23} <= set(state.canvas.ids)


def test_what_earlier_rounds_wrote_is_penalised_too() -> None:
    request = replace(request_of(15, open_ended=True), params=DecodingParams(15, repetition_penalty=1.3))
    state = RequestState(request, config_of("llada", 12), lambda event: None)
    state.start()
    oracle, written = Oracle(0), set[int]()
    while state.status is Status.RUNNING:
        assert written <= set(state.work.penalised_ids)
        state.advance(oracle.answer(state.work))
        written |= {token_id for _, token_id, _ in state.edits.committed}


# -- snapshots --------------------------------------------------------------------------------------------------------


def snapshots(events: Sequence[EngineEvent]) -> list[CanvasSnapshot]:
    return [event.snapshot for event in events if isinstance(event, Step) and event.snapshot is not None]


def replay(before: Sequence[int], snapshot: CanvasSnapshot) -> list[int]:
    """The new part after a step, worked out from the one before and the edits."""
    committed = {commit.index: commit.token_id for commit in snapshot.commits}
    after: list[int] = []
    for index, token_id in enumerate(before):
        if index in snapshot.expanded:
            after += [MASK, MASK]
        elif index not in snapshot.deleted:
            new = committed.get(index, token_id)
            after.append(MASK if new == EXPAND else new)  # found no room
    return after


@families
@few
@given(data=st.data(), seed=seeds)
def test_edits_lead_from_each_snapshot_to_the_next(family: str, data: st.DataObject, seed: int) -> None:
    request = replace(data.draw(requests(family)), open_ended=False)
    events = run_request(request, config_of(family), oracle_for(family, seed, devotion=0.4))
    taken = snapshots(events)
    canvas = [MASK] * sum_of_masks(request, family, taken)
    for snapshot in taken:
        canvas = replay(canvas, snapshot)
        assert (list(snapshot.ids), snapshot.mask_id) == (canvas, MASK)


def sum_of_masks(request: GenerationRequest, family: str, taken: Sequence[CanvasSnapshot]) -> int:
    """Gives how many masks a span began with: a family of fixed length never changes it."""
    if family == "dreamon":
        return min(request.params.initial_masks or STARTING_MASKS, request.params.max_new_tokens)
    return len(taken[0].ids) if taken else 0


@families
@few
@given(data=st.data(), seed=seeds)
def test_a_snapshot_shows_all_rounds_and_begins_with_what_was_told(family: str, data: st.DataObject, seed: int) -> None:
    request = replace(data.draw(requests(family)), open_ended=True)
    told: list[int] = []
    for event in run_request(request, config_of(family, 12), oracle_for(family, seed)):
        told += getattr(event, "new_final", ())
        if isinstance(event, Step) and event.snapshot is not None:
            assert list(event.snapshot.ids[: len(told)]) == told
            assert family == "dreamon" or all(
                event.snapshot.ids[commit.index] == commit.token_id for commit in event.snapshot.commits
            )


@families
@few
@given(data=st.data(), seed=seeds)
def test_a_step_is_told_only_when_there_is_news(family: str, data: st.DataObject, seed: int) -> None:
    request = replace(data.draw(requests(family)), snapshots=False)
    for event in run_request(request, config_of(family), oracle_for(family, seed))[:-1]:
        assert isinstance(event, Step)
        assert event.new_final
        assert event.snapshot is None


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
