"""A PEFT LoRA folder as a model of the service: it answers by the engine of its base, whose weights it shares."""

from __future__ import annotations

from app.engine.interface.config import EngineConfig
from app.engine.interface.errors import EngineStopped
from app.services.diffusion.base import DiffusionModel
from app.services.diffusion.native.loading import Loaded, LoadedAdapter, load_adapter
from app.services.diffusion.native.native import NativeDiffusionModel
from app.services.diffusion.reports import DiffusionModelDetails


class AdapterModel(NativeDiffusionModel):
    """Serves an adapter. Tokenizer, family, device and limits are those of the base.

    Args:
        location: folder or hub id of the adapter.
        config: of the base's engine.
    """

    def __init__(self, model_id: str, *, base_id: str, location: str, config: EngineConfig) -> None:
        super().__init__(model_id, location=location, config=config, description=f"An adapter of {base_id}.")
        self.base_id = base_id
        self._base: NativeDiffusionModel | None = None

    def attach(self, base: DiffusionModel) -> None:
        assert isinstance(base, NativeDiffusionModel), "the catalog takes no other base"
        self._base = base

    def _load(self) -> Loaded:
        base = None if self._base is None else self._base.loaded
        if base is None:
            raise EngineStopped(f"its base {self.base_id!r} is not loaded")
        return load_adapter(self.model_id, self._location, base)

    async def describe_itself(self) -> None:
        """Nothing can be known before its base is."""

    async def close(self) -> None:
        loaded, self._loaded = self._loaded, None
        if loaded is not None and loaded.adapter is not None:
            loaded.engine.remove_adapter(loaded.adapter.name)

    def differences(self, successor: NativeDiffusionModel) -> set[str]:
        """Its folder and its base; all else is the base's."""
        is_other = (self._location, self.base_id) != (successor._location, successor.base_id)
        return {"location"} if is_other else set()

    @property
    def memory_bytes(self) -> int:
        """Bytes of the adapter alone."""
        adapter = self._adapter
        return 0 if adapter is None else adapter.num_bytes

    @property
    def counters(self) -> None:
        """The base counts the passes of its engine."""
        return

    def details(self) -> DiffusionModelDetails:
        details = super().details()
        details.memory_needed = details.memory = None  # they are said of the base
        if self._adapter is not None:
            details.load_time = round(self._adapter.load_time_s, 3)
        return details

    @property
    def _adapter(self) -> LoadedAdapter | None:
        return None if self._loaded is None else self._loaded.adapter
