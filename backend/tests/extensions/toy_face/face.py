"""`/toy`: text goes in as `say`, and comes out as JSON lines with a `piece` each; an error is `{"error": "..."}`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict

from app.api.bodies.body import body_of
from app.api.bodies.unsupported import AsksForNothing
from app.api.deps import ServiceDep
from app.api.errors.form import ErrorForm
from app.api.errors.problem import Problem
from app.api.face import Body, Face
from app.api.openapi.responses import json_request, problems
from app.api.streams.choices import allowed_silence_s, merged, start_choices, stream_choices
from app.api.streams.framing import JSON_LINES
from app.api.wire.json_encoding import JsonResponse, json_bytes
from app.api.wire.kinds import Kind
from app.services.diffusion import DiffusionGenerationParams, DiffusionStreamEvent


class ToyRequest(AsksForNothing):
    model_config = ConfigDict(extra="forbid", strict=True)

    say: str


class ToyError(BaseModel):
    error: str


def _refused(problem: Problem, headers: dict[str, str]) -> Response:
    return JsonResponse(ToyError(error=f"{problem.code}: {problem.detail}"), problem.status, headers)


ERRORS = ErrorForm(ToyError, "application/json", _refused)


class Pieces:
    """The framing: a line for each piece of text, and one for the end."""

    media_type = JSON_LINES
    keep_alive = b"\n"

    def write(self, index: int, event: DiffusionStreamEvent) -> bytes:
        names = {"token": "piece", "error": "error"}
        return json_bytes({names[event.type]: event.data}) + b"\n" if event.type in names else b""

    def end(self) -> bytes:
        return b'{"done":true}\n'


router = APIRouter(prefix="/toy", tags=["toy"])


@router.post("/say", openapi_extra=json_request(ToyRequest), responses=problems(400, 413, 422, form=ERRORS))
async def toy_say(
    asked: Annotated[ToyRequest, Depends(body_of(ToyRequest))], service: ServiceDep, request: Request
) -> Response:
    """Continues `say`."""
    generations = start_choices(service, [DiffusionGenerationParams(text=asked.say)], request)
    return await stream_choices(
        generations, merged(generations), Pieces(), request, silence_s=allowed_silence_s(service)
    )


@router.post("/names")
async def toy_names(service: ServiceDep) -> list[str]:
    """The models' names. It only reads, although it is a POST."""
    return [model.model_id for model in service.list_models()]


FACE = Face(
    name="toy",
    router=router,
    kinds={"POST /toy/say": Kind.GENERATING, "POST /toy/names": Kind.READING, "/toy/*": Kind.GENERATING},
    errors=ERRORS,
    bodies=(Body(ToyRequest),),
)
