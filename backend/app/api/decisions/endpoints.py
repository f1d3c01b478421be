"""`/v1/systemone` and `/v1/decisions`: validate, decide, answer."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from app.api.decisions.bodies import strict_body_of
from app.api.decisions.errors import SYSTEM_ONE_FORM
from app.api.decisions.listed import ListedAnswers, ListedDecisions
from app.api.decisions.named import NamedAnswers, NamedDecisions
from app.api.decisions.systemone import SystemOneRequest, SystemOneResponse
from app.api.deps import ServiceDep
from app.api.errors.openai_problem import OPENAI_FORM
from app.api.openapi.responses import json_request, problems
from app.api.streams.choices import collect_choices, start_choices
from app.api.wire.json_encoding import JsonResponse
from app.services.diffusion import DiffusionLLMService, GenerationResult
from app.services.diffusion.decisions import DiffusionDecisionParams

STATUSES = (400, 401, 404, 408, 413, 429, 500, 503, 504)

systemone = APIRouter(prefix="/v1", tags=["decisions"], default_response_class=JsonResponse)
decisions = APIRouter(prefix="/v1", tags=["decisions"], default_response_class=JsonResponse)


def form_of_questions(content: dict[str, Any]) -> type[ListedDecisions] | type[NamedDecisions]:
    """The form of a body: SGLang's where a question has an id, or asks what only that form has."""
    questions = content.get("questions")
    first = questions[0] if isinstance(questions, list) and questions else None
    is_named = isinstance(first, dict) and ("id" in first or "question" in first or first.get("type") == "yes_no")
    return NamedDecisions if is_named else ListedDecisions


SystemOneBody = Annotated[
    SystemOneRequest, Depends(strict_body_of(lambda content: SystemOneRequest, known=SystemOneRequest))
]
DecisionsBody = Annotated[
    ListedDecisions | NamedDecisions, Depends(strict_body_of(form_of_questions, known=ListedDecisions))
]


@systemone.post(
    "/systemone",
    openapi_extra=json_request(SystemOneRequest),
    responses=problems(*STATUSES, 415, 422, form=SYSTEM_ONE_FORM),
)
async def decide_by_name(asked: SystemOneBody, service: ServiceDep, request: Request) -> SystemOneResponse:
    """Answers named questions about a state, all of them in one forward pass."""
    return SystemOneResponse.of(asked, await _decided(service, asked.params(), request))


@decisions.post(
    "/decisions",
    openapi_extra=json_request(ListedDecisions, NamedDecisions),
    responses=problems(*STATUSES, form=OPENAI_FORM),
)
async def decide(asked: DecisionsBody, service: ServiceDep, request: Request) -> ListedAnswers | NamedAnswers:
    """Answers questions about an input, all of them in one forward pass; in OpenAI's form or in SGLang's."""
    return asked.answer(await _decided(service, asked.params(), request))


async def _decided(service: DiffusionLLMService, params: DiffusionDecisionParams, request: Request) -> GenerationResult:
    (result,) = await collect_choices(start_choices(service, [params], request), request)
    return result
