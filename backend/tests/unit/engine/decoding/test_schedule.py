from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from app.engine.decoding.schedule import (
    block_spans,
    dream_transfer_count,
    origin_transfer_probability,
    spread_evenly,
    steps_per_block,
    timesteps,
)

some_eps = st.sampled_from([1e-5, 1e-3, 0.01, 0.25])


@given(st.integers(0, 500), st.integers(1, 60))
def test_even_parts_sum_up_and_the_larger_ones_come_first(total: int, num_parts: int) -> None:
    parts = spread_evenly(total, num_parts)
    assert (sum(parts), len(parts)) == (total, num_parts)
    assert parts == sorted(parts, reverse=True)
    assert parts[0] - parts[-1] <= 1


def test_six_in_four_parts() -> None:
    assert spread_evenly(6, 4) == [2, 2, 1, 1]


@given(st.integers(0, 20), st.integers(0, 60), st.none() | st.integers(1, 25))
def test_blocks_cover_the_span_without_overlap(start: int, length: int, block_length: int | None) -> None:
    blocks = block_spans(start, start + length, block_length)
    assert [index for low, high in blocks for index in range(low, high)] == list(range(start, start + length))
    sizes = [high - low for low, high in blocks]
    assert all(size == (block_length or length) for size in sizes[:-1])
    assert all(0 < size <= (block_length or length) for size in sizes[-1:])


def test_the_last_block_may_be_shorter() -> None:
    assert block_spans(3, 13, 4) == [(3, 7), (7, 11), (11, 13)]


def test_without_a_total_every_position_gets_its_step() -> None:
    assert steps_per_block([(0, 4), (4, 6)], None) == [4, 2]


@given(st.integers(1, 12), st.integers(1, 12))
def test_steps_that_divide_evenly_are_the_published_ones(num_blocks: int, per_block: int) -> None:
    blocks = block_spans(0, num_blocks * 3, 3)
    assert steps_per_block(blocks, num_blocks * per_block) == [per_block] * num_blocks


@given(st.integers(1, 12), st.integers(1, 40))
def test_every_block_gets_a_step(num_blocks: int, steps: int) -> None:
    counts = steps_per_block(block_spans(0, num_blocks, 1), steps)
    assert min(counts) >= 1
    assert sum(counts) == max(steps, num_blocks)


@given(st.integers(1, 300), some_eps)
def test_times_are_bit_for_bit_those_of_torch(steps: int, eps: float) -> None:
    times = torch.tensor(timesteps(steps, eps))
    assert times.dtype is torch.float32
    assert torch.equal(times, torch.linspace(1, eps, steps + 1))


def published_counts(num_masks: int, steps: int, eps: float) -> list[int]:
    """DreamLM/Dream, `generation_utils.py`, in its own words."""
    times = torch.linspace(1, eps, steps + 1)
    left, counts = num_masks, []
    for i in range(steps):
        t, s = times[i], times[i + 1]
        average = torch.tensor(left) / 1
        counts.append(int(average * (1 - s / t)) if i < steps - 1 else int(average))
        left -= counts[-1]
    return counts


def our_counts(num_masks: int, steps: int, eps: float) -> list[int]:
    times = timesteps(steps, eps)
    left, counts = num_masks, []
    for step in range(steps):
        counts.append(dream_transfer_count(left, step, times))
        left -= counts[-1]
    return counts


@given(st.integers(0, 200), st.integers(1, 80), some_eps)
def test_dream_commits_what_the_published_sampler_commits(num_masks: int, steps: int, eps: float) -> None:
    counts = our_counts(num_masks, steps, eps)
    assert counts == published_counts(num_masks, steps, eps)
    assert min(counts) >= 0
    assert sum(counts) == num_masks


@pytest.mark.parametrize("length", [4, 8, 16, 64])
def test_a_step_per_token_commits_nothing_at_first_and_several_at_last(length: int) -> None:
    counts = our_counts(length, length, 1e-3)
    assert counts[0] == 0
    assert counts[-1] >= 2


@given(st.integers(1, 60), some_eps)
def test_origin_leaves_no_mask_and_each_mask_stays_until_its_time(steps: int, eps: float) -> None:
    times = timesteps(steps, eps)
    staying = 1.0
    for step in range(steps - 1):
        staying *= 1.0 - origin_transfer_probability(step, times)
        assert staying == pytest.approx(float(times[step + 1]), rel=1e-4)
    assert origin_transfer_probability(steps - 1, times) == 1.0
