import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services.diffusion.errors import Overloaded
from app.services.diffusion.requests.admission import AdmissionGate
from tests.profiles import examples


class Visitor:
    """Enters a gate, stays until it is released, and notes when it came in."""

    def __init__(self, gate: AdmissionGate, log: list[int], number: int) -> None:
        self.leave = asyncio.Event()
        self.task = asyncio.create_task(self._visit(gate, log, number))

    async def _visit(self, gate: AdmissionGate, log: list[int], number: int) -> None:
        async with gate.place():
            log.append(number)
            await self.leave.wait()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_first_come_first_served() -> None:
    gate, log = AdmissionGate(max_running=1, max_waiting=10), list[int]()
    visitors = [Visitor(gate, log, number) for number in range(4)]
    for visitor in visitors:
        await settle()
        visitor.leave.set()
    await asyncio.gather(*(visitor.task for visitor in visitors))
    assert log == [0, 1, 2, 3]
    assert (gate.num_running, gate.num_waiting) == (0, 0)


async def test_a_full_queue_refuses_at_once_and_says_the_numbers() -> None:
    gate = AdmissionGate(max_running=1, max_waiting=1)
    visitors = [Visitor(gate, [], number) for number in range(2)]
    await settle()
    with pytest.raises(Overloaded, match=r"1 requests are running and 1 are waiting.*max_queued_requests=1"):
        async with gate.place():
            pass
    for visitor in visitors:
        visitor.task.cancel()
    await asyncio.gather(*(visitor.task for visitor in visitors), return_exceptions=True)


async def test_no_queue_at_all() -> None:
    gate = AdmissionGate(max_running=1, max_waiting=0)
    async with gate.place():
        with pytest.raises(Overloaded):
            async with gate.place():
                pass
    async with gate.place():
        pass


async def test_a_higher_limit_admits_waiting_requests() -> None:
    gate, log = AdmissionGate(max_running=1, max_waiting=10), list[int]()
    visitors = [Visitor(gate, log, number) for number in range(3)]
    await settle()
    assert log == [0]
    gate.resize(max_running=3, max_waiting=10)
    await settle()
    assert log == [0, 1, 2]
    for visitor in visitors:
        visitor.leave.set()
    await asyncio.gather(*(visitor.task for visitor in visitors))


async def test_a_lower_limit_takes_effect_as_requests_end() -> None:
    gate, log = AdmissionGate(max_running=2, max_waiting=10), list[int]()
    visitors = [Visitor(gate, log, number) for number in range(3)]
    await settle()
    gate.resize(max_running=1, max_waiting=10)
    visitors[0].leave.set()
    await settle()
    assert log == [0, 1]
    visitors[1].leave.set()
    await settle()
    assert log == [0, 1, 2]
    visitors[2].leave.set()
    await visitors[2].task


async def test_a_slot_given_to_a_cancelled_caller_is_passed_on() -> None:
    gate, log = AdmissionGate(max_running=1, max_waiting=10), list[int]()
    visitors = [Visitor(gate, log, number) for number in range(3)]
    await settle()
    visitors[0].task.cancel()
    await asyncio.sleep(0)  # its place goes to 1 in this turn of the loop …
    visitors[1].task.cancel()  # … and 1 is cancelled before it can notice
    await settle()
    assert log == [0, 2]
    visitors[2].leave.set()
    await asyncio.gather(*(visitor.task for visitor in visitors), return_exceptions=True)
    assert (gate.num_running, gate.num_waiting) == (0, 0)


@examples(60)
@given(st.integers(0, 2**32), st.integers(1, 4), st.integers(0, 6))
def test_no_wake_up_is_lost_whatever_happens(seed: int, max_running: int, max_waiting: int) -> None:
    asyncio.run(storm(random.Random(seed), AdmissionGate(max_running=max_running, max_waiting=max_waiting)))


async def storm(rng: random.Random, gate: AdmissionGate) -> None:
    visitors: list[Visitor] = []
    for number in range(60):
        action = rng.random()
        if action < 0.45 or not visitors:
            visitors.append(Visitor(gate, [], number))
        elif action < 0.65:
            rng.choice(visitors).task.cancel()
        elif action < 0.85:
            rng.choice(visitors).leave.set()
        elif action < 0.95:
            gate.resize(max_running=rng.randint(1, 4), max_waiting=rng.randint(0, 6))
        if rng.random() < 0.5:
            await asyncio.sleep(0)
        assert gate.num_waiting == 0 or gate.num_running >= min(1, gate.max_running)
    for visitor in visitors:
        visitor.leave.set()
    await asyncio.wait_for(asyncio.gather(*(v.task for v in visitors), return_exceptions=True), 30)
    assert (gate.num_running, gate.num_waiting) == (0, 0)


async def test_a_request_that_waits_for_a_model_counts_as_waiting() -> None:
    gate = AdmissionGate(max_running=1, max_waiting=1)
    with gate.arrival(), gate.arrival():
        with pytest.raises(Overloaded, match="0 requests are running and 2 are waiting"), gate.arrival():
            pass
        async with gate.place():
            pass
    with gate.arrival():
        pass
