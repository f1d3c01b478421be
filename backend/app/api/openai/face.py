"""The face under `/v1`: the service, in the words of OpenAI's API and of those who followed it, and the calls that some
of these have at the root."""

from __future__ import annotations

from fastapi import APIRouter

from app.api.errors.openai_problem import OPENAI_FORM
from app.api.face import Body, Face
from app.api.openai import endpoints, token_endpoints
from app.api.openai.requests import ChatRequest, CompletionRequest, FimRequest
from app.api.openai.tokens import DetokenizeRequest, TokenizeRequest
from app.api.wire.json_encoding import JsonResponse
from app.api.wire.kinds import Kind

router = APIRouter(prefix="/v1", default_response_class=JsonResponse)
router.include_router(endpoints.router)

FACE = Face(
    name="openai",
    router=router,
    kinds={
        "GET /v1/models": Kind.READING,
        "GET /v1/models/*": Kind.READING,
        "POST /v1/completions": Kind.GENERATING,
        "POST /v1/chat/completions": Kind.GENERATING,
        "POST /v1/fim/completions": Kind.GENERATING,
        "/v1": Kind.GENERATING,
        "/v1/*": Kind.GENERATING,
    },
    errors=OPENAI_FORM,
    bodies=(Body(CompletionRequest), Body(ChatRequest), Body(FimRequest)),
)

TOKENS = Face(
    name="tokens",
    router=token_endpoints.router,
    kinds={
        "/tokenize": Kind.READING,
        "/detokenize": Kind.READING,
        "GET /tokenizer_info": Kind.READING,
    },
    errors=OPENAI_FORM,  # vLLM and llama.cpp's server have the same
    bodies=(Body(TokenizeRequest), Body(DetokenizeRequest)),
)
