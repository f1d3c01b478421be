"""Every cache plan, in the hands of the samplers that ask it: what a step computes, and what of it is cached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engine.cache.registry import BLOCK_CACHES, SPAN_CACHES
from app.engine.cache.span import WHOLE, ComputedSpan
from app.engine.canvas.canvas import Canvas
from app.engine.families.registry import family_named
from app.engine.interface.params import DecodingParams
from tests.unit.engine.oracle import MASK, Oracle, SamplerStep, config_of, run_sampler

FAMILIES = {"llada": BLOCK_CACHES, "dream": SPAN_CACHES, "dreamon": SPAN_CACHES}
seeds = st.integers(0, 2**32)
refreshes = st.none() | st.integers(1, 9)
block_caches = st.sampled_from([name for name in BLOCK_CACHES if name != "none"])


def steps_of(family: str, canvas: Canvas, params: DecodingParams, oracle: Oracle) -> list[SamplerStep]:
    sampler = family_named(family).sampler(canvas, params, config_of(family).special)
    return run_sampler(sampler, canvas, oracle, seed=params.seed)


def spans(steps: Sequence[SamplerStep]) -> list[ComputedSpan]:
    assert all(step.plan.span is not None for step in steps), "something is cached"
    return [step.plan.span or WHOLE for step in steps]


@pytest.mark.parametrize(
    ("cache", "refresh", "expected"),
    [
        ("prefix", None, [None, (1, 8), None, (3, 8), None, (5, 8)]),
        ("dual", None, [None, (1, 3), None, (3, 5), None, (5, 7)]),
        ("dual", 2, [None, (1, 3), (1, 5), (3, 5), None, (5, 7)]),
        ("dual", 9, [None, (1, 3), (1, 5), (3, 5), (3, 7), (5, 7)]),
    ],
)
def test_a_block_begins_with_everything_or_with_the_block_before_it(
    cache: str, refresh: int | None, expected: list[tuple[int, int] | None]
) -> None:
    params = DecodingParams(6, block_length=2, cache=cache, cache_refresh=refresh)
    assert [span.bounds for span in spans(steps_of("llada", Canvas([5], 6, [7], MASK), params, Oracle(0)))] == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_without_a_cache_nothing_is_computed_in_part_or_cached(family: str) -> None:
    steps = steps_of(family, Canvas([5], 6, [7], MASK), DecodingParams(6, cache="none"), Oracle(0))
    assert {step.plan.span for step in steps} == {None}


@given(st.integers(1, 12), st.integers(1, 5), block_caches, refreshes, seeds)
def test_nothing_is_predicted_outside_a_span(
    length: int, block_length: int, cache: str, refresh: int | None, seed: int
) -> None:
    params = DecodingParams(length, block_length=block_length, cache=cache, cache_refresh=refresh)
    canvas = Canvas([5, MASK], length, [MASK], MASK)
    for step in steps_of("llada", canvas, params, Oracle(seed, (MASK,), 0.2)):
        assert (step.plan.span or WHOLE).within(step.plan.positions) == step.plan.positions


@given(st.integers(1, 12), st.integers(1, 5), block_caches, refreshes, seeds)
def test_text_before_a_span_was_stored_after_it_was_written(
    length: int, block_length: int, cache: str, refresh: int | None, seed: int
) -> None:
    params = DecodingParams(length, block_length=block_length, cache=cache, cache_refresh=refresh)
    stored: list[int] = []  # tokens as they were when their keys were last stored
    for step in steps_of("llada", Canvas([5], length, [7], MASK), params, Oracle(seed)):
        span = step.plan.span or WHOLE
        start, end = span.bounds or (0, len(step.before))
        assert stored[:start] == list(step.before[:start])
        if span.bounds is None or span.stores:
            stored[start:end] = step.before[start:end]


@given(st.integers(1, 12), st.integers(1, 5), block_caches, refreshes, seeds)
def test_a_span_is_stored_only_if_a_later_one_leaves_part_of_it_out(
    length: int, block_length: int, cache: str, refresh: int | None, seed: int
) -> None:
    params = DecodingParams(length, block_length=block_length, cache=cache, cache_refresh=refresh)
    steps = spans(steps_of("llada", Canvas([5], length, [7], MASK), params, Oracle(seed)))
    starts = [(span.bounds or (0, 0))[0] for span in steps]
    for span, start, following in zip(steps, starts, [*starts[1:], None], strict=True):
        if span.stores:
            assert following is None or following > start or block_length == 1


@given(st.sampled_from([*FAMILIES]), st.data(), st.integers(1, 12), st.integers(1, 5), refreshes, seeds)
def test_every_plan_keeps_the_three_rules(
    family: str, data: st.DataObject, length: int, block_length: int, refresh: int | None, seed: int
) -> None:
    """All is computed first, what was computed and not stored is computed again, and what is stored has not grown."""
    cache = data.draw(st.sampled_from([name for name in FAMILIES[family] if name != "none"]))
    params = DecodingParams(length, cache=cache, cache_refresh=refresh)
    if family == "llada":
        params = replace(params, block_length=block_length)
    if family == "dream":
        params = replace(params, transfer_counts=(1,) * length)
    steps = steps_of(family, Canvas([5, 6], length, [7, 8, 9], MASK), params, Oracle(seed))
    cached_length, open_around = 0, None
    for step, span in zip(steps, spans(steps), strict=True):
        if span.bounds is None:
            cached_length, open_around = len(step.before), None
            continue
        assert cached_length, "the first step computes the whole canvas"
        num_before, num_behind = span.bounds[0], len(step.before) - span.bounds[1]
        if open_around is not None:
            assert num_before <= open_around[0]
            assert num_behind <= open_around[1]
        assert not span.stores or len(step.before) == cached_length
        open_around = None if span.stores else (num_before, num_behind)


@pytest.mark.parametrize("family", ["dream", "dreamon"])
@pytest.mark.parametrize(("refresh", "whole"), [(None, [0]), (3, [0, 3, 6]), (1, list(range(7)))])
def test_in_the_dream_family_the_span_of_the_canvas_is_computed(
    family: str, refresh: int | None, whole: list[int]
) -> None:
    params = DecodingParams(7, cache="dual", cache_refresh=refresh)
    if family == "dream":
        params = replace(params, transfer_counts=(1,) * 7)
    steps = steps_of(family, Canvas([5, 6], 7, [7, 8], MASK), params, Oracle(0))
    assert [index for index, span in enumerate(spans(steps)) if span == WHOLE] == whole
    for step, span in zip(steps, spans(steps), strict=True):
        assert span in (WHOLE, ComputedSpan((2, len(step.before) - 2)))


def test_a_mask_in_the_given_text_needs_the_whole_canvas() -> None:
    params = DecodingParams(3, cache="dual", transfer_counts=(1,) * 4)
    steps = steps_of("dream", Canvas([5, MASK], 3, [7], MASK), params, Oracle(0))
    outside = [1 in step.plan.positions for step in steps]
    assert [span == WHOLE for span in spans(steps)] == [index == 0 or out for index, out in enumerate(outside)]
