"""The template of a request's path, for whoever counts requests: few names, whatever paths clients make up."""

from __future__ import annotations

from starlette.routing import Route
from starlette.types import Scope


def route_of(scope: Scope) -> str:
    """The template of the route that answered, such as `/api/models/{model_id}`; empty where none has this path."""
    route = scope.get("route")
    return f"{_prefix(scope['path'], route)}{route.path}" if isinstance(route, Route) else ""


def _prefix(path: str, route: Route) -> str:
    """The part of the path before the one that the route knows: in newer releases of FastAPI a route does not know with
    which prefix its router was included."""
    starts = (index for index, character in enumerate(path) if character == "/")
    return path[: next((start for start in starts if route.path_regex.match(path[start:])), 0)]
