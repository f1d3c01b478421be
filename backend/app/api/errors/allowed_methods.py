"""The `Allow` header: a path may be served by several routes, and each knows only its own methods."""

from __future__ import annotations

from starlette.routing import BaseRoute, Match
from starlette.types import Scope

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")


def allowed_methods(scope: Scope) -> str:
    """The methods that the application takes at this path, separated by commas; empty where it has no such path."""
    routes = scope["app"].routes
    taken = {method for method in METHODS if _is_taken(routes, {**scope, "method": method})}
    if "GET" in taken:
        taken.add("HEAD")
    if taken:
        taken.add("OPTIONS")
    return ", ".join(method for method in METHODS if method in taken)


def _is_taken(routes: list[BaseRoute], scope: Scope) -> bool:
    return any(route.matches(scope)[0] is Match.FULL for route in routes)
