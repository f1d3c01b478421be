"""Errors of this face: a request that was too slow gets the text so far, by the name that its answer would have had."""

from __future__ import annotations

from urllib.parse import unquote

from app.api.errors.form import ErrorForm
from app.api.errors.problem import MEDIA_TYPE, Problem, ProblemResponse


def _response(problem: Problem, headers: dict[str, str]) -> ProblemResponse:
    if problem.partial and unquote(problem.instance).endswith(("/read", "/likelihood")):
        problem = problem.model_copy(update={"partial": None, "generated_text": None})  # there is no half of a number
    if problem.partial and "/infill" in unquote(problem.instance):
        problem = problem.model_copy(update={"infilled_text": problem.generated_text, "generated_text": None})
    return ProblemResponse(problem, headers)


FORM = ErrorForm(Problem, MEDIA_TYPE, _response)
