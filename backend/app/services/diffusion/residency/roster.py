"""The models that are served: those of the configuration, of installed packages, and registered objects."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection

from app.core.settings import DiffusionConfig
from app.services.diffusion.base import DiffusionModel
from app.services.diffusion.errors import InvalidParameters
from app.services.diffusion.residency.catalog import CatalogEntry, configured_entries, plugin_entries, registered_entry
from app.services.diffusion.residency.residency import Residency
from app.services.diffusion.residency.slot import Slot

logger = logging.getLogger(__name__)


class Roster:
    """Gives each model its slot. Belongs to one event loop.

    Args:
        place: gives what is served for an entry: itself, or what stands for it where models run in other processes.
    """

    def __init__(self, residency: Residency, place: Callable[[CatalogEntry], CatalogEntry]) -> None:
        self._residency = residency
        self._place = place
        self._settings: dict[str, str] = {}
        """The setting that names each model of the configuration."""

    def adopt(self, config: DiffusionConfig) -> None:
        """Serves the models of a configuration, and no longer those that only an earlier one named. An id that another
        setting names now is another model. Everything that can be wrong is found before anything changes.

        Raises:
            InvalidParameters: `extra_models` is malformed or takes an id twice, or there is no such default model.
        """
        entries = {entry.model_id: entry for entry in configured_entries(config)}
        settings = {model_id: entry.setting for model_id, entry in entries.items()}
        others = {slot.model_id for slot in self._residency.slots} - self._settings.keys()
        if self._residency.is_complete.is_set():
            _check_default(config.default_model, others | entries.keys())
        if taken := others & entries.keys():
            raise InvalidParameters(
                f"extra_models: {', '.join(taken)} is taken; choose another id", field="extra_models"
            )
        for model_id, setting in self._settings.items():
            if settings.get(model_id) != setting:
                self._residency.remove(model_id)
        for model_id, entry in entries.items():
            if self._settings.get(model_id) != entry.setting:
                self._residency.add(self._place(entry))
        self._settings = settings

    def register(self, model: DiffusionModel) -> Slot:
        """Serves a model that someone made.

        Raises:
            TypeError: it is not a DiffusionModel.
            InvalidParameters: its id is malformed or taken.
        """
        return self._residency.add(registered_entry(model))

    async def complete(self) -> None:
        """Adds the models of installed packages, once: importing them may take seconds, so a thread does it."""
        if self._residency.is_complete.is_set():
            return
        for entry in map(self._place, await asyncio.to_thread(plugin_entries)):
            if entry.model_id in self._residency:
                logger.error("the plug-in model %r is left out: its id is taken", entry.model_id)
            else:
                self._residency.add(entry)
        self._residency.is_complete.set()

    def check_default(self, model_id: str) -> None:
        """Raises InvalidParameters unless a model has this id."""
        _check_default(model_id, {slot.model_id for slot in self._residency.slots})


def _check_default(model_id: str, known: Collection[str]) -> None:
    if model_id not in known:
        raise InvalidParameters(
            f"default_model={model_id!r} is not a model; known models: {', '.join(sorted(known))}",
            field="default_model",
        )
