"""Loads a checkpoint's folder: a tokenizer and an engine that fit each other."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

from app.core.garbage import settle
from app.engine.device.allocator import drop_code
from app.engine.interface.config import Demand, EngineConfig
from app.engine.interface.errors import EngineError
from app.services.diffusion.families.base import TextFamily
from app.services.diffusion.families.registry import text_family
from app.services.diffusion.locations import path_at
from app.services.diffusion.models import DiffusionInfillingParams
from app.services.diffusion.native.checkpoints import OwnDefaults, checkpoint_folder, download, is_hub_id, own_defaults
from app.services.diffusion.native.constraint import Constraints
from app.services.diffusion.native.engine_names import EngineNames
from app.services.diffusion.native.prompt import prompt_ids
from app.text.chat_template import check_chat_template
from app.text.errors import TextError
from app.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from app.engine.models.base import ModelConfig
    from app.engine.thread import EngineThread


class LoadedAdapter(NamedTuple):
    """An adapter that an engine has."""

    name: str
    """The name by which the engine knows it."""
    num_bytes: int
    load_time_s: float


@dataclass(frozen=True, slots=True)
class Loaded:
    """A checkpoint in memory."""

    tokenizer: Tokenizer
    engine: EngineThread
    family: TextFamily
    """The family's side of text, with what the checkpoint chooses itself."""
    names: EngineNames = field(default_factory=EngineNames)
    """The requests in its engine, those with adapters too."""
    adapter: LoadedAdapter | None = None
    """The adapter, where it is one of this checkpoint."""
    constraints: Constraints | None = None
    """Compiles constraints; `None` where the tokens are not bytes, so that no text can be spelled exactly."""

    @property
    def config(self) -> ModelConfig:
        return self.engine.model.config


def load(location: str, config: EngineConfig, demand: Demand) -> Loaded:
    """Loads a checkpoint, and starts its engine. Blocking: seconds for a small one, minutes for a large one.

    Raises:
        EngineError: the checkpoint is damaged, there is no room for it and such requests, or the device is not there.
        TextError: its tokenizer or chat template is damaged, or does not fit the network.
    """
    folder = checkpoint_folder(location)
    tokenizer = Tokenizer.load(folder)
    check_chat_template(tokenizer)
    own = own_defaults(folder)
    engine = _engine_type().load(folder, config, demand)
    try:
        _check_agreement(tokenizer, engine.model.config)
    except TextError:
        engine.close()
        raise
    constraints = Constraints(tokenizer, engine.model.config) if tokenizer.is_byte_level else None
    family = _writing_as(text_family(engine.model.config.family), own)
    return Loaded(tokenizer, engine, family, constraints=constraints)


def _writing_as(family: TextFamily, own: OwnDefaults) -> TextFamily:
    """The family with a checkpoint's own defaults; those of what it does not do are passed over."""
    if own.block_length is not None and family.block_length is not None:
        family = replace(family, block_length=own.block_length)
    if own.initial_masks is not None and family.starting_masks is not None:
        family = replace(family, starting_masks={**family.starting_masks, "generate": own.initial_masks})
    return family


@cache
def _engine_type() -> type[EngineThread]:
    """Imports torch, which takes seconds. In a thread of its own: exceptions that an import catches keep the frames
    around it, and with the frame of a load they would keep the model."""
    with ThreadPoolExecutor(1) as importing:
        return importing.submit(_imported_engine_type).result()


def _imported_engine_type() -> type[EngineThread]:
    from app.engine.thread import EngineThread

    settle()
    drop_code()
    return EngineThread


def load_adapter(model_id: str, location: str, base: Loaded) -> Loaded:
    """The base, with an adapter that its engine has from now on. Blocking.

    Raises:
        EngineError: the adapter is damaged, not supported, or one of another base.
    """
    started_s = time.perf_counter()
    name = f"{model_id} {next(_adapter_numbers)}"  # one that is loaded again stands beside the one before
    adapter = base.engine.load_adapter(name, checkpoint_folder(location, "adapter"))
    return replace(base, adapter=LoadedAdapter(name, adapter.num_bytes, time.perf_counter() - started_s))


_adapter_numbers = count(1)


def family_at(location: str) -> TextFamily | None:
    """The family of a checkpoint on this machine, by its configuration alone; `None` where that cannot be said."""
    from app.engine.families.registry import family_of, read_config  # imports torch, which takes seconds

    try:
        is_remote = is_hub_id(location) and not path_at(location).is_dir()
        folder = download(location, is_online=False) if is_remote else checkpoint_folder(location)
        return text_family(family_of(read_config(folder)).name)
    except (EngineError, OSError):
        return None


def _check_agreement(tokenizer: Tokenizer, config: ModelConfig) -> None:
    """Raises TokenizerError if the two halves of a checkpoint do not fit, or no prompt of the family can be written."""
    special = config.special
    tokenizer.check_ids(vocab_size=config.vocab_size, mask=special.mask, eos=special.eos, expand=special.expand)
    prompt_ids(text_family(config.family), tokenizer, DiffusionInfillingParams(prefix="a", suffix="b"))
