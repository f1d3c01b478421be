"""`/api/tags`, `/api/show`, `/api/ps`, `/api/version`, `/api/generate` and `/api/chat`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel

from app.api.bodies.body import body_of
from app.api.bodies.passed_over import PassedOver
from app.api.deps import ServiceDep
from app.api.models_of import is_marker
from app.api.ollama.answers import Form, OllamaAnswer, as_message, as_response
from app.api.ollama.errors import FORM
from app.api.ollama.models import OllamaLoadedList, OllamaModel, OllamaModelList, listed, loaded, shown
from app.api.ollama.names import found
from app.api.ollama.requests import OllamaChatRequest, OllamaGenerateRequest, OllamaRequest, ShowRequest
from app.api.ollama.stream import Lines
from app.api.openapi.responses import json_request, problems
from app.api.streams.choices import allowed_silence_s, collect_choices, merged, start_choices, stream_choices
from app.api.streams.framing import JSON_LINES
from app.api.wire.json_encoding import JsonResponse
from app.services.diffusion import DiffusionLLMService
from app.services.diffusion.errors import FieldRefusal
from app.services.diffusion.metadata import answer_metadata

router = APIRouter(tags=["ollama"])

VERSION = "0.30.3"
"""The release of Ollama whose API this is: clients look at it to know what they may ask."""

PASSED_OVER = PassedOver("Ollama's API")

# What `curl -d` of Ollama's documentation sends is not declared as JSON.
GenerateBody = Annotated[OllamaGenerateRequest, Depends(body_of(OllamaGenerateRequest, is_declared=False))]
ChatBody = Annotated[OllamaChatRequest, Depends(body_of(OllamaChatRequest, is_declared=False))]
ShowBody = Annotated[ShowRequest, Depends(body_of(ShowRequest, is_declared=False))]

LINES = {JSON_LINES: {"schema": {"$ref": "#/components/schemas/OllamaAnswer"}}}
ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"model": OllamaAnswer, "description": "The answer, or its lines", "content": LINES},
    **problems(400, 401, 404, 408, 413, 429, 500, 503, 504, form=FORM),
}


class OllamaVersion(BaseModel):
    """The release of Ollama whose API this is."""

    version: str = VERSION


@router.get("/version", responses=problems(401, form=FORM))
async def ollama_version() -> OllamaVersion:
    """The release of Ollama whose API this is."""
    return OllamaVersion()


@router.get("/tags", responses=problems(401, form=FORM))
async def ollama_tags(service: ServiceDep) -> OllamaModelList:
    """The models that can be asked for."""
    return OllamaModelList(models=list(map(listed, service.model_details())))


@router.get("/ps", responses=problems(401, form=FORM))
async def ollama_ps(service: ServiceDep) -> OllamaLoadedList:
    """The models in memory."""
    return OllamaLoadedList(models=[loaded(model) for model in service.model_details() if model.memory_usage])


@router.post("/show", openapi_extra=json_request(ShowRequest), responses=problems(400, 401, 404, form=FORM))
async def ollama_show(asked: ShowBody, service: ServiceDep) -> OllamaModel:
    """One of them."""
    return shown(found(service, asked.model or asked.name), service)


@router.post("/generate", openapi_extra=json_request(OllamaGenerateRequest), responses=ANSWERS)
async def ollama_generate(asked: GenerateBody, service: ServiceDep, request: Request) -> Response:
    """Answers `prompt`, or fills the gap between it and `suffix`."""
    if asked.suffix and is_marker(service, found(service, asked.model).model_id, asked.suffix):
        asked = asked.model_copy(update={"suffix": ""})
    return await _answer(asked, as_response, service, request)


@router.post("/chat", openapi_extra=json_request(OllamaChatRequest), responses=ANSWERS)
async def ollama_chat(asked: ChatBody, service: ServiceDep, request: Request) -> Response:
    """Writes the next turn of a conversation, which the model sees as its chat template says."""
    return await _answer(asked, as_message, service, request)


async def _answer(
    asked: OllamaRequest, worded: Callable[[str], dict[str, Any]], service: DiffusionLLMService, request: Request
) -> Response:
    model = found(service, asked.model)
    PASSED_OVER.note(asked.passed_over)
    form = Form(asked.model, worded, asked.num_cut_characters)
    if asked.is_empty:
        return JsonResponse(form.nothing(model.model_id, "unload" if asked.is_unloading else "load"))
    try:
        return await _answered(asked, form, model.model_id, model.max_length, service, request)
    except FieldRefusal as error:
        raise error.renamed(asked.names) from None


async def _answered(
    asked: OllamaRequest, form: Form, model_id: str, max_length: int, service: DiffusionLLMService, request: Request
) -> Response:
    generations = start_choices(service, [asked.params(model_id, max_length)], request)
    if asked.stream:
        framing, silence_s = Lines(form, model_id), allowed_silence_s(service)
        return await stream_choices(generations, merged(generations), framing, request, silence_s=silence_s)
    (result,) = await collect_choices(generations, request)
    return JsonResponse(form.end(answer_metadata(result.metadata), result.text))
