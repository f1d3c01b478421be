"""The model that answers a request: the one it asks for, or one that stands in for it."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass

from app.core.parameters import PARAMETERS
from app.core.settings import DiffusionConfig
from app.services.diffusion.base import DiffusionModel, Prepared
from app.services.diffusion.errors import InvalidParameters, ModelUnavailable, UnsupportedOperation
from app.services.diffusion.models import GivenAsIds, Params, Request
from app.services.diffusion.reading import Asked
from app.services.diffusion.reading_request import ReadingRequest
from app.services.diffusion.residency.instance import Instance
from app.services.diffusion.residency.residency import Residency
from app.services.diffusion.residency.slot import Slot


@dataclass(frozen=True, slots=True)
class Choice:
    """A model and the request that it is to answer. It is held, and so not closed, for as long as the choice is."""

    model: DiffusionModel
    prepared: Prepared
    requested_model: str


@dataclass(frozen=True, slots=True)
class Fit:
    """A request that a model can take: with the defaults where it names none, in the model's own words."""

    asked: Asked
    instance: Instance
    config: DiffusionConfig
    prepared: Prepared


async def _taken(choice: Choice) -> None:
    """A model that runs in this process has been asked by then."""


class Router:
    """Chooses models. Belongs to one event loop.

    Args:
        config: gives the configuration of the moment.
        confirm: asks a model, once it is held, whether it takes the request; raises a ServiceError if not.
    """

    def __init__(
        self,
        residency: Residency,
        config: Callable[[], DiffusionConfig],
        confirm: Callable[[Choice], Awaitable[None]] = _taken,
    ) -> None:
        self._residency = residency
        self._config = config
        self._confirm = confirm

    def examine(self, params: Asked) -> Fit | None:
        """Looks for a mistake without waiting for anything: what cannot be known yet `chosen` finds later.

        Returns:
            What there is to know of the model that is asked for; `None` where it is not there now.

        Raises:
            UnknownModel: no model has this id.
            InvalidParameters: the model is there, and cannot take these parameters.
        """
        if not self._residency.is_complete.is_set():
            return None
        config = self._config()
        slot = self._residency.slot(params.model_id or config.default_model)
        with self._naming_others():
            if slot.instance is not None:
                return _fit(slot.instance, params, config)
            if not slot.is_out_of_order:  # else another may answer
                slot.check_operation(params)
        return None

    @asynccontextmanager
    async def chosen(self, params: Asked, examined: Fit | None = None) -> AsyncIterator[Choice]:
        """Waits for a model that is being loaded for the first time; stands another in for one that cannot be had.
        The model is held from the moment it is found until the block ends.

        Args:
            examined: what `examine` gave, so that nothing is prepared twice where nothing has changed since.

        Raises:
            UnknownModel: no model has this id.
            InvalidParameters: the model is there, and cannot take these parameters.
            ModelUnavailable: neither the model nor a stand-in can be had.
        """
        await self._residency.is_complete.wait()
        config = self._config()
        requested = params.model_id or config.default_model
        fit = await self._find(requested, params, config, examined)
        with ExitStack() as held:  # entered before anything is awaited
            model = held.enter_context(fit.instance.hold())
            choice = Choice(model, fit.prepared, requested)
            await self._confirm(choice)
            yield choice

    @asynccontextmanager
    async def held(self, model_id: str) -> AsyncIterator[DiffusionModel]:
        """Waits for the model itself, for which no other can stand in, and holds it until the block ends.

        Raises:
            UnknownModel: no model has this id.
            ModelUnavailable: it cannot be had.
        """
        await self._residency.is_complete.wait()
        slot = self._residency.slot(model_id)
        instance = await slot.loaded()
        if instance is None:
            raise ModelUnavailable(f"model {model_id!r} is not available: {slot.public_problem}")
        with instance.hold() as model:
            yield model

    async def _find(self, requested: str, params: Asked, config: DiffusionConfig, examined: Fit | None) -> Fit:
        slot = self._residency.slot(requested)
        instance = slot.instance if slot.is_out_of_order else await slot.loaded()
        if instance is None and config.model_fallback:
            stand_in = await self._stand_in(slot, params, config)
            if stand_in is not None:
                return stand_in
        instance = instance or await slot.loaded()
        if instance is None:
            why = slot.public_problem
            raise ModelUnavailable(f"model {requested!r} is not available, nor is another in its place: {why}")
        if examined is not None and _is_still_true(examined, instance, params, config):
            return examined
        with self._naming_others():
            return _fit(instance, params, config)

    @contextmanager
    def _naming_others(self) -> Iterator[None]:
        """Tells a client whose model cannot do what is asked which others can."""
        try:
            yield
        except UnsupportedOperation as error:
            slots = self._residency.slots
            able = [slot.model_id for slot in slots if slot.can(error.operation) and not slot.is_out_of_order]
            others = f"ask another model: {', '.join(able)}" if able else "no other model of this server can"
            way_out = f"leave the suffix out, or {others}" if error.operation == "infill" else others
            message = f"{error}; {way_out}"
            raise UnsupportedOperation(message, field=error.field, operation=error.operation) from None

    async def _stand_in(self, missing: Slot, params: Asked, config: DiffusionConfig) -> Fit | None:
        for slot in self._candidates(missing, config):
            if _names_tokens(params) and slot.model_id != missing.base_id:
                continue  # ids of one vocabulary are other words in another
            instance = slot.instance if slot.is_out_of_order else await slot.loaded()
            if instance is None:
                continue
            try:
                return _fit(instance, _within_bound(params, instance.model), config)
            except InvalidParameters:
                continue  # it cannot do this job: it cannot infill, say, or does not know the algorithm
        return None

    def _candidates(self, missing: Slot, config: DiffusionConfig) -> Iterator[Slot]:
        """The base of an adapter first, then as for that: the default model; those that are ready before those that
        would have to be loaded. An adapter is made for one purpose, and stands in only as the default model."""

        def order(slot: Slot) -> tuple[bool, bool, bool]:
            return slot.model_id != missing.base_id, slot.instance is None, slot.model_id != config.default_model

        others = (slot for slot in self._residency.slots if slot is not missing)
        able = (slot for slot in others if slot.base_id is None or slot.model_id == config.default_model)
        yield from sorted(able, key=order)


def with_defaults(params: Params, config: DiffusionConfig, model: DiffusionModel) -> Params:
    """The parameters with every default filled in. The configured `max_length` gives way to the model's bound."""
    defaults = {name: getattr(config, name) for name, row in PARAMETERS.items() if row.default is not None}
    defaults["max_length"] = min(config.max_length, model.max_length)
    missing = {name: value for name, value in defaults.items() if getattr(params, name) is None}
    # 53 bits: JavaScript's numbers hold no more, and a seed that is reported must be one that can be sent back.
    seed = secrets.randbits(53) if params.seed is None else params.seed
    return params.model_copy(update={**missing, "seed": seed, "model_id": model.model_id})


def _complete(params: Asked, config: DiffusionConfig, model: DiffusionModel) -> Asked:
    """The request for this model; one to read leaves nothing else open."""
    if isinstance(params, ReadingRequest):
        return params.model_copy(update={"model_id": model.model_id})
    return with_defaults(params, config, model)


def _within_bound(params: Asked, stand_in: DiffusionModel) -> Asked:
    """The request with as many new tokens as the stand-in can write: clients ask for all that their own model can."""
    if isinstance(params, ReadingRequest) or params.max_length is None or params.max_length <= stand_in.max_length:
        return params
    return params.model_copy(update={"max_length": stand_in.max_length})


def _fit(instance: Instance, params: Asked, config: DiffusionConfig) -> Fit:
    prepared = instance.model.prepare_request(_complete(params, config, instance.model))
    return Fit(params, instance, config, prepared)


def _names_tokens(params: Asked) -> bool:
    """Whether a request holds token ids, which mean what they do to one model, and to its adapters."""
    return isinstance(params, GivenAsIds) or (isinstance(params, Request) and bool(params.logit_bias))


def _is_still_true(examined: Fit, instance: Instance, params: Asked, config: DiffusionConfig) -> bool:
    """The model was not loaded again, no setting was changed, and no filter has changed the text."""
    return examined.instance is instance and examined.config is config and examined.asked is params
