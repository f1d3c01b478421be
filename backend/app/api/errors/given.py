"""The object that a request sent, for errors of the service: they name a field, and its value is in there."""

from __future__ import annotations

from typing import Any

from starlette.types import Scope

from app.core.complaints import Echo, echo, value_at


def note_given(scope: Scope, content: dict[str, Any]) -> None:
    """Remembers the object that was sent."""
    scope.setdefault("state", {})["given"] = content


def given_value(scope: Scope, path: str) -> Echo:
    """The value at a path such as `stop[1]`, shortened; `None` where the object has none there."""
    return echo(value_at(path, scope.get("state", {}).get("given")))
