from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest

from app.core.settings import DiffusionConfig
from app.engine.device.memory import DeviceMemory
from app.services.diffusion.residency import supervisor
from app.services.diffusion.residency.catalog import CatalogEntry
from app.services.diffusion.residency.residency import Residency
from app.services.diffusion.residency.slot import Slot, State
from app.services.diffusion.residency.supervisor import IDLE_S, MEMORY_EVERY_S, SETTLED_S, Supervisor
from tests.fakes import WordsModel
from tests.unit.services.diffusion.serving import until

MEGABYTE = 1_000_000


class HeavyModel(WordsModel):
    """Takes 10 MB, and may be unable to come back."""

    can_load = True

    async def initialize(self) -> bool:
        self.problem = None if type(self).can_load else "the disk is on fire"
        await super().initialize()
        return type(self).can_load

    @property
    def memory_bytes(self) -> int:
        return 10 * MEGABYTE


def entry_of(model_id: str) -> CatalogEntry:
    return CatalogEntry(model_id, HeavyModel(model_id), rebuild=lambda config: HeavyModel(model_id))


class House:
    """Models a, b and c, in the order of their last use; a is the default. Time stands still until it is set."""

    def __init__(self, **settings: int | float) -> None:
        self.config = DiffusionConfig(default_model="a").model_copy(update=settings)
        self.now_s = 1000.0
        self.used_share = 0.5
        self.num_freed = 0
        self.residency = Residency(lambda: self.config)
        self.supervisor = Supervisor(self.residency, lambda: self.config, memory=self._memory, clock=lambda: self.now_s)
        self.slots: dict[str, Slot] = {}

    async def _memory(self, devices: Iterable[str]) -> dict[str, DeviceMemory]:
        return {device: DeviceMemory(int(100 * self.used_share), 100) for device in devices}

    async def move_in(self) -> House:
        for name in "abc":
            self.slots[name] = self.residency.add(entry_of(name))
            await self.slots[name].loaded()
        return self

    @property
    def loaded(self) -> str:
        return "".join(name for name, slot in self.slots.items() if slot.instance is not None)

    def rest(self, monkeypatch: pytest.MonkeyPatch, idle_s: float) -> None:
        monkeypatch.setattr(Slot, "idle_s", idle_s)


# -- repairs ----------------------------------------------------------------------------------------------------------


async def test_a_model_that_broke_down_is_loaded_again() -> None:
    house = await House().move_in()
    broken = house.slots["b"].instance
    assert broken is not None
    broken.model.problem = "the cable was pulled"
    assert house.slots["b"].is_broken
    await house.supervisor.look()
    await until(lambda: not house.slots["b"].is_broken and not house.slots["b"].is_loading)
    assert house.slots["b"].instance is not None
    assert house.slots["b"].instance is not broken
    assert house.slots["b"].problem is None
    await house.residency.close()


async def test_repairs_that_fail_are_tried_less_and_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    house = await House().move_in()
    slot = house.slots["b"]
    assert slot.instance is not None
    slot.instance.model.problem = "the cable was pulled"
    monkeypatch.setattr(HeavyModel, "can_load", False)
    begun_s = []
    loads = []
    load_once = Slot._load_once

    async def counting(self: Slot) -> None:
        loads.append(self.model_id)
        begun_s.append(house.now_s - 1000.0)
        await load_once(self)

    monkeypatch.setattr(Slot, "_load_once", counting)
    for _ in range(140):
        await house.supervisor.look()
        for _ in range(5):
            await asyncio.sleep(0)
        house.now_s += 1.0
    assert begun_s == [0.0, 1.0, 3.0, 7.0, 15.0, 31.0, 63.0, 123.0]
    monkeypatch.setattr(HeavyModel, "can_load", True)
    house.now_s += SETTLED_S
    await house.supervisor.look()
    await until(lambda: slot.instance is not None)
    assert slot.state is State.READY
    await house.residency.close()


async def test_a_look_that_fails_is_not_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    house = await House().move_in()
    num_looks = 0

    async def look() -> None:
        nonlocal num_looks
        num_looks += 1
        raise RuntimeError("could not see")

    monkeypatch.setattr(supervisor, "LOOK_EVERY_S", 0.0)
    monkeypatch.setattr(house.supervisor, "look", look)
    watch = asyncio.create_task(house.supervisor.run())
    await until(lambda: num_looks > 2)
    watch.cancel()
    await house.residency.close()


# -- memory -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("budget_mb", "loaded"), [(0, "abc"), (30, "abc"), (29, "ac"), (19, "a"), (1, "a")], ids=str)
async def test_above_the_budget_the_least_recently_used_models_are_released_but_not_the_default(
    budget_mb: int, loaded: str
) -> None:
    house = await House(model_memory_mb=budget_mb).move_in()
    await house.supervisor.look()
    assert house.loaded == loaded
    assert all(slot.is_available for slot in house.slots.values())
    await house.residency.close()


async def test_a_model_in_use_may_exceed_the_budget_until_it_is_idle() -> None:
    house = await House(model_memory_mb=15).move_in()
    in_use = house.slots["b"].instance
    assert in_use is not None
    with in_use.hold():
        await house.supervisor.look()
        assert house.loaded == "ab"
    await house.supervisor.look()
    assert house.loaded == "a"
    await house.residency.close()


async def test_short_memory_frees_caches_once_and_lets_rested_models_go_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    freed: list[list[str]] = []
    monkeypatch.setattr(supervisor, "_free_caches", freed.append)
    house = await House(memory_threshold=0.8).move_in()
    house.rest(monkeypatch, IDLE_S)
    await house.supervisor.look()
    assert (house.loaded, freed) == ("abc", [])
    house.used_share = 0.9
    await house.supervisor.look()
    assert house.loaded == "abc", "memory is not looked at every time"
    for loaded in ("ac", "a", "a"):
        house.now_s += MEMORY_EVERY_S
        await house.supervisor.look()
        assert house.loaded == loaded
    assert freed == [["cpu"]]
    await house.residency.close()


async def test_a_model_that_was_used_a_moment_ago_stays_though_memory_is_short(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    house = await House(memory_threshold=0.8).move_in()
    house.rest(monkeypatch, IDLE_S - 1)
    house.used_share = 0.9
    await house.supervisor.look()
    assert house.loaded == "abc"
    await house.residency.close()


async def test_cleaning_up_reports_the_freed_memory() -> None:
    house = await House().move_in()
    report = await house.supervisor.clean_up()
    assert sorted(report.released_models) == ["b", "c"]
    assert report.freed_bytes >= 20 * MEGABYTE
    assert house.loaded == "a"
    await house.residency.close()
