"""The events of one request in the engine, until it is through with it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, TypeAlias

from app.engine.interface.events import Admitted, CanvasesRead, EngineEvent, Failed, Finished
from app.engine.interface.params import EngineRequest, ReadRequest
from app.services.diffusion.mailbox import Mailbox
from app.services.diffusion.model_events import Ended, HolesRead, LikelihoodsRead, ModelEvent, Started
from app.services.diffusion.native.deciding import Deciding
from app.services.diffusion.native.engine_errors import failure
from app.services.diffusion.native.engine_events import MAX_WAITING_EVENTS, is_last, merge_steps
from app.services.diffusion.native.likelihood import Scoring
from app.services.diffusion.native.loading import Loaded
from app.services.diffusion.native.reading import Reading
from app.services.diffusion.native.submission import submit

if TYPE_CHECKING:
    from app.engine.thread import EngineThread

Canvases: TypeAlias = Reading | Deciding | Scoring
"""Canvases to be read, and what an answer is made of."""


async def engine_events(
    engine: EngineThread, request: EngineRequest, model_id: str
) -> AsyncGenerator[EngineEvent, None]:
    """Gives the events of a request; the engine is through with it when this ends, however it ends.

    Raises:
        ServiceError: the engine has not taken it, or it has failed there.
    """
    inbox: Mailbox[EngineEvent] = Mailbox(MAX_WAITING_EVENTS, merge_steps)
    await submit(engine, request, inbox.put, model_id)
    is_over = False
    try:
        while not is_over:
            event = await inbox.get()
            is_over = is_last(event)
            if isinstance(event, Failed):
                raise failure(event.error, model_id)
            yield event
    finally:
        if not is_over:
            engine.abort(request.request_id)
            while not is_last(await inbox.get()):
                pass


async def read_events(loaded: Loaded, reading: Canvases, name: str, model_id: str) -> AsyncGenerator[ModelEvent, None]:
    """Gives the model's events of a request that reads canvases.

    Args:
        name: what the engine calls the request.
    """
    adapter = None if loaded.adapter is None else loaded.adapter.name
    request = ReadRequest(name, reading.canvases, reading.num_top, adapter, reading.max_pass_tokens)
    async with aclosing(engine_events(loaded.engine, request, model_id)) as events:
        async for event in events:
            if isinstance(event, Admitted):
                yield Started(event.device, reading.num_given, reading.num_left_out)
            elif isinstance(event, CanvasesRead):
                answer = reading.answer(event, loaded.tokenizer)
                yield answer if isinstance(answer, LikelihoodsRead) else HolesRead(answer)
            elif isinstance(event, Finished):
                yield Ended("stop", 0, event.nfe, event.device)
