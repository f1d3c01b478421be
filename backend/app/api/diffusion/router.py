"""Everything under `/api/diffusion`."""

from __future__ import annotations

from fastapi import APIRouter

from app.api.diffusion import admin, endpoints
from app.api.wire.json_encoding import JsonResponse

PREFIX = "/api/diffusion"

router = APIRouter(prefix=PREFIX, default_response_class=JsonResponse)
router.include_router(endpoints.router)
router.include_router(admin.router)
