from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.access.counters import LOG_INTERVAL_S, RETRY_S, CallCounters
from app.core.setting_types import parse_rate_limit
from tests.ports import free_port
from tests.unit.api.clock import Clock

PER_MINUTE = parse_rate_limit("3/minute")


@asynccontextmanager
async def without_redis(clock: Clock) -> AsyncIterator[CallCounters]:
    """Counts meant for a Redis that is not there."""
    counts = CallCounters(f"redis://:hidden@127.0.0.1:{free_port()}/0", clock)
    try:
        yield counts
    finally:
        await counts.close()


async def test_a_verdict_has_the_calls_left_and_the_time_of_the_next_window() -> None:
    clock = Clock()
    counts = CallCounters("memory", clock)
    verdicts = [await counts.count(PER_MINUTE, "client") for _ in range(4)]
    assert [verdict.is_allowed for verdict in verdicts] == [True, True, True, False]
    assert [verdict.num_remaining for verdict in verdicts] == [2, 1, 0, 0]
    assert {verdict.reset_s for verdict in verdicts} == {60}
    assert [verdict.retry_after_s for verdict in verdicts] == [0, 0, 0, 61]
    clock.now_s += 45.5
    assert (await counts.count(PER_MINUTE, "client")).retry_after_s == 15


async def test_the_tightest_of_several_limits_is_reported_and_the_first_to_refuse_decides() -> None:
    clock = Clock()
    counts = CallCounters("memory", clock)
    limits = parse_rate_limit("5/hour;2/second")
    told = [(verdict.is_allowed, verdict.limit.amount, verdict.num_remaining) for verdict in
            [await counts.count(limits, "client") for _ in range(3)]]  # fmt: skip
    assert told == [(True, 2, 1), (True, 2, 0), (False, 2, 0)]
    clock.now_s += 10
    assert (await counts.count(limits, "client")).num_remaining == 1
    assert (await counts.count(limits, "client")).num_remaining == 0
    clock.now_s += 10
    assert [(await counts.count(limits, "client")).limit.amount for _ in range(2)] == [5, 5]
    assert not (await counts.count(limits, "client")).is_allowed


async def test_calls_refused_by_a_short_limit_do_not_use_up_a_long_one() -> None:
    clock = Clock()
    counts = CallCounters("memory", clock)
    limits = parse_rate_limit("1/second;5/hour")
    for _ in range(100):
        await counts.count(limits, "client")
    clock.now_s += 10
    assert (await counts.count(limits, "client")).is_allowed


@given(st.lists(st.tuples(st.floats(0, 90), st.integers(1, 30)), min_size=1, max_size=20), st.integers(1, 20))
async def test_waiting_for_retry_after_is_enough(steps: list[tuple[float, int]], amount: int) -> None:
    clock = Clock()
    counts, limits = CallCounters("memory", clock), parse_rate_limit(f"{amount}/minute")
    for pause_s, num_calls in steps:
        clock.now_s += pause_s
        verdicts = [await counts.count(limits, "client") for _ in range(num_calls)]
        told = verdicts[0].num_remaining
        assert sum(verdict.is_allowed for verdict in verdicts[1:]) == min(told, num_calls - 1)
    if not verdicts[-1].is_allowed:
        clock.now_s += verdicts[-1].retry_after_s
        assert (await counts.count(limits, "client")).is_allowed


async def test_without_redis_calls_are_counted_here(caplog: pytest.LogCaptureFixture) -> None:
    async with without_redis(Clock()) as counts:
        allowed = [(await counts.count(PER_MINUTE, "client")).is_allowed for _ in range(4)]
        assert allowed == [True, True, True, False]
        assert "counted on this server alone" in str(counts.problem)
    assert "hidden" not in caplog.text


async def test_an_outage_is_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    async with without_redis(clock) as counts:
        for _ in range(40):
            await counts.count(PER_MINUTE, "client")
            clock.now_s += RETRY_S / 2
    assert len(caplog.records) == 40 * RETRY_S / 2 // LOG_INTERVAL_S + 1
    assert {record.levelno for record in caplog.records} == {logging.ERROR}


def test_a_parameter_that_redis_does_not_know_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="no_such"):
        CallCounters("redis://localhost/0?no_such=1")
