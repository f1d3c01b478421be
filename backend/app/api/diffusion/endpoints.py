"""Generation, infilling, models and configuration: validate, call, answer."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from app.api.deps import (
    AdminDep,
    ChangesBody,
    GenerationBody,
    InfillingBody,
    IsAdminDep,
    LikelihoodBody,
    ReadBody,
    ServiceDep,
)
from app.api.diffusion.likelihood import LikelihoodResponse
from app.api.diffusion.models import GenerateResponse, InfillResponse, ModelList
from app.api.diffusion.reading import ReadResponse
from app.api.diffusion.service import collect, open_stream, start
from app.api.openapi.responses import event_stream, json_request, problems
from app.api.streams.choices import allowed_silence_s
from app.core.settings import DiffusionConfig
from app.services.diffusion.likelihood import DiffusionLikelihoodParams
from app.services.diffusion.models import DiffusionGenerationParams, DiffusionInfillingParams
from app.services.diffusion.reading import DiffusionReadParams
from app.services.diffusion.reports import ConfigurationChange

router = APIRouter(tags=["diffusion"])

BODY_PROBLEMS = problems(400, 408, 413, 415, 422)
GENERATION_PROBLEMS = BODY_PROBLEMS | problems(401, 404, 429, 500, 503, 504)


@router.post("/generate", openapi_extra=json_request(DiffusionGenerationParams), responses=GENERATION_PROBLEMS)
async def generate(params: GenerationBody, service: ServiceDep, request: Request) -> GenerateResponse:
    """Continues `text`."""
    return GenerateResponse.of(await collect(start(service, params, request), request))


@router.post(
    "/generate/stream",
    response_class=Response,
    openapi_extra=json_request(DiffusionGenerationParams),
    responses=event_stream() | GENERATION_PROBLEMS,
)
async def generate_stream(params: GenerationBody, service: ServiceDep, request: Request) -> Response:
    """Continues `text`, event by event: Server-Sent Events or JSON lines, as `Accept` asks."""
    return await open_stream(start(service, params, request), request, silence_s=allowed_silence_s(service))


@router.post("/infill", openapi_extra=json_request(DiffusionInfillingParams), responses=GENERATION_PROBLEMS)
async def infill(params: InfillingBody, service: ServiceDep, request: Request) -> InfillResponse:
    """Fills the gap between `prefix` and `suffix`."""
    return InfillResponse.of(await collect(start(service, params, request), request))


@router.post(
    "/infill/stream",
    response_class=Response,
    openapi_extra=json_request(DiffusionInfillingParams),
    responses=event_stream() | GENERATION_PROBLEMS,
)
async def infill_stream(params: InfillingBody, service: ServiceDep, request: Request) -> Response:
    """Fills the gap between `prefix` and `suffix`, event by event."""
    return await open_stream(start(service, params, request), request, silence_s=allowed_silence_s(service))


@router.post("/read", openapi_extra=json_request(DiffusionReadParams), responses=GENERATION_PROBLEMS)
async def read(params: ReadBody, service: ServiceDep, request: Request) -> ReadResponse:
    """Says what the model holds probable in the holes of a text, as natural log-probabilities. Nothing is sampled."""
    return ReadResponse.of(await collect(start(service, params, request), request), params)


@router.post("/likelihood", openapi_extra=json_request(DiffusionLikelihoodParams), responses=GENERATION_PROBLEMS)
async def likelihood(params: LikelihoodBody, service: ServiceDep, request: Request) -> LikelihoodResponse:
    """Estimates how probable each of `texts` is behind `prefix`: a Monte Carlo bound, in nats."""
    return LikelihoodResponse.of(await collect(start(service, params, request), request), params)


@router.get("/models", responses=problems(401))
async def models(service: ServiceDep) -> ModelList:
    """The models that can be asked for."""
    return ModelList(models=service.list_models())


@router.get("/config", responses=problems(401, 429))
async def configuration(service: ServiceDep, is_admin: IsAdminDep) -> dict[str, Any]:
    """The configuration in force. Secrets are not part of it, and only administrators see where files lie."""
    return service.configuration() if is_admin else service.public_configuration()


@router.post(
    "/config",
    dependencies=[AdminDep],
    openapi_extra=json_request(DiffusionConfig),
    responses=BODY_PROBLEMS | problems(401, 403),
)
async def configure(changes: ChangesBody, service: ServiceDep) -> ConfigurationChange:
    """Changes the settings that are named, all or none of them."""
    return await service.configure(changes)
