"""A model's stream as the service reads it: closed in any case, and every item as a ModelEvent."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from app.services.diffusion.base import DiffusionModel, Prepared, StreamItem
from app.services.diffusion.errors import GenerationFailed
from app.services.diffusion.model_events import CanvasStep, Ended, ModelEvent, Piece, Started
from app.services.diffusion.models import DiffusionStreamEvent


@asynccontextmanager
async def opened(model: DiffusionModel, prepared: Prepared) -> AsyncIterator[AsyncIterator[StreamItem]]:
    """The answer to a request that this model has prepared, to be read item by item with `model_event`. On the way out
    the stream is closed, so that the model releases what it holds."""
    stream = model.prepared_stream(prepared)
    if inspect.isawaitable(stream):  # an `async def` that returns its iterator is a natural way to write one
        stream = await stream
    try:
        yield stream
    finally:
        if isinstance(stream, AsyncGenerator):
            await stream.aclose()


def model_event(item: object) -> ModelEvent:
    """The one place where the public contract, a DiffusionStreamEvent with metadata, becomes what the service works on.

    Raises:
        GenerationFailed: it is an `error` event.
        TypeError, ValueError: it is no event, or says something that cannot be read.
    """
    if isinstance(item, ModelEvent):
        return item
    if not isinstance(item, DiffusionStreamEvent):
        raise TypeError(f"a model's stream yields DiffusionStreamEvent, not {type(item).__name__}")
    match item.type:
        case "token":
            return _piece(item.data, item.metadata)
        case "start":
            return _started(item.metadata)
        case "step":
            return CanvasStep(item.data)
        case "complete":
            return _ended(item.metadata)
        case "error":
            raise GenerationFailed(str(item.data))


def _started(said: Mapping[str, Any]) -> Started:
    return Started(
        device=_text(said, "device"),
        num_prompt_tokens=_number(said, "prompt_tokens"),
        num_truncated=_number(said, "truncated_prompt_tokens"),
        prompt_text=_text(said, "prompt_text"),
    )


def _piece(text: object, said: Mapping[str, Any]) -> Piece:
    if not isinstance(text, str):
        raise TypeError(f"the data of a token event is text, not {type(text).__name__}")
    return Piece(text, int(said.get("tokens", 1)), _number(said, "denoising_steps"), tuple(said.get("logprobs", ())))


def _ended(said: Mapping[str, Any]) -> Ended:
    return Ended(
        finish_reason=_text(said, "finish_reason"),
        num_tokens=_number(said, "tokens_generated"),
        num_denoising_steps=_number(said, "denoising_steps"),
        device=_text(said, "device"),
        num_prompt_tokens=_number(said, "prompt_tokens"),
    )


def _text(said: Mapping[str, Any], name: str) -> str | None:
    return None if said.get(name) is None else str(said[name])


def _number(said: Mapping[str, Any], name: str) -> int | None:
    return None if said.get(name) is None else int(said[name])
