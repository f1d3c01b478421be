"""The OpenAPI document: what FastAPI sees of routes, what faces declare, and what middleware does to every call."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from app.api.errors.form import ErrorForm
from app.api.face import Body, Faces
from app.api.openapi.responses import SCHEMAS, problem
from app.api.wire.kinds import Kind
from app.api.wire.request_id import HEADER as REQUEST_ID_HEADER

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
REQUEST_ID = {"schema": {"type": "string"}, "required": True, "description": "To be found in the log."}


def describe(app: FastAPI, faces: Faces) -> dict[str, Any]:
    """The OpenAPI document, built once."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes, tags=app.openapi_tags
        )
        components = document.setdefault("components", {})
        components.setdefault("schemas", {}).update(_schemas(faces))
        components["securitySchemes"] = SECURITY_SCHEMES
        for path, operations in document["paths"].items():
            declared = faces.at(path)
            for method, operation in operations.items():
                _add_what_middleware_does(operation, declared.kind(method.upper()), declared.face.errors)
        app.openapi_schema = document
    return app.openapi_schema


def _add_what_middleware_does(operation: dict[str, Any], kind: Kind, errors: ErrorForm) -> None:
    """Adds keys, limits and the request id, of which no route knows."""
    responses = operation["responses"]
    for status in _statuses_of_middleware(kind, has_body="requestBody" in operation):
        responses.setdefault(str(int(status)), problem(status, errors))
    for response in responses.values():
        response["headers"] = {REQUEST_ID_HEADER: REQUEST_ID, **response.get("headers", {})}
    if Kind.OPERATING in kind:
        operation["security"] = [{"adminToken": []}, ANYBODY]
    elif Kind.OPEN not in kind:
        operation["security"] = [{"apiKey": []}, {"apiKeyAsBearer": []}, ANYBODY]


def _statuses_of_middleware(kind: Kind, *, has_body: bool) -> Iterator[int]:
    if has_body:
        yield HTTPStatus.REQUEST_TIMEOUT
    if Kind.OPEN not in kind:
        yield HTTPStatus.TOO_MANY_REQUESTS
    if not kind & (Kind.OPERATING | Kind.OPEN):
        yield HTTPStatus.UNAUTHORIZED
        yield HTTPStatus.SERVICE_UNAVAILABLE


def _schemas(faces: Faces) -> dict[str, Any]:
    """The schemas of all that faces declare, by the models' names."""
    errors = {face.errors.body: Body(face.errors.body) for face in faces.all}
    bodies = [*errors.values(), *(body for face in faces.all for body in face.bodies)]
    _, definitions = models_json_schema(
        [(body.model, "validation") for body in bodies], ref_template=SCHEMAS + "{model}"
    )
    schemas: dict[str, Any] = definitions["$defs"]
    for body in bodies:
        schemas[body.model.__name__] = body.described(schemas[body.model.__name__])
    return schemas
