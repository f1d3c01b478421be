import asyncio
from dataclasses import dataclass, field
from typing import ClassVar

import pytest

from app.core.settings import DiffusionConfig
from app.services.diffusion.base import DiffusionModel
from app.services.diffusion.errors import InvalidParameters, ModelUnavailable, UnknownModel
from app.services.diffusion.residency.catalog import CatalogEntry, registered_entry
from app.services.diffusion.residency.residency import Residency
from app.services.diffusion.residency.slot import Slot, State
from tests.fakes import SlowlyLoadingModel, UnloadableModel, WordsModel
from tests.unit.services.diffusion.serving import until


@dataclass
class Factory:
    """Builds a new model each time, and remembers all of them."""

    built: list[WordsModel] = field(default_factory=list)
    kind: type[WordsModel] = WordsModel

    def __call__(self, config: DiffusionConfig) -> DiffusionModel:
        self.built.append(self.kind("built"))
        return self.built[-1]

    def entry(self) -> CatalogEntry:
        return CatalogEntry("built", self.kind("built"), self)


@pytest.fixture
def residency() -> Residency:
    return Residency(DiffusionConfig)


async def loaded(residency: Residency, entry: CatalogEntry) -> Slot:
    slot = residency.add(entry)
    await slot.loaded()
    return slot


async def test_many_ask_and_one_loads(residency: Residency) -> None:
    model = SlowlyLoadingModel()
    slot = residency.add(registered_entry(model))
    waiting = [asyncio.create_task(slot.loaded()) for _ in range(5)]
    await asyncio.sleep(0)
    assert slot.is_loading
    waiting[0].cancel()  # one that gives up does not end the load
    model.may_load.set()
    instances = await asyncio.gather(*waiting[1:])
    assert model.num_initialized == 1
    assert len(set(map(id, instances))) == 1
    assert slot.state is State.READY


async def test_a_model_that_fails_says_why_and_is_not_tried_again(residency: Residency) -> None:
    slot = await loaded(residency, registered_entry(UnloadableModel("broken")))
    assert slot.state is State.FAILED
    assert slot.is_out_of_order
    assert slot.details().error == "the disk is on fire"
    assert await slot.loaded() is None


async def test_an_exception_while_loading_is_a_failure(residency: Residency) -> None:
    class Raising(WordsModel):
        async def initialize(self) -> bool:
            raise OSError("no such disk")

    slot = await loaded(residency, registered_entry(Raising()))
    assert slot.problem == "OSError: no such disk"


async def test_a_reload_builds_the_new_one_beside_and_closes_the_old_after_its_last_request(
    residency: Residency,
) -> None:
    factory = Factory()
    slot = await loaded(residency, factory.entry())
    first = slot.instance
    assert first is not None
    with first.hold():
        await residency.reload("built")
        assert slot.instance is not None
        assert slot.instance is not first
        await asyncio.sleep(0)
        assert factory.built[0].num_closed == 0
    await until(lambda: factory.built[0].num_closed == 1)
    assert factory.built[1].num_closed == 0


class Ledger(WordsModel):
    """Writes down when one is loaded and when it is freed. The next ones cannot be loaded where `can_load` is off."""

    entries: ClassVar[list[str]] = []
    can_load: ClassVar[bool] = True
    num_made: ClassVar[int] = 0

    def __init__(self, model_id: str = "built") -> None:
        super().__init__(model_id)
        Ledger.num_made += 1
        self.number = Ledger.num_made

    async def initialize(self) -> bool:
        await asyncio.sleep(0)
        self.entries.append(f"{self.number} loads")
        self.problem = None if self.can_load else "the disk is on fire"
        return self.can_load

    async def close(self) -> None:
        await asyncio.sleep(0)
        self.entries.append(f"{self.number} frees")


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    entries: list[str] = []
    monkeypatch.setattr(Ledger, "entries", entries)
    monkeypatch.setattr(Ledger, "num_made", 0)
    return entries


def ledger_entry() -> CatalogEntry:
    return CatalogEntry("built", None, lambda config: Ledger())


async def test_a_broken_instance_is_freed_before_its_successor_is_loaded(
    residency: Residency, ledger: list[str]
) -> None:
    slot = await loaded(residency, ledger_entry())
    broken = slot.instance
    assert broken is not None
    with broken.hold():
        broken.model.problem = "the cable was pulled"
        reload = asyncio.create_task(residency.reload("built"))
        await asyncio.sleep(0.01)
        assert ledger == ["1 loads"], "not while somebody holds it"
        assert slot.is_out_of_order
        assert slot.problem == "the cable was pulled"
    await reload
    assert ledger == ["1 loads", "1 frees", "2 loads"]
    assert slot.is_available
    assert slot.problem is None


async def test_a_repair_that_fails_is_still_to_be_done(
    residency: Residency, ledger: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    slot = await loaded(residency, ledger_entry())
    assert slot.instance is not None
    slot.instance.model.problem = "the cable was pulled"
    monkeypatch.setattr(Ledger, "can_load", False)
    with pytest.raises(ModelUnavailable, match="on fire"):
        await residency.reload("built")
    assert (slot.state, slot.is_broken) == (State.FAILED, True)
    monkeypatch.setattr(Ledger, "can_load", True)
    await residency.reload("built")
    assert (slot.state, slot.is_broken) == (State.READY, False)
    assert ledger == ["1 loads", "1 frees", "2 loads", "3 loads"]


async def test_a_reload_waits_for_the_instance_that_an_earlier_one_replaced(
    residency: Residency, ledger: list[str]
) -> None:
    """However often it is reloaded while requests run, there are two in memory at most."""
    slot = await loaded(residency, ledger_entry())
    first = slot.instance
    assert first is not None
    with first.hold():
        await residency.reload("built")
        second = asyncio.create_task(residency.reload("built"))
        await asyncio.sleep(0.01)
        assert ledger == ["1 loads", "2 loads"]
        assert slot.instance is not None, "the second one answers meanwhile"
    await second
    await until(lambda: len(ledger) == 5)
    assert ledger == ["1 loads", "2 loads", "1 frees", "3 loads", "2 frees"]


async def test_a_model_is_not_released_while_a_request_waits_for_it(residency: Residency) -> None:
    """Between the end of its load and the moment in which those who wait for it wake up."""
    model = SlowlyLoadingModel()
    slot = residency.add(CatalogEntry("slow", None, lambda config: model))
    waiting = asyncio.create_task(slot.loaded())
    await asyncio.sleep(0)
    model.may_load.set()
    while slot.instance is None:
        await asyncio.sleep(0)
    assert not waiting.done()
    assert residency.idle(keep="another") == []
    assert await waiting is slot.instance
    assert residency.idle(keep="another") == [slot]


async def test_two_reloads_at_once_share_one(residency: Residency) -> None:
    factory = Factory()
    await loaded(residency, factory.entry())
    await asyncio.gather(residency.reload("built"), residency.reload("built"))
    assert len(factory.built) == 2


async def test_a_failed_reload_leaves_the_old_one_answering(residency: Residency) -> None:
    factory = Factory()
    slot = await loaded(residency, factory.entry())
    factory.kind = UnloadableModel
    with pytest.raises(ModelUnavailable, match=r"on fire; the one loaded before goes on answering"):
        await residency.reload("built")
    assert slot.is_available
    assert slot.problem == "the disk is on fire"
    factory.kind = WordsModel
    await residency.reload("built")
    assert slot.problem is None


async def test_a_reload_repairs_a_failed_model(residency: Residency) -> None:
    model = UnloadableModel("broken")
    slot = await loaded(residency, registered_entry(model))
    with pytest.raises(ModelUnavailable):
        await residency.reload("broken")
    model.is_repaired = True
    await residency.reload("broken")
    assert slot.is_available


async def test_the_only_object_ends_its_requests_before_it_is_initialised_again(residency: Residency) -> None:
    model = WordsModel()
    slot = await loaded(residency, registered_entry(model))
    assert slot.instance is not None
    with slot.instance.hold():
        reload = asyncio.create_task(residency.reload("words"))
        await asyncio.sleep(0.01)
        assert slot.is_out_of_order  # so that others answer meanwhile
        assert model.num_closed == 0
    await reload
    assert (model.num_closed, model.num_initialized) == (1, 2)
    assert slot.is_available


async def test_idle_models_are_released_and_come_back(residency: Residency) -> None:
    factory = Factory()
    slot = await loaded(residency, factory.entry())
    released = await residency.release(residency.idle(keep="another"))
    assert released == factory.built
    assert factory.built[0].num_closed == 1
    assert slot.is_available
    assert slot.instance is None
    assert await slot.loaded() is not None
    assert len(factory.built) == 2


async def test_a_model_in_use_or_the_default_or_the_only_one_is_not_released(residency: Residency) -> None:
    slot = await loaded(residency, Factory().entry())
    await loaded(residency, registered_entry(WordsModel()))
    assert slot.instance is not None
    assert residency.idle(keep="another") == [slot]
    with slot.instance.hold():
        assert slot.idle_s == 0.0
        assert residency.idle(keep="another") == []
        assert await residency.release([slot]) == []
    assert residency.idle(keep="built") == []
    assert residency.idle(keep="another", device="cuda:0") == []
    assert slot.idle_s > 0.0


async def test_the_least_recently_used_is_first(residency: Residency) -> None:
    slots = {}
    for name in "abc":
        factory = Factory()
        slots[name] = await loaded(residency, CatalogEntry(name, factory(DiffusionConfig()), factory))
    for name in "bac":
        instance = slots[name].instance
        assert instance is not None
        with instance.hold():
            pass
    assert residency.idle(keep="") == [slots["b"], slots["a"], slots["c"]]


async def test_an_id_is_given_once(residency: Residency) -> None:
    residency.add(registered_entry(WordsModel()))
    with pytest.raises(InvalidParameters, match="'words' is taken"):
        residency.add(registered_entry(WordsModel()))


async def test_an_unknown_id_is_an_error(residency: Residency) -> None:
    with pytest.raises(UnknownModel, match="known models: none"):
        await residency.reload("nobody")


async def test_a_model_removed_while_it_loads_is_closed(residency: Residency) -> None:
    model = SlowlyLoadingModel()
    slot = residency.add(registered_entry(model))
    loading = asyncio.create_task(slot.loaded())
    await asyncio.sleep(0)
    residency.remove("slow")
    model.may_load.set()
    assert await loading is None
    await until(lambda: model.num_closed == 1)


async def test_a_broken_plugin_is_listed_as_unavailable(residency: Residency) -> None:
    slot = residency.add(CatalogEntry("plugin", None, None, problem="ImportError: no module"))
    assert not slot.is_available
    assert slot.details().error == "ImportError: no module"
    with pytest.raises(ModelUnavailable, match="no module"):
        await residency.reload("plugin")


async def test_the_end_closes_every_model_once(residency: Residency) -> None:
    models = [WordsModel("a"), WordsModel("b")]
    for model in models:
        await loaded(residency, registered_entry(model))
    await residency.close()
    assert [model.num_closed for model in models] == [1, 1]


async def test_a_model_that_does_not_close_cleanly_does_no_harm(residency: Residency) -> None:
    class Clinging(WordsModel):
        async def close(self) -> None:
            raise RuntimeError("no")

    await loaded(residency, registered_entry(Clinging()))
    await residency.close()
