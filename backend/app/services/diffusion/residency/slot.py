"""The place of one model: whether it is loaded, who uses it, and what went wrong."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from app.core.settings import DiffusionConfig
from app.services.diffusion.base import DiffusionModel
from app.services.diffusion.errors import ModelUnavailable
from app.services.diffusion.public_words import public_text
from app.services.diffusion.reading import Asked
from app.services.diffusion.reports import DiffusionModelDetails
from app.services.diffusion.residency.background import BackgroundTasks
from app.services.diffusion.residency.catalog import CatalogEntry
from app.services.diffusion.residency.instance import Instance

logger = logging.getLogger(__name__)


class State(Enum):
    """Loading, for the first time or again, ends in READY or FAILED; READY -> RELEASED by cleaning up, -> NEW by
    unloading. A model that waits for its first use begins as RELEASED."""

    NEW = "not loaded yet"
    READY = "ready"
    RELEASED = "not in memory; the next request loads it"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Build:
    """A model, loaded or not, and the configuration that it was made by."""

    model: DiffusionModel
    config: DiffusionConfig


class Others(Protocol):
    """The other models, as far as one of them concerns them."""

    async def base(self, model_id: str) -> Instance:
        """The model that an adapter is for; it is loaded if it was not. Raises ModelUnavailable."""
        ...

    def is_new(self, slot: Slot) -> None:
        """A model has been loaded, for the first time or again."""
        ...


class Slot:
    """The place of one model id: the instance that answers now, and the load that is under way.

    Args:
        config: gives the configuration of the moment, by which the model is built.
        tasks: where loads and closings run, so that no caller's end is theirs.
        others: loads the base of an adapter, and hears of each load.
    """

    def __init__(
        self, entry: CatalogEntry, *, config: Callable[[], DiffusionConfig], tasks: BackgroundTasks, others: Others
    ) -> None:
        self.model_id = entry.model_id
        self.entry = entry
        self.state = State.NEW if entry.problem is None else State.FAILED
        self._problem = entry.problem
        self._described = entry.model
        self._config = config
        self._tasks = tasks
        self._others = others
        self._instance: Instance | None = None
        self._load: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._num_waiting = 0
        self._loaded: Build | None = None
        self._tried: Build | None = None
        self._is_to_be_repaired = False
        self._has_left = False

    @property
    def instance(self) -> Instance | None:
        """The instance that can answer at this moment."""
        instance = self._instance
        return instance if instance is not None and instance.model.problem is None else None

    @property
    def is_available(self) -> bool:
        return self.instance is not None or self.state is State.RELEASED

    def can(self, operation: str) -> bool:
        """Whether the model is known to be able to do this."""
        return self._described is not None and operation in self._described.capabilities

    @property
    def is_loading(self) -> bool:
        return self._load is not None and not self._load.done()

    @property
    def is_out_of_order(self) -> bool:
        """Whether it failed, broke down, or is being loaded again; a model that waits for its first load did not."""
        return self.instance is None and self.state in (State.READY, State.FAILED)

    @property
    def is_broken(self) -> bool:
        """Whether it was loaded, then broke down, and is not being repaired yet."""
        has_broken_down = self._instance is not None and self._instance.model.problem is not None
        return (has_broken_down or self._is_to_be_repaired) and not self.is_loading

    @property
    def problem(self) -> str | None:
        broken = self._instance.model.problem if self._instance is not None else None
        return broken or self._problem

    @property
    def standing_problem(self) -> str | None:
        """The problem, unless a load failed by settings that were taken back, and nothing else would be loaded now than
        what answers."""
        return None if self.instance is not None and self._failed_otherwise else self.problem

    @property
    def _failed_otherwise(self) -> bool:
        """Whether the settings that the last load failed by are no longer in force, but those of the instance are."""
        tried = self._tried
        if tried is None or tried is self._loaded or self.is_loading or self.outdated_settings:
            return False
        return bool(self.entry.outdated(tried.model, tried.config, self._config()))

    @property
    def public_problem(self) -> str | None:
        """The problem in words that strangers may read."""
        return None if self.problem is None else public_text(self.problem, location=self.details().checkpoint)

    @property
    def base_id(self) -> str | None:
        """The model whose weights it uses, where it is an adapter."""
        return None if self._described is None else self._described.base_id

    @property
    def has_another_base(self) -> bool:
        """Whether it was loaded, or could not be, and not with the instance of its base that answers now."""
        if self.is_loading or self.base_id is None:
            return False
        return self.state is State.FAILED or (self._instance is not None and not self._instance.has_current_base)

    @property
    def idle_s(self) -> float:
        """Seconds since a request last used it; 0 while one does, or where none is loaded."""
        instance = self.instance
        return time.monotonic() - instance.last_used_s if instance is not None and instance.is_idle else 0.0

    @property
    def may_be_released(self) -> bool:
        """Whether it is loaded, not in use or about to be, has no adapter that is loaded, and can be made again."""
        instance = self.instance
        is_wanted = self._num_waiting > 0 or self.is_loading or (instance is not None and instance.is_pinned)
        return instance is not None and instance.is_idle and self.entry.rebuild is not None and not is_wanted

    @property
    def outdated_settings(self) -> frozenset[str]:
        """Settings that a load would take over, and that would make another model of the one that is loaded, or failed.
        One that waits for its first use is loaded as the settings are then."""
        build = self._loaded if self._instance is not None else self._tried
        if build is None or self.entry.rebuild is None or self.state not in (State.READY, State.FAILED):
            return frozenset()
        return self.entry.outdated(build.model, build.config, self._config())

    async def loaded(self) -> Instance | None:
        """The instance; waits for the load that is under way, or starts one if there never was any. It is not released
        before the caller has it."""
        if self.instance is None and (self.is_loading or self.state in (State.NEW, State.RELEASED)):
            self._num_waiting += 1
            try:
                await self.load()
            finally:
                self._num_waiting -= 1
        return self.instance

    async def load(self) -> None:
        """Loads, or loads again. Callers at the same time share one load; one that is cancelled does not end it."""
        if not self.is_loading:
            self._load = self._tasks.start(self._load_once(), name=f"load {self.model_id}")
        assert self._load is not None
        await asyncio.shield(self._load)

    def wait_for_use(self) -> None:
        """A model that was never loaded is available all the same: its first request loads it."""
        if self.state is State.NEW and not self.is_loading:
            self.state = State.RELEASED
            if self._described is not None:
                self._tasks.start(self._described.describe_itself(), name=f"describe {self.model_id}")

    def check_operation(self, params: Asked) -> None:
        """Refuses what the model is known to be unable to do, loaded or not. Raises UnsupportedOperation."""
        if self._described is not None:
            self._described.check_operation(params)

    def release(self) -> Instance | None:
        """Lets the model go, if it may be. The caller closes it."""
        if not self.may_be_released:
            return None
        instance, self._instance, self.state = self.instance, None, State.RELEASED
        if instance is not None:
            instance.is_retired = True
        return instance

    def unload(self) -> None:
        """Back to the beginning; the instance is closed when its last request has ended."""
        if self._instance is not None:
            self._retire(self._instance)
            self._instance = None
        self._is_to_be_repaired = False
        if self.entry.problem is None:
            self.state, self._problem = State.NEW, None

    def leave(self) -> None:
        """The model is no longer served, also if it is just being loaded."""
        self._has_left = True
        self.unload()

    def details(self) -> DiffusionModelDetails:
        details = self._described.details() if self._described is not None else _bare_details(self.model_id)
        return details.model_copy(update={"is_available": self.is_available, "error": self.standing_problem})

    async def _load_once(self) -> None:
        """Loads a new instance beside the one that answers.

        It waits for an older instance that still has requests, so that there are never more than two in memory.
        """
        old = self._instance
        try:
            if old is not None and (self.entry.rebuild is None or old.model.problem is not None):
                await self._make_way(old)
            if self._closing is not None:
                await asyncio.wait([self._closing])
            self._settle(*await self._made())
        except ModelUnavailable as error:
            logger.error("model %r could not be loaded: %s", self.model_id, error)
            self._fail(str(error))
        except Exception as error:
            logger.exception("model %r could not be loaded", self.model_id)
            self._fail(f"{type(error).__name__}: {error}")

    async def _made(self) -> tuple[Instance, bool]:
        """A new instance, and whether it can answer; made once more where its base was replaced meanwhile."""
        while True:
            model = self._next_model()
            base = None if model.base_id is None else await self._others.base(model.base_id)
            instance = Instance(model, base)
            is_initialised = await instance.initialize()
            if instance.has_current_base:
                return instance, is_initialised
            await instance.close()

    async def _make_way(self, old: Instance) -> None:
        """There is no second object, or the one that exists answers nobody: it ends its requests and gives its memory
        back before its successor takes any."""
        self._problem = old.model.problem
        self._is_to_be_repaired = self._problem is not None
        self._instance, old.is_retired = None, True
        await old.close()

    def _next_model(self) -> DiffusionModel:
        config = self._config()
        if self.entry.rebuild is not None:
            self._tried = Build(self.entry.rebuild(config), config)
        elif self.entry.model is None:
            raise ModelUnavailable(self.entry.problem or "there is no such model")
        else:
            self._tried = Build(self.entry.model, config)
            self.entry.model.problem = None
        return self._tried.model

    def _settle(self, instance: Instance, is_initialised: bool) -> None:
        model = instance.model
        if not is_initialised:
            if model.problem is None:
                logger.error("model %r: initialize() returned False and gives no reason", self.model_id)
            self._fail(model.problem or "initialize() returned False")
            return
        old, self._instance = self._instance, instance
        self._loaded, self._is_to_be_repaired = self._tried, False
        self._described, self.state, self._problem = model, State.READY, None
        logger.info("model %r is ready on %s", self.model_id, model.device)
        if old is not None:
            self._retire(old)
        if self._has_left:
            self.unload()
        else:
            self._others.is_new(self)

    def _fail(self, problem: str) -> None:
        """An instance loaded before goes on answering; only where there is none is the model gone."""
        self._problem = problem
        if self.instance is None:
            self.state = State.FAILED

    def _retire(self, instance: Instance) -> None:
        instance.is_retired = True
        self._closing = self._tasks.start(instance.close(), name=f"close {self.model_id}")


def _bare_details(model_id: str) -> DiffusionModelDetails:
    return DiffusionModelDetails(
        model_id=model_id,
        name=model_id,
        description="",
        max_length=0,
        is_available=False,
        device="",
        memory_usage=0.0,
        capabilities=[],
        algorithms=[],
        parameters={},
    )
