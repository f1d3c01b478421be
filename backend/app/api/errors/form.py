"""The form of errors: each face has one, and a request knows which one its client reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pydantic import BaseModel
from starlette.responses import Response
from starlette.types import Scope

from app.api.errors.problem import MEDIA_TYPE, Problem, ProblemResponse


@dataclass(frozen=True, slots=True)
class ErrorForm:
    """One form of error answers.

    Attributes:
        body: the model of an error body, for the OpenAPI document.
        response: makes the answer from a problem, which holds all that is known, and from the headers that go with it,
            such as `Retry-After` where a rate limit or a full queue refuses a call.
    """

    body: type[BaseModel]
    media_type: str
    response: Callable[[Problem, dict[str, str]], Response]


PROBLEM_JSON = ErrorForm(Problem, MEDIA_TYPE, ProblemResponse)
"""The form of this server's own API, and of every path that no face declares."""


def note_form(scope: Scope, form: ErrorForm) -> None:
    """Remembers in which form the client of this request reads errors."""
    scope.setdefault("state", {})["error_form"] = form


def form_of(scope: Scope) -> ErrorForm:
    """The form that was noted, or else `PROBLEM_JSON`."""
    form: ErrorForm = scope.get("state", {}).get("error_form", PROBLEM_JSON)
    return form
