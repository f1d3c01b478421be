"""Which model answers a request: the one it asks for, or one that stands in for it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

from app.core.parameters import PARAMETERS
from app.core.settings import DiffusionConfig
from app.services.diffusion.base import DiffusionModel
from app.services.diffusion.errors import InvalidParameters, ModelUnavailable
from app.services.diffusion.models import Params
from app.services.diffusion.residency.residency import Residency
from app.services.diffusion.residency.slot import Instance, Slot


@dataclass(frozen=True, slots=True)
class Choice:
    """Who answers, and with which parameters: the request's, and the defaults where it names none."""

    model: AbstractContextManager[DiffusionModel]
    """Holding it keeps the model from being closed."""
    params: Params
    requested_model: str


async def choose_model(params: Params, config: DiffusionConfig, residency: Residency) -> Choice:
    """Waits for a model that is being loaded for the first time; stands another in for one that cannot be had.

    Raises:
        UnknownModel: no model has this id.
        InvalidParameters: the model is there, and cannot take these parameters.
        ModelUnavailable: neither the model nor a stand-in can be had.
    """
    requested = params.model_id or config.default_model
    slot = residency.slot(requested)
    instance = slot.instance if slot.is_out_of_order else await slot.loaded()
    if instance is None and config.model_fallback:
        choice = await _stand_in(slot, params, config, residency)
        if choice is not None:
            return choice
    instance = instance or await slot.loaded()
    if instance is None:
        why = slot.public_problem
        raise ModelUnavailable(f"model {requested!r} is not available, nor is another in its place: {why}")
    return _choice(instance, params, config, requested)


def examine(params: Params, config: DiffusionConfig, residency: Residency) -> None:
    """Looks for a mistake without waiting for anything: what cannot be known yet `choose_model` finds later.

    Raises:
        UnknownModel: no model has this id.
        InvalidParameters: the model is there, and cannot take these parameters.
    """
    instance = residency.slot(params.model_id or config.default_model).instance
    if instance is not None:
        instance.model.check(with_defaults(params, config, instance.model))


def with_defaults(params: Params, config: DiffusionConfig, model: DiffusionModel) -> Params:
    """The parameters with every default filled in. The configured `max_length` gives way to the model's bound."""
    defaults = {name: getattr(config, name) for name, row in PARAMETERS.items() if row.default is not None}
    defaults["max_length"] = min(config.max_length, model.max_length)
    missing = {name: value for name, value in defaults.items() if getattr(params, name) is None}
    # 53 bits: JavaScript's numbers hold no more, and a seed that is reported must be one that can be sent back.
    seed = secrets.randbits(53) if params.seed is None else params.seed
    return params.model_copy(update={**missing, "seed": seed, "model_id": model.model_id})


def _choice(instance: Instance, params: Params, config: DiffusionConfig, requested: str) -> Choice:
    complete = with_defaults(params, config, instance.model)
    instance.model.check(complete)
    return Choice(instance.hold(), complete, requested)


async def _stand_in(missing: Slot, params: Params, config: DiffusionConfig, residency: Residency) -> Choice | None:
    for slot in _candidates(missing, config, residency):
        instance = slot.instance if slot.is_out_of_order else await slot.loaded()
        if instance is None:
            continue
        try:
            return _choice(instance, params, config, missing.model_id)
        except InvalidParameters:
            continue  # it cannot do this job: it cannot infill, say, or does not know the algorithm
    return None


def _candidates(missing: Slot, config: DiffusionConfig, residency: Residency) -> Iterator[Slot]:
    """The default model first; those that are ready before those that would have to be loaded."""
    others = [slot for slot in residency.slots if slot is not missing]
    yield from sorted(others, key=lambda slot: (slot.instance is None, slot.model_id != config.default_model))
