"""The face below `/api`: the service, in the words of Ollama's API. `/api/diffusion` below it is a face of its own."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse

from app.api.face import Body, Face
from app.api.ollama import endpoints, refused
from app.api.ollama.errors import FORM
from app.api.ollama.requests import OllamaChatRequest, OllamaGenerateRequest, ShowRequest
from app.api.wire.json_encoding import JsonResponse
from app.api.wire.kinds import Kind

router = APIRouter(prefix="/api", default_response_class=JsonResponse)
router.include_router(endpoints.router)
router.include_router(refused.router)

root = APIRouter(include_in_schema=False)


@root.get("/")
async def ollama_root() -> PlainTextResponse:
    """The answer to what Ollama's command line asks first, by HEAD."""
    return PlainTextResponse("Ollama is running")


ROOT = Face(name="ollama's root", router=root, kinds={})
"""The answer at the root where no other face has a page there, so it stands behind the one that may."""

FACE = Face(
    name="ollama",
    router=router,
    kinds={
        "GET /api/version": Kind.READING,
        "GET /api/tags": Kind.READING,
        "GET /api/ps": Kind.READING,
        "POST /api/show": Kind.READING,
        "POST /api/generate": Kind.GENERATING,
        "POST /api/chat": Kind.GENERATING,
        "/api/*": Kind.GENERATING,
    },
    errors=FORM,
    bodies=(Body(OllamaGenerateRequest), Body(OllamaChatRequest), Body(ShowRequest)),
)
