"""The block-causal samplers against plain transcriptions of their loops, both fed by the same oracle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engine.cache.span import ComputedSpan
from app.engine.canvas.canvas import Canvas
from app.engine.decoding.rules import LogitRules, Score
from app.engine.families.registry import family_named
from app.engine.interface.errors import InvalidRequest
from app.engine.interface.params import DecodingParams, GenerationRequest
from app.engine.request.validation import validate_params
from tests.unit.engine.oracle import (
    EOS,
    MASK,
    Oracle,
    SamplerStep,
    Writer,
    config_of,
    end_of,
    run_request,
    run_sampler,
    visible_text,
)

RULES = LogitRules(Score.PROBABILITY, 0.0, None, None, scores_see_filters=True)
FAMILIES = ("sdar", "stable_diffcoder", "fast_dllm_v2")
prompts = st.lists(st.sampled_from([5, 6, MASK]), min_size=1, max_size=9)
"""Prompts in which a mask is text."""
lengths, seeds = st.integers(1, 13), st.integers(0, 2**32)
Place = tuple[int, int]


def config(family: str, block_length: int = 4) -> Any:
    return replace(config_of(family), block_length=block_length, prediction_shift=int(family == "fast_dllm_v2"))


def canvas_of(family: str, prompt: Sequence[int], params: DecodingParams) -> Canvas:
    end = len(prompt) + params.max_new_tokens
    num_behind = family_named(family).span.num_masks_behind(params, end, 64)
    return Canvas(prompt, params.max_new_tokens, [MASK] * num_behind, MASK)


def steps_of(family: str, prompt: Sequence[int], params: DecodingParams, oracle: Oracle) -> list[SamplerStep]:
    canvas = canvas_of(family, prompt, params)
    sampler = family_named(family).sampler(canvas, params, config(family).special)
    return run_sampler(sampler, canvas, oracle)


def histories(steps: Sequence[SamplerStep]) -> list[tuple[int, ...]]:
    return [step.after for step in steps]


def open_positions(ids: Sequence[int], start: int, end: int, num_given: int) -> list[int]:
    return [position for position in range(max(start, num_given), end) if ids[position] == MASK]


def chosen(ids: Sequence[int], positions: list[int], oracle: Oracle, least: int, above: float | None) -> list[Place]:
    """The `least` most confident predictions, or all above a threshold where these are more."""
    predicted = oracle.predict(ids, positions, RULES)
    ranking = sorted(zip(predicted.scores, positions, predicted.token_ids, strict=True), reverse=True)
    sure = [entry for entry in ranking if above is not None and entry[0] > above]
    return [(position, token_id) for _, position, token_id in (sure if len(sure) >= least else ranking[:least])]


def published_sdar(
    prompt: list[int], params: DecodingParams, steps: int, oracle: Oracle, above: float | None
) -> list[tuple[int, ...]]:
    """JetAstra/SDAR, `generate.py`: blocks of B from position 0, and counts as if all of a block were open."""
    size, num_given = params.block_length or 0, len(prompt)
    num_blocks = -(-(num_given + params.max_new_tokens) // size)
    ids, history = prompt + [MASK] * (num_blocks * size - num_given), []
    counts = [size // steps + (step < size % steps) for step in range(steps)]
    for start in range(num_given // size * size, len(ids), size):
        for count in counts:
            positions = open_positions(ids, start, start + size, num_given)
            if positions:
                for position, token_id in chosen(ids, positions, oracle, min(count, len(positions)), above):
                    ids[position] = token_id
                history.append(tuple(ids))
        if EOS in ids[num_given : start + size]:
            break
    return history


@given(prompts, lengths, st.integers(1, 5), st.integers(1, 5), st.none() | st.sampled_from([0.0, 0.4, 0.9]), seeds)
def test_sdar_denoises_blocks_at_absolute_positions_as_published(
    prompt: list[int], length: int, size: int, steps: int, threshold: float | None, seed: int
) -> None:
    oracle = Oracle(seed, (EOS,), 0.1)
    steps = min(steps, size)
    params = DecodingParams(
        length, block_length=size, steps_per_block=steps, confidence_threshold=threshold, run_to_end=True
    )
    assert histories(steps_of("sdar", prompt, params, oracle)) == published_sdar(
        prompt, params, steps, oracle, threshold
    )


@given(prompts, lengths, st.integers(1, 5), st.none() | st.integers(1, 5), seeds)
def test_stable_diffcoder_spreads_steps_over_what_is_open_and_ends_with_the_answer(
    prompt: list[int], length: int, size: int, steps: int | None, seed: int
) -> None:
    params = DecodingParams(length, block_length=size, steps_per_block=steps, run_to_end=True)
    taken = steps_of("stable_diffcoder", prompt, params, Oracle(seed))
    assert len(taken[0].before) == len(prompt) + length, "the last block is shorter"
    ids, expected = list(taken[0].before), []
    for start in range(len(prompt) // size * size, len(ids), size):
        num_open = len(open_positions(ids, start, min(start + size, len(ids)), len(prompt)))
        num_steps = steps or num_open
        expected += [
            count for step in range(num_steps) if (count := num_open // num_steps + (step < num_open % num_steps))
        ]
    assert [len(step.edits.committed) for step in taken] == expected
    assert MASK not in taken[-1].after[len(prompt) :]


@given(prompts, lengths, st.integers(1, 9), st.integers(1, 4), st.none() | st.sampled_from([0.3, 0.9]), seeds)
def test_fast_dllm_begins_a_block_with_what_follows_the_last_and_fills_it_by_sub_blocks(
    prompt: list[int], length: int, size: int, sub: int, threshold: float | None, seed: int
) -> None:
    params = DecodingParams(
        length, block_length=size, sub_block_length=sub, confidence_threshold=threshold, run_to_end=True
    )
    for step in steps_of("fast_dllm_v2", prompt, params, Oracle(seed)):
        start = step.plan.positions[0] // size * size
        sub_blocks = {(position - start) // sub for position in step.plan.positions}
        assert len(sub_blocks) == 1, "one sub-block at a time, the first that is open"
        first_open = min(open_positions(step.before, start, start + size, len(prompt)))
        assert step.plan.positions[0] == first_open
        if first_open == start and start > 0:
            assert step.plan.positions == (start,)
            assert step.plan.span == ComputedSpan(
                (max(start - size, 0) if start > len(prompt) else 0, start), cached_to=start
            )
        else:
            assert step.plan.span is not None
            assert step.plan.span.bounds is not None
            assert step.plan.span.bounds[1] == start + size


def test_nothing_is_drawn_for_the_first_token_of_a_block() -> None:
    params = DecodingParams(8, block_length=4, temperature=0.7, top_p=0.9, top_k=5)
    steps = steps_of("fast_dllm_v2", [5, 6, 7, 8], params, Oracle(0))
    temperatures = [step.plan.rules.temperature for step in steps]
    assert temperatures == [0.0, 0.7, 0.7, 0.7] * 2


@pytest.mark.parametrize("family", FAMILIES)
@given(prompts, lengths, st.integers(1, 6), st.none() | st.integers(1, 9), seeds)
def test_every_block_is_cached_once_with_its_final_tokens(
    family: str, prompt: list[int], length: int, size: int, steps: int | None, seed: int
) -> None:
    params = DecodingParams(length, block_length=size, steps=steps, run_to_end=True)
    cached: list[int] = []
    for step in steps_of(family, prompt, params, Oracle(seed)):
        span = step.plan.span
        assert span is not None
        assert span.bounds is not None
        assert span.cached_to is not None
        start, end = span.bounds
        assert start <= len(cached), "nothing is read that is not cached"
        assert cached[:start] == list(step.before[:start])
        assert (start == 0 and not cached) or start >= len(cached) - size
        cached[start:] = step.before[start : span.cached_to]
        assert all(position < end + (family == "fast_dllm_v2") for position in step.plan.positions)


@pytest.mark.parametrize("family", FAMILIES)
@given(prompts, lengths, st.integers(1, 6), st.integers(1, 40), seeds)
def test_a_request_takes_its_steps_or_one_for_each_block(
    family: str, prompt: list[int], length: int, size: int, steps: int, seed: int
) -> None:
    params = DecodingParams(length, block_length=size, steps=steps)
    num_blocks = -(-(len(prompt) + length) // size) - len(prompt) // size
    taken = steps_of(family, prompt, params, Oracle(seed))
    if family != "fast_dllm_v2":  # whose sub-blocks and first tokens want steps of their own
        assert len(taken) <= max(steps, num_blocks)
    assert MASK not in taken[-1].after[len(prompt) : len(prompt) + length]


@pytest.mark.parametrize("family", FAMILIES)
@given(prompts, lengths, st.integers(1, 6), st.integers(0, 14), seeds)
def test_a_reader_gets_the_tokens_before_the_end_and_no_more_than_asked_for(
    family: str, prompt: list[int], length: int, size: int, end: int, seed: int
) -> None:
    request = GenerationRequest("r", tuple(prompt), (), DecodingParams(length, block_length=size), open_ended=True)
    events = run_request(request, config(family), Writer(seed, end=len(prompt) + end))
    assert len(visible_text(events)) == min(length, end)
    assert end_of(events).num_tokens == min(length, end)


def test_the_block_length_is_the_checkpoints_unless_a_request_names_one() -> None:
    for given_length, blocks in ((None, 3), (2, 4), (64, 1)):
        request = GenerationRequest("r", (5, 6), (), DecodingParams(8, block_length=given_length, steps_per_block=1))
        assert end_of(run_request(request, config("sdar"), Oracle(0))).nfe == blocks


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("params", "field", "reason"),
    [
        ({"steps": 3, "steps_per_block": 2}, "steps_per_block", "exclude each other"),
        ({"block_length": 65}, "block_length", "above the context of 64 tokens"),
        ({"cfg_scale": 1.0}, "cfg_scale", "has no meaning"),
        ({"initial_masks": 3}, "initial_masks", "has no meaning"),
        ({"cache": "dual"}, "cache", "has no meaning"),
        ({"confidence_threshold": 0.9, "revoke_threshold": 0.5}, "revoke_threshold", "has no meaning"),
    ],
)
def test_what_has_no_meaning_is_refused_by_name(family: str, params: dict[str, Any], field: str, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason) as caught:
        validate_params(DecodingParams(8, **params), config(family))
    assert caught.value.field == field


def test_reading_order_goes_with_no_rule() -> None:
    with pytest.raises(InvalidRequest, match="reading order") as caught:
        validate_params(DecodingParams(8, algorithm="sequential", confidence_margin=0.1), config("sdar"))
    assert caught.value.field == "confidence_margin"
    steps = steps_of("sdar", [5], DecodingParams(6, block_length=4, algorithm="sequential"), Oracle(0))
    assert [step.edits.committed[0][0] for step in steps] == [1, 2, 3, 4, 5, 6]


def test_text_behind_a_gap_is_refused() -> None:
    request = GenerationRequest("r", (5,), (6,), DecodingParams(4))
    with pytest.raises(InvalidRequest, match="see no text behind a gap"):
        run_request(request, config("sdar"), Oracle(0))
