"""The API described: what FastAPI cannot see by itself, because bodies are read and errors written by us."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.types import Scope

from app.api.bodies.unsupported import described_leniently
from app.api.errors.openai_problem import MEDIA_TYPE as OPENAI_MEDIA_TYPE
from app.api.errors.openai_problem import OpenAIProblem
from app.api.errors.problem import MEDIA_TYPE, Problem
from app.api.llama_cpp.requests import InfillRequest
from app.api.openai.requests import ChatRequest, CompletionRequest, FimRequest
from app.api.streams.framing import JSON_LINES, SERVER_SENT_EVENTS
from app.api.wire.kinds import is_admin_call, is_open_call, speaks_openai
from app.api.wire.request_id import HEADER as REQUEST_ID_HEADER
from app.core.settings import DiffusionConfig
from app.services.diffusion.models import DiffusionGenerationParams, DiffusionInfillingParams, DiffusionStreamEvent

Responses = dict[int | str, dict[str, Any]]

SCHEMAS = "#/components/schemas/"
DESCRIBED: tuple[type[BaseModel], ...] = (
    Problem,
    OpenAIProblem,
    DiffusionGenerationParams,
    DiffusionInfillingParams,
    DiffusionStreamEvent,
    DiffusionConfig,
    CompletionRequest,
    ChatRequest,
    FimRequest,
    InfillRequest,
)


ANYBODY: dict[str, list[str]] = {}
SECURITY_SCHEMES = {
    "adminToken": {
        "type": "http",
        "scheme": "bearer",
        "description": "DIFFUSION_ADMIN_TOKEN; where none is set, only direct clients on this machine are answered.",
    },
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "One of DIFFUSION_API_KEYS."},
    "apiKeyAsBearer": {"type": "http", "scheme": "bearer", "description": "The same, in the Authorization header."},
}
RETRY_AFTER = {"schema": {"type": "integer"}, "description": "Seconds after which it may succeed."}
REQUEST_ID = {"schema": {"type": "string"}, "required": True, "description": "To be found in the log."}


def _reference(model: type[BaseModel]) -> dict[str, Any]:
    return {"schema": {"$ref": SCHEMAS + model.__name__}}


def problems(*statuses: int) -> Responses:
    """The error answers of a route, for `responses=`."""
    return {status: _problem(status) for status in statuses}


def openai_problems(*statuses: int) -> Responses:
    """The same for a route whose clients read OpenAI's errors."""
    return {status: _openai_problem(status) for status in statuses}


def _problem(status: int) -> dict[str, Any]:
    return _error(status, {MEDIA_TYPE: _reference(Problem)})


def _openai_problem(status: int) -> dict[str, Any]:
    return _error(status, {OPENAI_MEDIA_TYPE: _reference(OpenAIProblem)})


def _error(status: int, content: dict[str, Any]) -> dict[str, Any]:
    headers = {"headers": {"Retry-After": RETRY_AFTER}} if status in (429, 503) else {}
    return {"description": HTTPStatus(status).phrase, "content": content, **headers}


def event_stream() -> Responses:
    """The successful answer of a streaming route: one event after the other, in either framing. A schema of such a body
    is the schema of each event in it; of a Server-Sent Event, that of its fields."""
    event = _reference(DiffusionStreamEvent)
    data = {"type": "string", "contentMediaType": "application/json", "contentSchema": event["schema"]}
    names = DiffusionStreamEvent.model_json_schema()["properties"]["type"]["enum"]
    fields = {"id": {"type": "string"}, "event": {"enum": names}, "data": data}
    sent = {"schema": {"type": "object", "properties": fields, "required": list(fields)}}
    return {200: {"description": "The events as they happen", "content": {JSON_LINES: event, SERVER_SENT_EVENTS: sent}}}


def text_stream() -> dict[str, Any]:
    """The streamed form of an answer, for `content`: Server-Sent Events, most without a name."""
    fields = {"event": {"type": "string"}, "data": {"type": "string"}}
    return {SERVER_SENT_EVENTS: {"schema": {"type": "object", "properties": fields, "required": ["data"]}}}


def json_request(model: type[BaseModel]) -> dict[str, Any]:
    """The body of a route, for `openapi_extra=`."""
    return {"requestBody": {"required": True, "content": {"application/json": _reference(model)}}}


def describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, built once."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes, tags=app.openapi_tags
        )
        components = document.setdefault("components", {})
        components.setdefault("schemas", {}).update(_schemas())
        components["securitySchemes"] = SECURITY_SCHEMES
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                _add_what_middleware_does(operation, {"path": path, "method": method.upper()})
        app.openapi_schema = document
    return app.openapi_schema


def _add_what_middleware_does(operation: dict[str, Any], scope: Scope) -> None:
    """Keys, limits and the request id: no route knows of them."""
    responses = operation["responses"]
    error = _openai_problem if speaks_openai(scope) else _problem
    for status in _statuses_of_middleware(scope, has_body="requestBody" in operation):
        responses.setdefault(str(int(status)), error(status))
    for response in responses.values():
        response["headers"] = {REQUEST_ID_HEADER: REQUEST_ID, **response.get("headers", {})}
    if is_admin_call(scope):
        operation["security"] = [{"adminToken": []}, ANYBODY]
    elif not is_open_call(scope):
        operation["security"] = [{"apiKey": []}, {"apiKeyAsBearer": []}, ANYBODY]


def _statuses_of_middleware(scope: Scope, *, has_body: bool) -> Iterator[int]:
    if has_body:
        yield HTTPStatus.REQUEST_TIMEOUT
    if not is_open_call(scope):
        yield HTTPStatus.TOO_MANY_REQUESTS
    if not is_admin_call(scope) and not is_open_call(scope):
        yield HTTPStatus.UNAUTHORIZED
        yield HTTPStatus.SERVICE_UNAVAILABLE


def _schemas() -> dict[str, Any]:
    _, definitions = models_json_schema(
        [(model, "validation") for model in DESCRIBED], ref_template=SCHEMAS + "{model}"
    )
    schemas: dict[str, Any] = definitions["$defs"]
    schemas[DiffusionConfig.__name__].pop("required", None)
    for native in (DiffusionGenerationParams, DiffusionInfillingParams):
        schemas[native.__name__] = described_leniently(schemas[native.__name__])
    return schemas
