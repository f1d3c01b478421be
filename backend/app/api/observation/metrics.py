"""`GET /metrics`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from app.api.deps import AdminDep
from app.api.face import Face
from app.api.observation.instruments import Instruments
from app.api.observation.scrape import Scrape
from app.api.openapi.responses import problems
from app.api.wire.kinds import Kind
from app.services.diffusion import DiffusionLLMService
from app.services.diffusion.residency.observation import memory_of

router = APIRouter(tags=["operations"])


async def scrape_of(app: FastAPI) -> Scrape:
    """The metrics of this process, at this moment."""
    service: DiffusionLLMService = app.state.service
    instruments: Instruments = app.state.instruments
    memory = await memory_of(service.observation().devices)
    return Scrape(instruments.registry, service.observation(), memory, app.version)


async def get_scrape(request: Request) -> Collector:
    """The scrape that answers a request for metrics."""
    return await scrape_of(request.app)


@router.get(
    "/metrics",
    dependencies=[AdminDep],
    response_class=Response,
    responses={
        200: {"description": "Metrics", "content": {"text/plain": {}, "application/openmetrics-text": {}}},
        **problems(401, 403),
    },
)
async def metrics(request: Request, scrape: Annotated[Collector, Depends(get_scrape)]) -> Response:
    """Counters, histograms and gauges in the text format of Prometheus; in OpenMetrics where `Accept` asks for it."""
    encode, media_type = _encoder(request.headers.get("accept", ""))
    content = await asyncio.to_thread(encode, scrape)  # some milliseconds, which streams would feel
    return Response(content, headers={"Content-Type": media_type, "Cache-Control": "no-store"})


def _encoder(accept: str) -> tuple[Callable[[Collector], bytes], str]:
    """The encoder and the media type that `Accept` asks for; the plain ones where its versions are no numbers, at which
    the library fails."""
    try:
        return choose_encoder(accept)
    except (TypeError, ValueError):
        return choose_encoder("")


FACE = Face(name="metrics", router=router, kinds={"/metrics": Kind.OPERATING | Kind.PROBE})
