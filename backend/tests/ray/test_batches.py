from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from app.ray.batches import in_batches


async def test_items_that_arrive_together_are_sent_together() -> None:
    async def stream() -> AsyncIterator[int]:
        yield 1
        await asyncio.sleep(0.01)
        yield 2
        yield 3
        await asyncio.sleep(0.01)
        yield 4

    assert [batch async for batch in in_batches(stream())] == [[1], [2, 3], [4]]


async def test_a_slow_reader_finds_everything_in_order() -> None:
    async def stream() -> AsyncIterator[int]:
        for number in range(100):
            yield number
            await asyncio.sleep(0)

    items = []
    async for batch in in_batches(stream()):
        items += batch
        await asyncio.sleep(0.005)
    assert items == list(range(100))


async def test_a_stream_waits_for_a_reader_that_is_far_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.ray.batches.MAX_BATCH", 2)
    monkeypatch.setattr("app.ray.batches.MAX_WAITING_BATCHES", 3)
    num_given = 0

    async def stream() -> AsyncIterator[int]:
        nonlocal num_given
        for num_given in range(1, 101):
            yield num_given

    batches = in_batches(stream())
    first = await anext(batches)
    for _ in range(200):
        await asyncio.sleep(0)
    assert num_given < 10
    assert [*first, *[item async for batch in batches for item in batch]] == list(range(1, 101))


async def test_an_error_comes_after_what_came_before_it() -> None:
    async def stream() -> AsyncIterator[int]:
        yield 1
        raise ValueError("broken")

    batches = in_batches(stream())
    assert await anext(batches) == [1]
    with pytest.raises(ValueError, match="broken"):
        await anext(batches)


async def test_nothing_is_a_stream_too() -> None:
    async def stream() -> AsyncIterator[int]:
        for number in range(0):
            yield number

    assert [batch async for batch in in_batches(stream())] == []


async def test_leaving_a_loop_early_closes_the_stream() -> None:
    closed = []

    async def stream() -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            closed.append(True)

    batches = in_batches(stream())
    assert await anext(batches) == [1]
    await batches.aclose()
    assert closed == [True]
