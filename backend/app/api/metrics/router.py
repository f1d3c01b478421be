"""`GET /metrics`."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from prometheus_client.exposition import choose_encoder

from app.api.deps import AdminDep, ServiceDep
from app.api.metrics.instruments import Instruments
from app.api.metrics.scrape import Scrape
from app.api.openapi import problems
from app.services.diffusion.observation import memory_of

router = APIRouter(tags=["operations"])


async def get_instruments(request: Request) -> Instruments:
    instruments: Instruments = request.app.state.instruments
    return instruments


@router.get(
    "/metrics",
    dependencies=[AdminDep],
    response_class=Response,
    responses={
        200: {"description": "Metrics", "content": {"text/plain": {}, "application/openmetrics-text": {}}},
        **problems(401, 403),
    },
)
async def metrics(
    request: Request,
    service: ServiceDep,
    instruments: Annotated[Instruments, Depends(get_instruments)],
) -> Response:
    """Counters, histograms and gauges in the text format of Prometheus; in OpenMetrics where `Accept` asks for it."""
    memory = await memory_of(service.observation().devices)
    scrape = Scrape(instruments.registry, service.observation(), memory, request.app.version)
    encode, media_type = choose_encoder(request.headers.get("accept", ""))
    content = await asyncio.to_thread(encode, scrape)  # some milliseconds, which streams would feel
    return Response(content, headers={"Content-Type": media_type, "Cache-Control": "no-store"})
