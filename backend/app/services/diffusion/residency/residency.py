"""The loaded models: each once, however many ask; reloaded beside the requests in flight."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from app.core.settings import DiffusionConfig
from app.services.diffusion.base import DiffusionModel
from app.services.diffusion.errors import InvalidParameters, ModelUnavailable, UnknownModel
from app.services.diffusion.residency.background import BackgroundTasks
from app.services.diffusion.residency.catalog import CatalogEntry
from app.services.diffusion.residency.instance import Instance
from app.services.diffusion.residency.slot import Slot, State


class Residency:
    """All slots. Belongs to one event loop.

    Args:
        config: gives the configuration of the moment, by which models are built.

    Attributes:
        is_complete: set once every model that there is has its slot. Before, an unknown id may be that of a plug-in.
    """

    def __init__(self, config: Callable[[], DiffusionConfig]) -> None:
        self._config = config
        self._tasks = BackgroundTasks()
        self._sequences = BackgroundTasks()
        self._slots: dict[str, Slot] = {}
        self.is_complete = asyncio.Event()

    @property
    def slots(self) -> list[Slot]:
        return list(self._slots.values())

    def __contains__(self, model_id: str) -> bool:
        return model_id in self._slots

    def slot(self, model_id: str) -> Slot:
        """Raises UnknownModel, which lists the known ones."""
        if model_id not in self._slots:
            known = ", ".join(self._slots) or "none"
            raise UnknownModel(f"there is no model {model_id!r}; known models: {known}")
        return self._slots[model_id]

    def add(self, entry: CatalogEntry) -> Slot:
        """Raises InvalidParameters if the id is taken."""
        if entry.model_id in self._slots:
            raise InvalidParameters(f"the model id {entry.model_id!r} is taken; choose another", field="model_id")
        self._slots[entry.model_id] = Slot(entry, config=self._config, tasks=self._tasks, others=self)
        return self._slots[entry.model_id]

    def remove(self, model_id: str) -> None:
        self._slots.pop(model_id).leave()

    async def base(self, model_id: str) -> Instance:
        """See `Others.base`."""
        slot = self._slots.get(model_id)
        instance = None if slot is None else await slot.loaded()
        if instance is None:
            why = "there is no such model" if slot is None else slot.problem or slot.state.value
            raise ModelUnavailable(f"its base {model_id!r} is not available: {why}")
        return instance

    def is_new(self, slot: Slot) -> None:
        """Loads the adapters of a model anew where they use an instance of it that was replaced, or failed with it.
        Their requests in flight finish on that one; those that come wait for the load, which reads adapters alone."""
        followers = [other for other in self.slots if other.base_id == slot.model_id and other.has_another_base]
        for follower in followers:
            follower.unload()
        if followers:
            self.load_in_background(followers)

    def load_in_background(self, slots: Iterable[Slot]) -> None:
        """Loads those that never were, one after the other, so that each is ready as early as it can be."""
        self._sequences.start(_load_in_order(list(slots)), name="load models")

    def repair(self, slot: Slot) -> None:
        """Loads a model again in the background, whatever became of it."""
        self._sequences.start(slot.load(), name=f"repair {slot.model_id}")

    async def reload(self, model_id: str) -> Slot:
        """Builds the model anew; requests in flight finish on the instance that they began with.

        Raises:
            UnknownModel: no model has this id.
            ModelUnavailable: loading failed; an instance loaded before goes on answering.
        """
        slot = self.slot(model_id)
        shares_a_load = slot.is_loading
        await slot.load()
        if shares_a_load and slot.outdated_settings:  # it had begun before the settings were changed
            await slot.load()
        if slot.problem is not None:
            kept = "; the one loaded before goes on answering" if slot.instance is not None else ""
            raise ModelUnavailable(f"model {model_id!r} could not be reloaded: {slot.problem}{kept}")
        return slot

    @property
    def devices(self) -> list[str]:
        """The devices on which models are loaded."""
        return sorted({slot.instance.model.device for slot in self.slots if slot.instance is not None})

    @property
    def loaded_bytes(self) -> int:
        """Bytes of the weights of all loaded models."""
        return sum(slot.instance.model.memory_bytes for slot in self.slots if slot.instance is not None)

    @property
    def outdated_settings(self) -> frozenset[str]:
        """Settings that are in force for a model only once it is loaded again."""
        return frozenset[str]().union(*(slot.outdated_settings for slot in self.slots))

    def idle(self, *, keep: str, device: str | None = None) -> list[Slot]:
        """Models that nobody uses and that can be loaded again, the least recently used first.

        Args:
            keep: a model that is never among them.
            device: only those there.
        """
        slots = {
            slot: slot.instance
            for slot in self.slots
            if slot.instance is not None and slot.may_be_released and slot.model_id != keep
        }
        return sorted(
            (slot for slot, instance in slots.items() if device in (None, instance.model.device)),
            key=lambda slot: slots[slot].last_used_s,
        )

    def is_at_rest(self, for_s: float) -> bool:
        """Whether for so many seconds no request has used a model, and none is being loaded or closed."""
        in_memory = [slot for slot in self.slots if slot.instance is not None]
        return not self._tasks.is_busy and all(slot.idle_s >= for_s for slot in in_memory)

    async def release(self, slots: Iterable[Slot]) -> list[DiffusionModel]:
        """Lets models go as far as nobody has begun to use them since, and waits until they are closed."""
        released = [slot.release() for slot in slots]
        idle = [instance for instance in released if instance is not None]
        await asyncio.gather(*(instance.close() for instance in idle))
        return [instance.model for instance in idle]

    async def release_idle(self, *, keep: str) -> list[DiffusionModel]:
        """Lets all idle models go: adapters first, and then the models that none of them uses any more."""
        released: list[DiffusionModel] = []
        while more := await self.release(self.idle(keep=keep)):
            released += more
        return released

    async def close(self) -> None:
        """Waits for loads that are under way (a thread cannot be interrupted), then closes every model."""
        await self._sequences.cancel()
        await self._tasks.join()
        for slot in self.slots:
            slot.unload()
        await self._tasks.join()


async def _load_in_order(slots: list[Slot]) -> None:
    for slot in slots:
        if slot.state is State.NEW:
            await slot.load()
