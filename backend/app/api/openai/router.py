"""Everything under `/v1`."""

from __future__ import annotations

from fastapi import APIRouter

from app.api.openai import endpoints
from app.api.wire.json_encoding import JsonResponse
from app.api.wire.kinds import OPENAI_PREFIX

router = APIRouter(prefix=OPENAI_PREFIX, default_response_class=JsonResponse)
router.include_router(endpoints.router)
