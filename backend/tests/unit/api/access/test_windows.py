from __future__ import annotations

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from app.api.access.windows import CallWindows
from tests.unit.api.clock import Clock

WINDOW_S = 60


async def num_allowed(windows: CallWindows, limit: int, num_calls: int, key: str = "key") -> int:
    return sum([await windows.acquire_sliding_window_entry(key, limit, WINDOW_S) for _ in range(num_calls)])


async def test_calls_up_to_the_limit_are_allowed() -> None:
    assert await num_allowed(CallWindows(Clock()), 5, 20) == 5


async def test_refused_calls_do_not_count() -> None:
    clock = Clock()
    windows = CallWindows(clock)
    await num_allowed(windows, 5, 1_000)
    clock.now_s += 2 * WINDOW_S
    assert await num_allowed(windows, 5, 20) == 5


async def test_the_calls_of_the_window_before_fade() -> None:
    clock = Clock()
    windows = CallWindows(clock)
    await num_allowed(windows, 10, 10)
    clock.now_s += 1.5 * WINDOW_S
    assert await num_allowed(windows, 10, 20) == 5


async def test_clients_do_not_share() -> None:
    windows = CallWindows(Clock())
    assert [await num_allowed(windows, 3, 5, key) for key in ("one", "two")] == [3, 3]


async def test_a_bounded_number_of_addresses_is_remembered_the_latest_included() -> None:
    windows = CallWindows(Clock(), max_windows=10)
    await num_allowed(windows, 3, 3, "busy")
    for number in range(1_000):
        await num_allowed(windows, 3, 1, f"other {number}")
        assert await num_allowed(windows, 3, 1, "busy") == 0
    assert len(windows) == 10


@given(st.lists(st.tuples(st.floats(0, 90), st.integers(1, 12)), max_size=40), st.integers(1, 10))
async def test_never_more_than_twice_the_limit_within_any_window(steps: list[tuple[float, int]], limit: int) -> None:
    clock = Clock()
    windows, allowed_s = CallWindows(clock), deque[float]()
    for pause_s, num_calls in steps:
        clock.now_s += pause_s
        allowed_s.extend([clock.now_s] * await num_allowed(windows, limit, num_calls))
        while allowed_s and allowed_s[0] <= clock.now_s - WINDOW_S:
            allowed_s.popleft()
        assert len(allowed_s) <= 2 * limit
