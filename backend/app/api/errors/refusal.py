"""The code of the error that a request is answered with, for whoever counts refusals afterwards."""

from __future__ import annotations

from starlette.types import Scope


def note_refusal(scope: Scope, code: str) -> None:
    """Remembers the code of the error that the request is answered with."""
    scope.setdefault("state", {})["refusal_code"] = code


def refusal_code(scope: Scope) -> str:
    """The code that was noted; `other` where none was."""
    return str(scope.get("state", {}).get("refusal_code", "other"))
