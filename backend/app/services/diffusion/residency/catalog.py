"""The models that exist: built-in checkpoints, those of the configuration, plug-ins, and registered objects."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import NamedTuple

from app.core.setting_types import listed
from app.core.settings import RELOAD_SETTINGS, DiffusionConfig
from app.engine.interface.config import Demand, EngineConfig
from app.services.diffusion.base import DiffusionModel
from app.services.diffusion.errors import InvalidParameters
from app.services.diffusion.families.dreamon import DREAMON
from app.services.diffusion.families.llada import LLADA
from app.services.diffusion.native.adapter import AdapterModel
from app.services.diffusion.native.checkpoints import EMBEDDED_FOLDER
from app.services.diffusion.native.native import NativeDiffusionModel

ENTRY_POINT_GROUP = "reynard_diffusion.models"

_MODEL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_ID_RULE = "an id begins with a letter or digit and goes on with at most 63 letters, digits, dots, dashes, underscores"

logger = logging.getLogger(__name__)


def differing_settings(model: DiffusionModel, before: DiffusionConfig, now: DiffusionConfig) -> frozenset[str]:
    """All that a load takes over, where nobody knows what it makes of the model."""
    return frozenset(name for name in RELOAD_SETTINGS if getattr(before, name) != getattr(now, name))


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """A model that exists, loaded or not."""

    model_id: str
    model: DiffusionModel | None
    """The first instance, not initialised; `None` where even that could not be made."""
    rebuild: Callable[[DiffusionConfig], DiffusionModel] | None
    """Makes another instance, so that a reload need not disturb this one; `None` where there is only the one."""
    problem: str | None = None
    """Why there is no instance."""
    outdated: Callable[[DiffusionModel, DiffusionConfig, DiffusionConfig], frozenset[str]] = differing_settings
    """Names the settings that would make another of an instance, given its configuration and a new one."""
    setting: str = ""
    """The setting that names it; empty where none does."""


def configured_entries(config: DiffusionConfig) -> list[CatalogEntry]:
    """The built-in models, those of `extra_models`, and the adapters.

    Raises:
        InvalidParameters: `extra_models` is not a list of id=location or `adapters` none of id=base:location, an id is
            malformed or taken, or a base is none of the models.
    """
    builders: dict[str, Callable[[DiffusionConfig], DiffusionModel]] = {"dreamon": _dreamon, "llada": _llada}
    settings = {"dreamon": "dreamon_path", "llada": "llada_path"}
    for model_id, location in parse_extra_models(config.extra_models):
        if model_id in builders:
            raise InvalidParameters(f"extra_models: the id {model_id!r} is taken; choose another", field="extra_models")
        builders[model_id], settings[model_id] = _extra(model_id, location), "extra_models"
    bases = tuple(builders)
    for adapter in parse_adapters(config.adapters):
        if adapter.base_id not in bases:
            raise InvalidParameters(
                f"adapters: {adapter.base_id!r}, the base of {adapter.model_id!r}, is no model that takes adapters; "
                f"those are {', '.join(bases)}",
                field="adapters",
            )
        if adapter.model_id in builders:
            raise InvalidParameters(f"adapters: the id {adapter.model_id!r} is taken; choose another", field="adapters")
        builders[adapter.model_id], settings[adapter.model_id] = _adapter(adapter), "adapters"
    return [
        CatalogEntry(
            model_id, build(config), build, outdated=_outdated(settings[model_id], build), setting=settings[model_id]
        )
        for model_id, build in builders.items()
    ]


def registered_entry(model: DiffusionModel) -> CatalogEntry:
    """A model that someone made and hands over: there is only the one.

    Raises:
        TypeError: it is not a DiffusionModel.
        InvalidParameters: its id is malformed.
    """
    if not isinstance(model, DiffusionModel):
        raise TypeError(f"a model is an instance of a DiffusionModel subclass, not {model!r}")
    check_model_id(model.model_id, field="model_id")
    return CatalogEntry(model.model_id, model, rebuild=None)


def plugin_entries() -> list[CatalogEntry]:
    """The models that installed packages name. Imports them, so it may take its time; one that is broken is listed
    with its problem and does no harm.
    """
    return [_plugin_entry(entry_point) for entry_point in entry_points(group=ENTRY_POINT_GROUP)]


def parse_extra_models(text: str) -> Iterator[tuple[str, str]]:
    """`id=path or hub id`, separated by commas -> (id, location).

    Raises:
        InvalidParameters: names the item at fault.
    """
    for item in filter(None, (part.strip() for part in text.split(","))):
        model_id, separator, location = (part.strip() for part in item.partition("="))
        if not separator or not location:
            raise InvalidParameters(
                f"extra_models: {item!r} is not of the form id=path or hub id", field="extra_models"
            )
        check_model_id(model_id, field="extra_models")
        yield model_id, location


class AdapterItem(NamedTuple):
    """An item of `adapters`."""

    model_id: str
    base_id: str
    location: str


def parse_adapters(text: str) -> Iterator[AdapterItem]:
    """`id=base:path or hub id`, separated by commas. The first colon ends the base, so a path may have others.

    Raises:
        InvalidParameters: names the item at fault.
    """
    for item in listed(text):
        model_id, _, rest = (part.strip() for part in item.partition("="))
        base_id, _, location = (part.strip() for part in rest.partition(":"))
        if not base_id or not location:
            raise InvalidParameters(f"adapters: {item!r} is not of the form id=base:path or hub id", field="adapters")
        check_model_id(model_id, field="adapters")
        yield AdapterItem(model_id, base_id, location)


def check_model_id(model_id: str, *, field: str) -> None:
    """Raises InvalidParameters unless the id is safe in paths, logs and URLs."""
    if not _MODEL_ID.fullmatch(model_id):
        raise InvalidParameters(f"{field}: {model_id!r} is not a model id; {_ID_RULE}", field=field)


def engine_config(config: DiffusionConfig) -> EngineConfig:
    """The part of the settings by which an engine is built."""
    return EngineConfig(
        device=config.device_preference,
        memory_threshold=config.memory_threshold,
        dtype=config.dtype,
        quantization=config.quantization,
        cpu_runtime=config.cpu_runtime,
    )


def demand_of(config: DiffusionConfig) -> Demand:
    """The requests that a model is to have memory for: as many as may run at a time, as they are by default."""
    return Demand(
        num_requests=config.max_concurrent_requests,
        num_new=config.max_length,
        is_cached=config.decoding != "exact",
    )


def _dreamon(config: DiffusionConfig) -> DiffusionModel:
    return NativeDiffusionModel(
        "dreamon",
        location=config.dreamon_path or str(EMBEDDED_FOLDER / "dreamon"),
        config=engine_config(config),
        demand=demand_of(config),
        name="DreamOn",
        description="Variable-length generation and infilling: the canvas grows and shrinks as the model asks.",
        max_length=DREAMON.max_length,
        family=None if config.dreamon_path else DREAMON,
    )


def _llada(config: DiffusionConfig) -> DiffusionModel:
    return NativeDiffusionModel(
        "llada",
        location=config.llada_path or str(EMBEDDED_FOLDER / "llada"),
        config=engine_config(config),
        demand=demand_of(config),
        name="LLaDA",
        description="Masked diffusion, denoised block by block from left to right.",
        max_length=LLADA.max_length,
        family=None if config.llada_path else LLADA,
    )


def _extra(model_id: str, location: str) -> Callable[[DiffusionConfig], DiffusionModel]:
    def build(config: DiffusionConfig) -> DiffusionModel:
        current = dict(parse_extra_models(config.extra_models)).get(model_id, location)
        return NativeDiffusionModel(
            model_id,
            location=current,
            config=engine_config(config),
            demand=demand_of(config),
            description="A checkpoint from extra_models.",
        )

    return build


def _adapter(first: AdapterItem) -> Callable[[DiffusionConfig], DiffusionModel]:
    def build(config: DiffusionConfig) -> DiffusionModel:
        current = {item.model_id: item for item in parse_adapters(config.adapters)}.get(first.model_id, first)
        return AdapterModel(
            current.model_id, base_id=current.base_id, location=current.location, config=engine_config(config)
        )

    return build


def _outdated(
    setting: str, build: Callable[[DiffusionConfig], DiffusionModel]
) -> Callable[[DiffusionModel, DiffusionConfig, DiffusionConfig], frozenset[str]]:
    """A function that gives the settings that would change an instance; equivalent values are no difference.

    Args:
        setting: what names the model.
    """
    names = {"location": setting, "device": "device_preference"}

    def outdated(model: DiffusionModel, before: DiffusionConfig, now: DiffusionConfig) -> frozenset[str]:
        successor = build(now)
        assert isinstance(model, NativeDiffusionModel)
        assert isinstance(successor, NativeDiffusionModel)
        if model.base_id is not None:
            return frozenset({setting} if model.differences(successor) else ())
        return frozenset(names.get(name, name) for name in model.differences(successor))

    return outdated


def _plugin_entry(entry_point: EntryPoint) -> CatalogEntry:
    try:
        make = entry_point.load()
        entry = registered_entry(make())
    except (Exception, SystemExit) as error:
        logger.exception("the model plug-in %r (%s) is broken", entry_point.name, entry_point.value)
        return CatalogEntry(entry_point.name, None, None, problem=f"{type(error).__name__}: {error}")
    return CatalogEntry(
        entry.model_id, entry.model, rebuild=lambda config: make(), outdated=lambda model, before, now: frozenset()
    )
