"""Dependencies of routes by name, so that a route reads as a sentence."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Request

from app.api.access.api_keys import key_name
from app.api.access.auth import check_admin, has_admin_right
from app.api.access.counters import CallCounters
from app.api.access.wrong_credentials import WrongCredentials
from app.api.bodies.body import body_of, object_for
from app.core.settings import DiffusionConfig, Settings
from app.services.diffusion import DiffusionLLMService
from app.services.diffusion.likelihood import DiffusionLikelihoodParams
from app.services.diffusion.models import DiffusionGenerationParams, DiffusionInfillingParams
from app.services.diffusion.reading import DiffusionReadParams


async def get_service(request: Request) -> DiffusionLLMService:
    """The service of the application."""
    service: DiffusionLLMService = request.app.state.service
    return service


async def get_settings(request: Request) -> Settings:
    """The settings that the application was made with."""
    settings: Settings = request.app.state.settings
    return settings


async def get_call_counters(request: Request) -> CallCounters:
    """The counters of the rate limits."""
    call_counters: CallCounters = request.app.state.call_counters
    return call_counters


ServiceDep = Annotated[DiffusionLLMService, Depends(get_service)]
SettingsDep = Annotated[Settings, Depends(get_settings)]
CallCountersDep = Annotated[CallCounters, Depends(get_call_counters)]

GenerationBody = Annotated[DiffusionGenerationParams, Depends(body_of(DiffusionGenerationParams))]
InfillingBody = Annotated[DiffusionInfillingParams, Depends(body_of(DiffusionInfillingParams))]
ReadBody = Annotated[DiffusionReadParams, Depends(body_of(DiffusionReadParams))]
LikelihoodBody = Annotated[DiffusionLikelihoodParams, Depends(body_of(DiffusionLikelihoodParams))]
ChangesBody = Annotated[dict[str, Any], Depends(object_for(DiffusionConfig))]


async def require_admin(request: Request, settings: SettingsDep) -> None:
    """Refuses a caller without the admin's right; see `check_admin`."""
    check_admin(request, settings.admin_token.get_secret_value())


async def is_admin(request: Request, settings: SettingsDep) -> bool:
    """Whether the caller has the admin's right; a token that is neither that nor a key counts as a wrong one."""
    has_right = has_admin_right(request, settings.admin_token.get_secret_value())
    is_guess = settings.admin_token.get_secret_value() and "authorization" in request.headers
    if is_guess and not has_right and key_name(request.scope) is None:
        wrong_credentials: WrongCredentials = request.app.state.wrong_credentials
        if error := await wrong_credentials.note(request.scope):
            raise error
    return has_right


IsAdminDep = Annotated[bool, Depends(is_admin)]

AdminDep = Depends(require_admin)
"""Protects a route or a router. It runs before the body is read, so that a stranger learns nothing about it."""
