"""A wire face: one folder that speaks one API's language, and declares all that the rest of the server needs to know.

Rooms that see every request (access, errors, observation, the OpenAPI document) name no face. They ask the request,
on which `Addressed` has noted what the face at its path declares.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.errors.form import PROBLEM_JSON, ErrorForm, note_form
from app.api.wire.kinds import Kind, note_kind
from app.core.settings import Settings

Schema: TypeAlias = dict[str, Any]


def _unchanged(schema: Schema) -> Schema:
    return schema


def _always(settings: Settings) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Body:
    """A model that the OpenAPI document describes under its own name.

    Attributes:
        described: changes the model's JSON schema where bodies are read otherwise than the model alone would read them.
    """

    model: type[BaseModel]
    described: Callable[[Schema], Schema] = _unchanged


@dataclass(frozen=True, slots=True)
class Face:
    """The declaration of a face.

    Attributes:
        router: its routes; what they stream is written by framings of the face.
        kinds: what kind each of its calls is, as `"GET /v1/models"`. An entry without a method is about all methods
            that no other entry of the path names, and a `*` at the end stands for all paths that begin so. The paths
            that a face declares are its own: even what it does not have there is refused in its form.
        errors: how its errors are written, those of limits, keys and full queues among them.
        bodies: what its routes refer to in the OpenAPI document.
        is_served: whether its routes are there; where they are not, its paths keep their kinds.
    """

    name: str
    router: APIRouter
    kinds: Mapping[str, Kind]
    errors: ErrorForm = PROBLEM_JSON
    bodies: tuple[Body, ...] = ()
    is_served: Callable[[Settings], bool] = _always


@dataclass(frozen=True, slots=True)
class Declared:
    """The declaration of a path, or of all that begin so: a kind by method, and under `""` that of all others."""

    face: Face
    kinds: dict[str, Kind] = field(default_factory=dict)

    def kind(self, method: str) -> Kind:
        """The kind of a call; HEAD is GET without a body."""
        method = "GET" if method == "HEAD" else method
        return self.kinds.get(method, self.kinds.get("", Kind.GENERATING))


UNDECLARED = Declared(Face("nobody", APIRouter(), {}))


class Faces:
    """The faces of one server, and which of them a path belongs to.

    Raises:
        ValueError: two of them declare the same path.
    """

    def __init__(self, faces: Iterable[Face]) -> None:
        self.all = tuple(faces)
        self._paths: dict[str, Declared] = {}
        for face in self.all:
            for call, kind in face.kinds.items():
                self._declare(face, call, kind)
        patterns = [path for path in self._paths if path.endswith("*")]
        self._beginnings = [path.removesuffix("*") for path in sorted(patterns, key=len, reverse=True)]

    def at(self, path: str) -> Declared:
        """The declaration of a path itself, or else of the longest beginning of it."""
        if path in self._paths:
            return self._paths[path]
        beginning = next((each for each in self._beginnings if path.startswith(each)), None)
        return UNDECLARED if beginning is None else self._paths[beginning + "*"]

    def note(self, scope: Scope) -> None:
        """Notes on a request what the face at its path declares."""
        declared = self.at(scope["path"])
        note_kind(scope, declared.kind(scope["method"]))
        note_form(scope, declared.face.errors)

    def _declare(self, face: Face, call: str, kind: Kind) -> None:
        method, _, path = call.rpartition(" ")
        declared = self._paths.setdefault(path, Declared(face))
        if declared.face is not face:
            raise ValueError(f"{path} is declared by two faces: {declared.face.name} and {face.name}")
        declared.kinds[method] = kind


class Addressed:
    """Notes which face a request is addressed to. It must be the outermost middleware: all others ask what it noted."""

    def __init__(self, app: ASGIApp, faces: Faces) -> None:
        self.app = app
        self.faces = faces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self.faces.note(scope)
        await self.app(scope, receive, send)
