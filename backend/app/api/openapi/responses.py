"""The bodies and answers of routes, which FastAPI cannot see: we read bodies and write errors ourselves."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from pydantic import BaseModel

from app.api.errors.form import PROBLEM_JSON, ErrorForm
from app.api.streams.framing import JSON_LINES, SERVER_SENT_EVENTS
from app.services.diffusion.models import DiffusionStreamEvent

Responses = dict[int | str, dict[str, Any]]

SCHEMAS = "#/components/schemas/"
RETRY_AFTER = {"schema": {"type": "integer"}, "description": "Seconds after which it may succeed."}


def problems(*statuses: int, form: ErrorForm = PROBLEM_JSON) -> Responses:
    """The error answers of a route, for `responses=`."""
    return {status: problem(status, form) for status in statuses}


def problem(status: int, form: ErrorForm) -> dict[str, Any]:
    """The error answer with a status, in a form."""
    headers = {"headers": {"Retry-After": RETRY_AFTER}} if status in (429, 503) else {}
    content = {form.media_type: _reference(form.body)}
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


def json_request(*models: type[BaseModel]) -> dict[str, Any]:
    """The body of a route, for `openapi_extra=`; one of the models."""
    references = [_reference(model) for model in models]
    content = references[0] if len(references) == 1 else {"schema": {"anyOf": [each["schema"] for each in references]}}
    return {"requestBody": {"required": True, "content": {"application/json": content}}}


def _reference(model: type[BaseModel]) -> dict[str, Any]:
    return {"schema": {"$ref": SCHEMAS + model.__name__}}
