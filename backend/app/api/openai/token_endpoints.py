"""`/tokenize`, `/detokenize` and `/tokenizer_info`, at the root as vLLM and llama.cpp's server have them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from app.api.bodies.body import body_of
from app.api.deps import ServiceDep
from app.api.errors.openai_problem import OPENAI_FORM
from app.api.models_of import model_of
from app.api.openai.tokens import (
    DetokenizeAnswer,
    DetokenizeRequest,
    TokenizeAnswer,
    TokenizeRequest,
    TokenizerInfo,
    tokenize_answer,
)
from app.api.openapi.responses import json_request, problems
from app.api.wire.json_encoding import JsonResponse
from app.services.diffusion.errors import FieldRefusal

router = APIRouter(tags=["tokens"], default_response_class=JsonResponse)

TokenizeBody = Annotated[TokenizeRequest, Depends(body_of(TokenizeRequest))]
DetokenizeBody = Annotated[DetokenizeRequest, Depends(body_of(DetokenizeRequest))]

PROBLEMS = problems(400, 401, 404, 408, 413, 503, 504, form=OPENAI_FORM)


@router.post(
    "/tokenize",
    openapi_extra=json_request(TokenizeRequest),
    responses={200: {"model": TokenizeAnswer}, **PROBLEMS},
)
async def tokenize(asked: TokenizeBody, service: ServiceDep) -> Response:
    """The tokens of a text, or of a conversation."""
    tokens = await service.tokenizers.encode(asked.encoding(), asked.model)
    answer = tokenize_answer(asked, tokens, model_of(service, asked.model).context_length)
    return JsonResponse(answer.model_dump(exclude_unset=True))


@router.post("/detokenize", openapi_extra=json_request(DetokenizeRequest), responses=PROBLEMS)
async def detokenize(asked: DetokenizeBody, service: ServiceDep) -> DetokenizeAnswer:
    """The text of tokens."""
    try:
        text = await service.tokenizers.decode(asked.tokens, asked.model)
    except FieldRefusal as error:
        raise error.renamed({"token_ids": "tokens"}) from None
    return DetokenizeAnswer(prompt=text, content=text)


@router.get("/tokenizer_info", responses=problems(400, 401, 404, 503, 504, form=OPENAI_FORM))
async def tokenizer_info(service: ServiceDep, model: str | None = None) -> TokenizerInfo:
    """The tokenizer of the model that is named, or of the default one."""
    facts = await service.tokenizers.describe(model)
    return TokenizerInfo.of(facts, model_of(service, model).context_length)
