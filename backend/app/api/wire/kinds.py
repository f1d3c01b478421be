"""What kind of call a request is, by method and path alone: it is known before anything else of the request is read."""

from __future__ import annotations

from starlette.types import Scope

PREFIX = "/api/diffusion"

PLAYGROUND_PREFIX = "/playground/"

OPENAI_PREFIX = "/v1"

LLAMA_CPP_PATHS = frozenset({"/health", "/infill", "/props"})
"""What editors ask of llama.cpp's server, and so of this one."""

OPEN_PATHS = frozenset({"/", "/health", "/health/live", "/health/ready"})
"""Open to everybody: a page that must load before its reader can give a key, and what a supervisor asks."""


def is_open_call(scope: Scope) -> bool:
    path: str = scope["path"]
    return path in OPEN_PATHS or path.startswith(PLAYGROUND_PREFIX)


def is_admin_call(scope: Scope) -> bool:
    """Whether the route checks the admin's right, and so needs no API key."""
    path: str = scope["path"]
    if path == f"{PREFIX}/config":
        return bool(scope["method"] == "POST")
    return path == "/metrics" or path.startswith(f"{PREFIX}/admin/")


def tells_admin_more(scope: Scope) -> bool:
    """Whether everybody is answered, and whoever has the admin's right with more."""
    return scope["path"] == f"{PREFIX}/config" and not is_admin_call(scope)


def speaks_openai(scope: Scope) -> bool:
    """Whether the client expects errors in OpenAI's form; llama.cpp's server has the same."""
    path: str = scope.get("path", "")
    return path in LLAMA_CPP_PATHS or path == OPENAI_PREFIX or path.startswith(f"{OPENAI_PREFIX}/")


def is_generating_call(scope: Scope) -> bool:
    """Whether a model may have to work for it."""
    return scope["method"] == "POST" and not is_admin_call(scope)
