"""The way of a request into the engine, past the event loop where its preparation takes a while."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from app.engine.interface.errors import EngineError
from app.engine.interface.params import EngineRequest, GenerationRequest
from app.services.diffusion.native.constraint import WORKERS
from app.services.diffusion.native.engine_errors import refusal

if TYPE_CHECKING:
    from app.engine.request.life import OnEvent, RequestLife
    from app.engine.thread import EngineThread


async def submit(engine: EngineThread, request: EngineRequest, on_event: OnEvent, model_id: str) -> None:
    """Hands a request to the engine. Nothing of it is there when this is cancelled.

    Raises:
        ServiceError: the engine refuses it.
    """
    try:
        engine.enter(await _prepared(engine, request, on_event))
    except EngineError as error:
        raise refusal(error, model_id) from error


async def _prepared(engine: EngineThread, request: EngineRequest, on_event: OnEvent) -> RequestLife:
    """Gives what enters; of a constrained request beside the event loop, because it looks at each edge of the automaton
    once a token to find the lengths that are allowed."""
    if isinstance(request, GenerationRequest) and request.constraint is not None:
        return await asyncio.get_running_loop().run_in_executor(WORKERS, engine.prepare, request, on_event)
    return engine.prepare(request, on_event)
