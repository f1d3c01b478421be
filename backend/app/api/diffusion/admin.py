"""Statistics, health, reloading and cleaning up; every call needs the admin's right."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from app.api.access.counters import CallCounters
from app.api.deps import AdminDep, CallCountersDep, ServiceDep
from app.api.diffusion.models import CleanupResponse, ModelDetailsList, ReloadResponse
from app.api.openapi.responses import problems
from app.api.wire.json_encoding import JsonResponse
from app.services.diffusion.reports import ComponentHealth, DiffusionHealth, DiffusionStatistics
from app.services.diffusion.residency.health import with_component

RETRY_AFTER_S = 5

ModelId = Annotated[str, Path(examples=["dreamon", "llada"])]

router = APIRouter(prefix="/admin", tags=["admin"], dependencies=[AdminDep], responses=problems(401, 403))


@router.get("/stats")
async def stats(service: ServiceDep) -> DiffusionStatistics:
    """Counters since the start."""
    return service.statistics()


@router.get("/health", response_model=DiffusionHealth, responses={503: {"model": DiffusionHealth}})
async def health(service: ServiceDep, call_counters: CallCountersDep) -> JsonResponse:
    """Health, per model and device: 200 while requests are served, 503 when they are not."""
    report = _with_redis(service.health(), call_counters)
    if report.status in ("healthy", "degraded"):
        return JsonResponse(report)
    return JsonResponse(report, status_code=503, headers={"Retry-After": str(RETRY_AFTER_S)})


def _with_redis(report: DiffusionHealth, call_counters: CallCounters) -> DiffusionHealth:
    if not call_counters.is_shared:
        return report
    problem = call_counters.problem
    return with_component(
        report, "redis", ComponentHealth(healthy=problem is None, detail=problem or "counts calls for all servers")
    )


@router.get("/models")
async def model_details(service: ServiceDep) -> ModelDetailsList:
    """All there is to know about each model."""
    return ModelDetailsList(models=service.model_details())


@router.post("/models/{model_id}/reload", responses=problems(404, 422, 503))
async def reload_model(model_id: ModelId, service: ServiceDep) -> ReloadResponse:
    """Loads a model again; the requests in flight finish on the old one."""
    return ReloadResponse(model=await service.reload_model(model_id))


@router.post("/cleanup")
async def cleanup(service: ServiceDep) -> CleanupResponse:
    """Releases caches and idle models."""
    report = await service.cleanup()
    return CleanupResponse(**report.model_dump())
