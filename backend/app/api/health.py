"""Probes for whoever starts, stops and balances servers. Open to everybody, and so without details."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from app.api.deps import ServiceDep
from app.api.errors.table import NotReady
from app.api.face import Face
from app.api.openapi.responses import problems
from app.api.wire.json_encoding import JsonResponse
from app.api.wire.kinds import Kind
from app.services.diffusion import DiffusionLLMService

router = APIRouter(prefix="/health", tags=["operations"], default_response_class=JsonResponse)


class ProbeAnswer(BaseModel):
    status: Literal["alive", "ready"]


@router.get("/live")
async def live() -> ProbeAnswer:
    """200 as long as the process answers at all; where it does not, restart it."""
    return ProbeAnswer(status="alive")


@router.get("/ready", responses=problems(503))
async def ready(service: ServiceDep) -> ProbeAnswer:
    """200 while requests are answered; 503 with the reason while models are loaded, none can be had, the service is
    disabled or the server is stopping. A full queue is no such reason: other servers would be overrun next.
    """
    require_ready(service)
    return ProbeAnswer(status="ready")


def require_ready(service: DiffusionLLMService) -> None:
    """Raises NotReady, with the reason, where a request would not be answered now."""
    if reason := service.reason_not_ready():
        raise NotReady(reason)


FACE = Face(
    name="health",
    router=router,
    kinds={"/health/live": Kind.OPEN | Kind.PROBE, "/health/ready": Kind.OPEN | Kind.PROBE},
)
