"""Checks of the setup: settings, port, checkpoints and the server."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from app.cli.doctor.finding import Finding, ok, problem, warning

if TYPE_CHECKING:
    from app.core.settings import Settings
    from reynard_diffusion import DiffusionModelInfo


def check_setup(url: str | None, api_key: str) -> Iterator[Finding]:
    """The findings about the setup; about the server at `url`, if one is named."""
    from app.core.settings import ENV_FILE, WrongSetting, load_settings, unknown_settings

    place = Path(ENV_FILE).resolve()
    try:
        settings = load_settings()
    except WrongSetting as error:
        yield from (problem(f"{line} (environment, or {place})") for line in str(error).splitlines())
        return
    is_there = "" if place.exists() else ", which is not there"
    yield ok(f"The settings are allowed; they come from the environment and {place}{is_there}.")
    for name in unknown_settings():
        yield warning(f"{name} is not a setting of this version; see diffusion_config_example.env")
    yield from _app(settings)
    yield from _checkpoints(settings)
    yield from _server(url, api_key) if url else _port(settings)


def _app(settings: Settings) -> Iterator[Finding]:
    """The findings that show only when the settings are used, such as a broken rules file."""
    from app.core.settings import WrongSetting
    from app.server import create_app

    try:
        create_app(settings)
    except WrongSetting as error:
        yield problem(str(error))


def _checkpoints(settings: Settings) -> Iterator[Finding]:
    from app.services.diffusion.errors import InvalidParameters
    from app.services.diffusion.native.checkpoints import EMBEDDED_FOLDER
    from app.services.diffusion.residency.catalog import parse_adapters, parse_extra_models

    places = {
        "dreamon": settings.dreamon_path or str(EMBEDDED_FOLDER / "dreamon"),
        "llada": settings.llada_path or str(EMBEDDED_FOLDER / "llada"),
    }
    with suppress(InvalidParameters):  # reported by `_app`
        places |= dict(parse_extra_models(settings.extra_models))
    for model_id, location in places.items():
        yield _checkpoint(model_id, location, settings)
    with suppress(InvalidParameters):
        for model_id, base_id, location in parse_adapters(settings.adapters):
            if base_id in places:
                yield _adapter(model_id, base_id, location, places[base_id])


def _adapter(model_id: str, base_id: str, location: str, base_location: str) -> Finding:
    """Reads a whole adapter but its numbers, and the configuration of its base."""
    from app.engine.families.adapter import check_adapter
    from app.engine.families.registry import family_of, read_config
    from app.engine.interface.errors import EngineError

    name = f"{model_id}, an adapter of {base_id}"
    folders = []
    for place, kind in ((base_location, "checkpoint"), (location, "adapter")):
        folder = _folder(place, kind)
        if isinstance(folder, Finding):
            return Finding(folder.level, f"{name}: {folder.text}")
        folders.append(folder)
    base_folder, folder = folders
    try:
        raw_config = read_config(base_folder)
        plan = check_adapter(folder, family_of(raw_config).config_of(raw_config))
    except EngineError as error:
        return problem(f"{name}: the adapter in {folder} cannot be used: {error}")
    return ok(f"{name}: the adapter in {folder} is readable, and changes {len(plan.changed)} projections.")


def _checkpoint(model_id: str, location: str, settings: Settings) -> Finding:
    from app.engine.interface.errors import EngineError
    from app.text.errors import TextError

    folder = _folder(location, "checkpoint")
    if isinstance(folder, Finding):
        return Finding(folder.level, f"{model_id}: {folder.text}")
    try:
        return _room(model_id, folder, settings)
    except (EngineError, TextError) as error:
        return problem(f"{model_id}: the checkpoint in {folder} is broken: {error}")


def _folder(location: str, kind: str) -> Path | Finding:
    """The folder of a checkpoint or an adapter, or why there is none."""
    from app.engine.interface.errors import CheckpointError
    from app.services.diffusion.native.checkpoints import checkpoint_folder, download, is_hub_id

    is_remote = is_hub_id(location) and not Path(location).is_dir()
    try:
        return download(location, is_online=False) if is_remote else checkpoint_folder(location, kind)
    except CheckpointError as error:
        if is_remote:
            return warning(f"{location} is downloaded when it is first used; reynard-diffusion pull gets it")
        return problem(str(error))


def _room(model_id: str, folder: Path, settings: Settings) -> Finding:
    """Reads a whole checkpoint but its numbers: configuration, tokenizer, and the weights' names, types and shapes."""
    import torch

    from app.engine.families.checkpoint import load_model, stored_bytes
    from app.engine.interface.errors import OutOfDeviceMemory
    from app.engine.room.check import check_room, form_in_words, in_words, preferred_device
    from app.engine.room.choice import why
    from app.engine.room.estimate import Estimate
    from app.services.diffusion.families.registry import text_family
    from app.services.diffusion.native.checkpoints import own_defaults
    from app.services.diffusion.residency.catalog import demand_of, engine_config
    from app.text.tokenizer import Tokenizer

    own_defaults(folder)
    config = load_model(folder, torch.device("meta"), torch.float32).config
    special = config.special
    tokenizer = Tokenizer.load(folder)
    tokenizer.check_ids(vocab_size=1 << 31, mask=special.mask, eos=special.eos, expand=special.expand)
    fact = f"{model_id}: the checkpoint in {folder} is readable, {stored_bytes(folder) / 1e6:,.0f} MB, "
    fact += f"and can {', '.join(text_family(config.family).capabilities)}"
    estimate = Estimate.of(folder, engine_config(settings), demand_of(settings))
    device = preferred_device(estimate)
    try:
        need = check_room(estimate, device)
    except OutOfDeviceMemory as error:
        return warning(f"{fact}, but there is no room for it now: {error}")
    reason = f" It runs in {form_in_words(need)}: {words}." if (words := why(estimate, device)) else ""
    return ok(f"{fact}. On {device} it needs {in_words(estimate, need)}.{reason}")


def _port(settings: Settings) -> Iterator[Finding]:
    from reynard_diffusion import DiffusionClient, DiffusionError

    place = f"{settings.host}:{settings.port}"
    try:
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        socket.create_server((settings.host, settings.port), family=family).close()
        yield ok(f"Nothing listens on {place}, so a server can.")
        return
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
    url = f"http://localhost:{settings.port}"
    try:
        with DiffusionClient(url, timeout_s=5, connect_timeout_s=2) as client:
            client.ping()
        yield ok(f"A server is running at {url}.")
    except DiffusionError:
        yield problem(f"no server can listen on {place}: {reason}; set DIFFUSION_HOST and DIFFUSION_PORT")


def _server(url: str, api_key: str) -> Iterator[Finding]:
    from reynard_diffusion import AccessDenied, DiffusionClient, DiffusionError

    try:
        with DiffusionClient(url, api_key=api_key, timeout_s=10, connect_timeout_s=5) as client:
            client.ping()
            available = [_with_capabilities(model) for model in client.models() if model.is_available]
    except AccessDenied as error:
        yield problem(f"the server at {url} runs, and refuses: {error}")
    except (DiffusionError, ValueError) as error:
        yield problem(str(error))
    else:
        fact = f"The server at {url} runs; "
        yield ok(f"{fact}{', '.join(available)} can answer.") if available else warning(f"{fact}no model is loaded")


def _with_capabilities(model: DiffusionModelInfo) -> str:
    return f"{model.model_id} ({', '.join(model.capabilities)})"
