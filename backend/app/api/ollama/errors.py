"""Problems as Ollama's clients read them: `{"error": "..."}`."""

from __future__ import annotations

from pydantic import BaseModel, Field

from app.api.errors.form import ErrorForm
from app.api.errors.problem import Problem, renamed
from app.api.errors.table import problem_of_code
from app.api.wire.json_encoding import JsonResponse

NAMES = {"text": "prompt", "prefix": "prompt", "model_id": "model"}
"""The service's names of what a content filter or a model may refuse, with Ollama's."""


class OllamaError(BaseModel):
    """An error, as an answer or as the last line of a stream."""

    error: str
    code: str = Field(description="Stable name of the error; the thing to branch on.")


def ollama_error(problem: Problem) -> OllamaError:
    """The problem in Ollama's words."""
    errors = renamed(problem.errors or (), NAMES)
    return OllamaError(error="; ".join(error.message for error in errors) or problem.detail, code=problem.code)


def error_of_code(code: str, detail: str) -> OllamaError:
    """The error that ends a stream."""
    return ollama_error(problem_of_code(code, detail))


def _response(problem: Problem, headers: dict[str, str]) -> JsonResponse:
    status = 400 if problem.status in (415, 422) else problem.status
    return JsonResponse(ollama_error(problem), status_code=status, headers=headers)


FORM = ErrorForm(OllamaError, "application/json", _response)
"""The form of errors; what is wrong with a request's values is a 400 to these clients."""
