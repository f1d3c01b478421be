"""`/infill`, `/props` and `/health`, at the root as llama.cpp's server has them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel

from app.api.bodies.biases import with_biased_ids
from app.api.bodies.body import body_of
from app.api.bodies.passed_over import PassedOver
from app.api.deps import ServiceDep
from app.api.errors.openai_problem import OPENAI_FORM, OpenAIProblemResponse
from app.api.errors.table import headers_of_code, problem_of_code
from app.api.health import require_ready
from app.api.llama_cpp.answers import InfillAnswer, in_time
from app.api.llama_cpp.requests import NAMES, InfillRequest
from app.api.llama_cpp.stream import InfillChunks
from app.api.models_of import is_marker, model_of, n_ctx_of
from app.api.openapi.responses import json_request, problems, text_stream
from app.api.streams.choices import (
    IndexedEvents,
    allowed_silence_s,
    close_choices,
    merged,
    num_places,
    start_choices,
    stream_choices,
)
from app.api.streams.framing import SERVER_SENT_EVENTS, data_line
from app.api.wire.disconnect import while_connected
from app.api.wire.json_encoding import JsonResponse
from app.services.diffusion import Generation
from app.services.diffusion.errors import FieldRefusal

router = APIRouter(tags=["llama.cpp"], default_response_class=JsonResponse)

PASSED_OVER = PassedOver("/infill")

InfillBody = Annotated[InfillRequest, Depends(body_of(InfillRequest))]

ANSWER = {"schema": {"type": ["object", "array"], "description": "An answer, or with `n_cmpl` above 1 a list of them."}}
ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "The text for the gap", "content": {"application/json": ANSWER, **text_stream()}},
    **problems(400, 401, 404, 408, 413, 429, 500, 503, 504, form=OPENAI_FORM),
}


class Health(BaseModel):
    status: Literal["ok"] = "ok"


@router.get("/health", responses=problems(503, form=OPENAI_FORM))
async def llama_cpp_health(service: ServiceDep) -> Health:
    """As `/health/ready`."""
    require_ready(service)
    return Health()


@router.get("/props", responses=problems(401, 404, form=OPENAI_FORM))
async def llama_cpp_props(service: ServiceDep, model: str | None = None) -> dict[str, Any]:
    """The defaults of requests, for the model that is named, or the default one."""
    asked_for = model_of(service, model)
    config = service.configuration()
    params = {name: config[name] for name in ("temperature", "top_k", "top_p")}
    params |= {"n_predict": min(config["max_length"], asked_for.max_length), "seed": -1}
    return {
        "default_generation_settings": {"n_ctx": n_ctx_of(service, asked_for.model_id), "params": params},
        "total_slots": config["max_concurrent_requests"],
        "model_alias": asked_for.model_id,
        "modalities": {"vision": False, "audio": False},
    }


@router.post("/infill", openapi_extra=json_request(InfillRequest), responses=ANSWERS)
async def llama_cpp_infill(asked: InfillBody, service: ServiceDep, request: Request) -> Response:
    """Fills the gap in a file, for an editor."""
    model = model_of(service, asked.model)
    PASSED_OVER.note(asked.unknown_fields)
    if is_marker(service, asked.model, asked.input_suffix):
        asked = asked.model_copy(update={"input_suffix": ""})
    num_answers = min(asked.num_answers, num_places(service))
    answer_at = partial(InfillAnswer, asked, model_id=model.model_id, n_ctx=partial(n_ctx_of, service))
    if not asked.wants_text:
        empty = [answer_at(index=index) for index in range(num_answers)]
        return Response(data_line(empty[0].last()), media_type=SERVER_SENT_EVENTS) if asked.stream else _body(empty)
    asked = await with_biased_ids(asked, service)
    generations = start_choices(service, asked.params(model.max_length)[:num_answers], request)
    answers = [answer_at(index=index, progress=each.progress) for index, each in enumerate(generations)]
    try:
        if asked.stream:
            events = _events(asked, generations)
            return await stream_choices(
                generations, events, InfillChunks(answers), request, silence_s=allowed_silence_s(service)
            )
        return await _collect(asked, generations, answers, request)
    except FieldRefusal as error:
        raise error.renamed(NAMES) from None


def _body(answers: Sequence[InfillAnswer]) -> Response:
    wholes = [answer.whole() for answer in answers]
    return JsonResponse(wholes if len(wholes) > 1 else wholes[0])


async def _collect(
    asked: InfillRequest, generations: Sequence[Generation], answers: Sequence[InfillAnswer], request: Request
) -> Response:
    async def take_all() -> Response:
        async with aclosing(_events(asked, generations)) as events:
            async for index, event in events:
                if event.type == "error":
                    code = event.metadata["code"]
                    return OpenAIProblemResponse(problem_of_code(code, event.data), headers_of_code(code))
                answers[index].take(event)
        return _body(answers)

    try:
        return await while_connected(take_all(), request.receive)
    finally:
        await close_choices(generations)


def _events(asked: InfillRequest, generations: Sequence[Generation]) -> IndexedEvents:
    return merged([in_time(generation, asked.t_max_predict_ms) for generation in generations])
