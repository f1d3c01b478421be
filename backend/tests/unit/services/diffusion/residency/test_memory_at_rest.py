from __future__ import annotations

import pytest

from app.core.settings import DiffusionConfig
from app.services.diffusion.residency.memory_at_rest import REST_S, MemoryAtRest
from app.services.diffusion.residency.residency import Residency
from app.services.diffusion.residency.slot import Slot
from tests.unit.services.diffusion.residency.test_supervisor import entry_of
from tests.unit.services.diffusion.serving import until


class Process:
    """Holds some memory, of which freeing caches brings back what is above 400."""

    def __init__(self) -> None:
        self.held_bytes = 500
        self.num_freed = 0

    def free(self) -> None:
        self.num_freed += 1
        self.held_bytes = min(self.held_bytes, 400)


@pytest.fixture
def process() -> Process:
    return Process()


@pytest.fixture
def residency(monkeypatch: pytest.MonkeyPatch) -> Residency:
    monkeypatch.setattr(Slot, "idle_s", 2 * REST_S)
    return Residency(lambda: DiffusionConfig(default_model="a"))


@pytest.fixture
def at_rest(residency: Residency, process: Process) -> MemoryAtRest:
    return MemoryAtRest(residency, held_bytes=lambda: process.held_bytes, free_caches=process.free)


async def test_memory_left_behind_by_a_load_is_freed_once(at_rest: MemoryAtRest, process: Process) -> None:
    for _ in range(3):
        await at_rest.look()
    assert (process.num_freed, process.held_bytes) == (1, 400)
    process.held_bytes = 410
    await at_rest.look()
    assert process.num_freed == 1
    process.held_bytes = 500
    for _ in range(3):
        await at_rest.look()
    assert (process.num_freed, process.held_bytes) == (2, 400)


async def test_rests_never_climb_in_small_steps(at_rest: MemoryAtRest, process: Process) -> None:
    await at_rest.look()
    for held_bytes in range(400, 500, 5):
        process.held_bytes = max(held_bytes, process.held_bytes)
        await at_rest.look()
        process.held_bytes += 5
    assert process.num_freed > 1
    assert process.held_bytes < 430


async def test_room_that_a_model_left_is_not_filled_up_unseen(at_rest: MemoryAtRest, process: Process) -> None:
    await at_rest.look()
    process.held_bytes = 200
    await at_rest.look()
    process.held_bytes = 300
    await at_rest.look()
    assert process.num_freed == 2


async def test_a_model_in_use_is_no_rest(
    at_rest: MemoryAtRest, residency: Residency, process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    await residency.add(entry_of("a")).loaded()
    monkeypatch.setattr(Slot, "idle_s", REST_S / 2)
    await at_rest.look()
    assert process.num_freed == 0
    monkeypatch.setattr(Slot, "idle_s", REST_S)
    await at_rest.look()
    assert process.num_freed == 1


async def test_an_old_instance_that_still_answers_is_no_rest(
    at_rest: MemoryAtRest, residency: Residency, process: Process
) -> None:
    old = await residency.add(entry_of("a")).loaded()
    assert old is not None
    with old.hold():
        await residency.reload("a")
        await at_rest.look()
        assert process.num_freed == 0
    await until(lambda: residency.is_at_rest(REST_S))
    await at_rest.look()
    assert process.num_freed == 1
