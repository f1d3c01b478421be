"""The API described: what FastAPI cannot see by itself, because bodies are read and errors written by us."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from app.api.framing import JSON_LINES, SERVER_SENT_EVENTS
from app.api.problem import MEDIA_TYPE, Problem
from app.core.settings import DiffusionConfig
from app.services.diffusion.models import DiffusionGenerationParams, DiffusionInfillingParams, DiffusionStreamEvent

Responses = dict[int | str, dict[str, Any]]

SCHEMAS = "#/components/schemas/"
DESCRIBED: tuple[type[BaseModel], ...] = (
    Problem,
    DiffusionGenerationParams,
    DiffusionInfillingParams,
    DiffusionStreamEvent,
    DiffusionConfig,
)


def _reference(model: type[BaseModel]) -> dict[str, Any]:
    return {"schema": {"$ref": SCHEMAS + model.__name__}}


def problems(*statuses: int) -> Responses:
    """The error answers of a route, for `responses=`."""
    return {
        status: {"description": HTTPStatus(status).phrase, "content": {MEDIA_TYPE: _reference(Problem)}}
        for status in statuses
    }


def event_stream() -> Responses:
    """The successful answer of a streaming route: one event after the other, in either framing."""
    event = _reference(DiffusionStreamEvent)
    return {
        200: {"description": "The events as they happen", "content": {JSON_LINES: event, SERVER_SENT_EVENTS: event}}
    }


def json_request(model: type[BaseModel]) -> dict[str, Any]:
    """The body of a route, for `openapi_extra=`."""
    return {"requestBody": {"required": True, "content": {"application/json": _reference(model)}}}


def describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, built once."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes, tags=app.openapi_tags
        )
        document.setdefault("components", {}).setdefault("schemas", {}).update(_schemas())
        app.openapi_schema = document
    return app.openapi_schema


def _schemas() -> dict[str, Any]:
    _, definitions = models_json_schema(
        [(model, "validation") for model in DESCRIBED], ref_template=SCHEMAS + "{model}"
    )
    schemas: dict[str, Any] = definitions["$defs"]
    schemas[DiffusionConfig.__name__].pop("required", None)
    return schemas
