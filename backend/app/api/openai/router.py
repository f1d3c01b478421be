"""Everything under `/v1`."""

from __future__ import annotations

from fastapi import APIRouter

from app.api.calls import OPENAI_PREFIX
from app.api.json_encoding import JsonResponse
from app.api.openai import endpoints

router = APIRouter(prefix=OPENAI_PREFIX, default_response_class=JsonResponse)
router.include_router(endpoints.router)
