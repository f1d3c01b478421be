"""Between a route and a generation: the status is decided before the first byte, and a gone client frees its place."""

from __future__ import annotations

from fastapi import Request

from app.api.disconnect import while_connected
from app.api.framing import framing_for
from app.api.generations import collect_all, start_all
from app.api.streaming import ByteStream
from app.services.diffusion import DiffusionLLMService, Generation, GenerationResult
from app.services.diffusion.run import Params


def start(service: DiffusionLLMService, params: Params, request: Request) -> Generation:
    """The one generation that the request is answered with."""
    (generation,) = start_all(service, [params], request)
    return generation


async def collect(generation: Generation, request: Request) -> GenerationResult:
    """The whole result.

    Raises:
        ServiceError: what the generation came to instead.
        ClientDisconnect: the client left; the generation is over.
    """
    (result,) = await collect_all([generation], request)
    return result


async def open_stream(generation: Generation, request: Request) -> ByteStream:
    """The stream, once its first event is there; until then an error is a status, afterwards an event.

    Raises:
        ServiceError: the generation was refused, or failed before its first event.
        ClientDisconnect: the client left while waiting; the generation is over.
    """
    try:
        await while_connected(generation.accepted(), request.receive)
    except BaseException:
        await generation.aclose()
        raise
    framing = framing_for(",".join(request.headers.getlist("accept")))
    return ByteStream(
        (framing.encode(event) async for event in generation),
        media_type=framing.media_type,
        keep_alive=framing.keep_alive,
        close=generation.aclose,
    )
