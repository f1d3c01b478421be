"""The `Allow` header of a 405: a path may be served by several routes, and each knows only its own methods."""

from __future__ import annotations

from starlette.routing import BaseRoute, Match
from starlette.types import Scope

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")


def allowed_methods(scope: Scope) -> str:
    """Every method that some route of the application takes at this path."""
    routes = scope["app"].routes
    return ", ".join(method for method in METHODS if _is_taken(routes, {**scope, "method": method}))


def _is_taken(routes: list[BaseRoute], scope: Scope) -> bool:
    return any(route.matches(scope)[0] is Match.FULL for route in routes)
