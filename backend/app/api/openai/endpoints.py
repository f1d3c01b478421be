"""Models, completions, chat and fill-in-the-middle: the service's requests in other words, answered in other words."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Request, Response

from app.api.bodies.biases import with_biased_ids
from app.api.bodies.body import body_of
from app.api.deps import ServiceDep
from app.api.errors.openai_problem import OPENAI_FORM
from app.api.models_of import is_marker, max_length_of, model_of
from app.api.openai.answers import CHAT, FIM, TEXT, Choice, Completion, Form, calling, usage_of
from app.api.openai.models import Model, ModelList, list_models
from app.api.openai.requests import ChatRequest, CompletionRequest, FimRequest, OpenAIRequest
from app.api.openai.stream import Chunks
from app.api.openapi.responses import json_request, problems, text_stream
from app.api.streams.choices import (
    allowed_silence_s,
    collect_choices,
    merged,
    require_places,
    start_choices,
    stream_choices,
)
from app.api.wire.json_encoding import JsonResponse
from app.api.wire.request_id import request_id
from app.services.diffusion import DiffusionLLMService, GenerationResult
from app.services.diffusion.errors import FieldRefusal
from app.services.diffusion.metadata import answer_metadata
from app.services.diffusion.models import Params

router = APIRouter(tags=["openai"])

CompletionBody = Annotated[CompletionRequest, Depends(body_of(CompletionRequest))]
ChatBody = Annotated[ChatRequest, Depends(body_of(ChatRequest))]
FimBody = Annotated[FimRequest, Depends(body_of(FimRequest))]

Gap = TypeVar("Gap", CompletionRequest, FimRequest)

ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"model": Completion, "content": text_stream()},
    **problems(400, 401, 404, 408, 413, 429, 500, 503, 504, form=OPENAI_FORM),
}


@router.get("/models", responses=problems(401, form=OPENAI_FORM))
async def openai_models(service: ServiceDep) -> ModelList:
    """The models that can be asked for."""
    return list_models(service)


@router.get("/models/{model_id}", responses=problems(401, 404, form=OPENAI_FORM))
async def openai_model(model_id: str, service: ServiceDep) -> Model:
    """One of them."""
    return Model.of(model_of(service, model_id))


@router.post("/completions", openapi_extra=json_request(CompletionRequest), responses=ANSWERS)
async def openai_completions(asked: CompletionBody, service: ServiceDep, request: Request) -> Response:
    """Continues `prompt`, or with a `suffix` fills the gap before it."""
    texts = [prompt if asked.echo and isinstance(prompt, str) else "" for prompt in asked.prompts]
    prompts = [text for text in texts for _ in range(asked.num_choices)]
    return await _answer(_without_marker(asked, service), TEXT, service, request, openings=prompts)


@router.post("/chat/completions", openapi_extra=json_request(ChatRequest), responses=ANSWERS)
async def openai_chat(asked: ChatBody, service: ServiceDep, request: Request) -> Response:
    """Writes the next turn of a conversation, which the model sees as its chat template says; or calls a function."""
    call = asked.forced_call
    form = CHAT if call is None else calling(call.function, is_named=call.is_named)
    return await _answer(asked, form, service, request, openings=[""] * asked.num_choices)


@router.post("/fim/completions", openapi_extra=json_request(FimRequest), responses=ANSWERS)
async def openai_fim(asked: FimBody, service: ServiceDep, request: Request) -> Response:
    """Fills the gap between `prompt` and `suffix`; answers in the words of Mercury and of Mistral together."""
    return await _answer(_without_marker(asked, service), FIM, service, request, openings=[""] * asked.num_choices)


def _without_marker(asked: Gap, service: DiffusionLLMService) -> Gap:
    has_marker = bool(asked.suffix) and is_marker(service, asked.model, asked.suffix or "")
    return asked.model_copy(update={"suffix": ""}) if has_marker else asked


async def _answer(
    asked: OpenAIRequest, form: Form, service: DiffusionLLMService, request: Request, *, openings: Sequence[str]
) -> Response:
    asked = await with_biased_ids(asked, service)
    try:
        return await _answered(asked, form, service, request, openings=openings)
    except FieldRefusal as error:
        raise error.renamed(asked.names) from None


async def _answered(
    asked: OpenAIRequest, form: Form, service: DiffusionLLMService, request: Request, *, openings: Sequence[str]
) -> Response:
    generations = start_choices(service, _params(asked, service), request)
    call_id = request_id(request.scope)
    if asked.stream:
        framing = Chunks(form, call_id, asked, openings=openings, progress=[each.progress for each in generations])
        return await stream_choices(
            generations, merged(generations), framing, request, silence_s=allowed_silence_s(service)
        )
    results = await collect_choices(generations, request)
    whole = Completion(
        id=form.id_prefix + call_id,
        object=form.object,
        created=int(time.time()),
        model=results[0].model_id,
        choices=[
            _choice(asked, form, index, opening, result)
            for index, (opening, result) in enumerate(zip(openings, results, strict=True))
        ],
        usage=usage_of(
            {index: answer_metadata(result.metadata) for index, result in enumerate(results)},
            asked.num_choices,
            num_cut_characters=asked.num_cut_characters,
        ),
    )
    return JsonResponse(whole.model_dump(exclude_unset=True))


def _params(asked: OpenAIRequest, service: DiffusionLLMService) -> list[Params]:
    params = asked.params(max_length_of(service, asked.model))
    require_places(service, len(params))
    return params


def _choice(asked: OpenAIRequest, form: Form, index: int, opening: str, result: GenerationResult) -> Choice:
    reported = answer_metadata(result.metadata)
    noted = None if asked.num_logprobs is None else reported.get("logprobs", ())
    return Choice(
        index=index,
        **form.whole((opening or asked.prompt_text(reported)) + result.text),
        logprobs=None if noted is None else form.logprobs(noted),
        **form.end(reported),
    )
