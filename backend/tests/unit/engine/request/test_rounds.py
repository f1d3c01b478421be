from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engine.decoding.step import Prediction
from app.engine.interface.events import CanvasSnapshot, EngineEvent, Step
from app.engine.interface.params import DecodingParams, GenerationRequest
from app.engine.request.life import Status
from app.engine.request.state import RequestState
from tests.profiles import examples
from tests.unit.engine.oracle import (
    EOS,
    EXPAND,
    MASK,
    Oracle,
    config_of,
    end_of,
    run_request,
    visible_text,
)
from tests.unit.engine.request.requests import (
    STARTING_MASKS,
    families,
    few,
    lengths,
    oracle_for,
    request_of,
    requests,
    seeds,
)

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


def test_truncated_tokens_of_a_long_prompt_are_counted() -> None:
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
def test_steps_set_the_number_of_dreamon_s_commits_per_step(steps: int, nfe: int) -> None:
    request = replace(request_of(16), params=DecodingParams(16, steps=steps))
    assert end_of(run_request(request, config_of("dreamon"), Oracle(0))).nfe == nfe


def test_steps_are_spread_over_rounds() -> None:
    request = replace(request_of(16, open_ended=True), params=DecodingParams(16, steps=8))
    events = run_request(request, config_of("llada", 12), Oracle(0))
    assert (end_of(events).num_tokens, end_of(events).nfe) == (16, 8)


# -- commits that are taken back -------------------------------------------------------------------------------------


@examples(150)
@given(st.integers(1, 14), st.integers(1, 5), st.floats(0.1, 0.9), st.floats(0.1, 0.9), st.booleans(), seeds)
def test_sent_text_stays_after_any_revision(
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


def test_a_position_that_an_earlier_block_left_open_is_revisable_with_this_one() -> None:
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
def test_a_snapshot_shows_all_rounds_and_begins_with_the_sent_text(family: str, data: st.DataObject, seed: int) -> None:
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
def test_a_step_is_sent_only_when_there_is_news(family: str, data: st.DataObject, seed: int) -> None:
    request = replace(data.draw(requests(family)), snapshots=False)
    for event in run_request(request, config_of(family), oracle_for(family, seed))[:-1]:
        assert isinstance(event, Step)
        assert event.new_final
        assert event.snapshot is None
