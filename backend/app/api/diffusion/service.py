"""The steps between a route and a generation: the status is decided before the first byte, and a client that left
frees its place in the queue."""

from __future__ import annotations

from fastapi import Request

from app.api.streams.byte_stream import ByteStream
from app.api.streams.choices import collect_choices, start_choices, stream_choices
from app.api.streams.framing import framing_for
from app.services.diffusion import DiffusionLLMService, Generation, GenerationResult
from app.services.diffusion.reading import Asked


def start(service: DiffusionLLMService, params: Asked, request: Request) -> Generation:
    """The one generation that the request is answered with."""
    (generation,) = start_choices(service, [params], request)
    return generation


async def collect(generation: Generation, request: Request) -> GenerationResult:
    """Waits for the whole result.

    Raises:
        ServiceError: what the generation came to instead.
        ClientDisconnect: the client left; the generation is over.
    """
    (result,) = await collect_choices([generation], request)
    return result


async def open_stream(generation: Generation, request: Request, *, silence_s: float) -> ByteStream:
    """Opens the stream once its first event is there; see `stream_choices`.

    Raises:
        ServiceError: the generation was refused, or failed before its first event.
        ClientDisconnect: the client left while waiting; the generation is over.
    """
    framing = framing_for(",".join(request.headers.getlist("accept")))
    events = ((0, event) async for event in generation)
    return await stream_choices([generation], events, framing, request, silence_s=silence_s)
